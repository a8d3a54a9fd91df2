"""Shows Waypost at work: a real etcd, two instances registered with etcdctl, and calls by service name.

usage: demo.py WAYPOST [--once]

Runs until Ctrl-C, or with --once until it has shown everything. Ends what it started.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent import futures

import grpc

TOOLS = pathlib.Path(sys.prefix) / "bin"
HELLO = "/demo.Greeter/Hello"


def free_port(wanted=0):
    """The wanted port, or another one if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return probe.getsockname()[1]


def wait_for(url, process):
    """Waits until `url` answers 200."""
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1):
                return
        except (OSError, urllib.error.URLError) as error:
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{process.args[0]} does not answer at {url}: {error}")
            time.sleep(0.05)


class Instance(grpc.GenericRpcHandler):
    """A gRPC server that says its name; messages are bytes, so nothing is generated."""

    def __init__(self, name):
        self.name = name
        self.server = grpc.server(futures.ThreadPoolExecutor(4), [self])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        if details.method == HELLO:
            return grpc.unary_unary_rpc_method_handler(lambda message, _: b"hello %s, I am " % message + self.name.encode())
        return None


def call(proxy, service, count=1):
    """Calls a service through the proxy: the authority names it."""
    with grpc.insecure_channel(proxy, [("grpc.default_authority", service), ("grpc.enable_http_proxy", 0)]) as channel:
        for _ in range(count):
            try:
                print(f"  {service}: {channel.unary_unary(HELLO)(b'you', timeout=5).decode()}")
            except grpc.RpcError as error:
                print(f"  {service}: {error.code().name}: {error.details()}")
    print()


def calls_until(proxy, service, done):
    """Calls quietly until the answer is as expected: a change in etcd takes a moment to arrive."""
    with grpc.insecure_channel(proxy, [("grpc.default_authority", service), ("grpc.enable_http_proxy", 0)]) as channel:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                if done({channel.unary_unary(HELLO)(b"you", timeout=5).decode().split()[-1] for _ in range(4)}):
                    return
            except grpc.RpcError:
                pass
            time.sleep(0.02)
    sys.exit(f"the change of {service} did not arrive")


def demo(waypost, once, folder, started):
    def start(*command, **environment):
        # A session of its own: Ctrl-C reaches this script only, which ends the others in order.
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
        started.append(process)
        return process

    def etcdctl(*arguments):
        print("$ etcdctl --endpoints", endpoint, *arguments)
        subprocess.run(
            [TOOLS / "etcdctl", "--endpoints", endpoint, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"}, check=True, stdout=subprocess.DEVNULL,
        )

    log = open(os.path.join(folder, "log"), "w")
    endpoint, peer = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    etcd = start(
        TOOLS / "etcd", "--data-dir", os.path.join(folder, "etcd"), "--log-level", "warn",
        "--listen-client-urls", f"http://{endpoint}", "--advertise-client-urls", f"http://{endpoint}",
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    )
    wait_for(f"http://{endpoint}/health", etcd)
    proxy, admin = f"127.0.0.1:{free_port(8400)}", f"127.0.0.1:{free_port(8401)}"
    arguments = [waypost, "run", "--set", f"proxy.listen={proxy}", "--set", f"admin.listen={admin}"]
    wait_for(f"http://{admin}/readyz", start(*arguments, "--etcd", f"http://{endpoint}"))
    print(f"etcd listens on {endpoint}, waypost on {proxy}, its metrics are on http://{admin}/metrics\n")

    print("Two instances register:")
    one, two = Instance("one"), Instance("two")
    etcdctl("put", "/services/greeter/one", one.address)
    etcdctl("put", "/services/greeter/two", two.address)
    calls_until(proxy, "greeter", lambda names: names == {"one", "two"})
    call(proxy, "greeter", 4)

    print("One leaves:")
    etcdctl("del", "/services/greeter/one")
    calls_until(proxy, "greeter", lambda names: names == {"two"})
    call(proxy, "greeter", 2)

    print("Nobody is registered under another name:")
    call(proxy, "stranger")

    print("Your turn: put and delete keys as above, and call with any gRPC client through", proxy)
    if not once:
        print("Ctrl-C ends everything.", flush=True)
        signal.pause()


def main():
    started = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="waypost-demo-", ignore_cleanup_errors=True) as folder:
        try:
            demo(sys.argv[1], "--once" in sys.argv, folder, started)
        except KeyboardInterrupt:
            print()
        except BaseException:
            with open(os.path.join(folder, "log")) as log:
                sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            for process in reversed(started):
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()


main()
