#!/usr/bin/env python3
"""How much CPU time one unary gRPC call costs in Waypost, and in other proxies beside it.

    cargo build --profile dist --bin waypost --example bench-echo
    benches/compare/cpu-per-call.py

h2load calls an h2c server through each proxy in turn: 8 connections with 20 calls under way on each, one request
after the other as answers come. The proxy has one core to itself and one worker; load and server share another. What
is compared is the CPU time of the proxy's process, user and system, all threads, divided by the calls: a figure that
a busy machine disturbs less than it disturbs calls per second. Rounds of the proxies alternate, so that a change of
the machine's mood meets all of them, and each proxy warms up before it is measured.

Needs two cores, h2load (Debian: nghttp2-client), taskset (util-linux), and for Waypost etcd and etcdctl; a proxy that is
asked for and not installed is an error. Prints a Markdown table.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CONNECTIONS, STREAMS = 8, 20
# A gRPC frame: not compressed, 32 bytes of message.
REQUEST = b"\0\0\0\0\x20" + b"x" * 32
# What the server answers, and with it the proof that a call went all the way: a proxy's own error has no message.
ANSWER_BYTES = 5
TICKS = os.sysconf("SC_CLK_TCK")


class Machine(contextlib.ExitStack):
    """Everything that was started, and ends with the run: last started, first ended, each by its own pid."""

    def __init__(self, proxy_core, load_core):
        super().__init__()
        self.proxy_core, self.load_core = proxy_core, load_core
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="waypost-bench-")))

    def start(self, name, command, core, **options):
        log = self.enter_context(open(self.folder / f"{name}.log", "wb"))
        process = subprocess.Popen(pinned(core, command), stderr=log, **{"stdout": log, **options})
        process.log = self.folder / f"{name}.log"
        self.callback(end, process)
        return process

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


def pinned(core, command):
    # taskset replaces itself by the command, so that the pid is the command's.
    return ["taskset", "-c", str(core), *map(str, command)]


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, process, ready, seconds=30):
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = process.log.read_text(errors="replace")
            raise SystemExit(f"{what} did not get ready; exit code: {process.poll()}; it said:\n{said}")
        time.sleep(0.02)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers_200(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (OSError, urllib.error.URLError):
        return False


def cpu_seconds(pid):
    """User and system time of all threads, also of those that have ended. It comes in ticks of mostly 10 ms, which is
    why a round should take seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# The proxies. Each is started in front of `backend`, host:port, and gives back its process and port.


def start_haproxy(machine, backend):
    port = free_port()
    config = f"""
global
    # One thread, as Waypost has one worker.
    nbthread 1
    # Far more than the eight connections here and those behind; only so that no limit is met.
    maxconn 4096
    # A share of its connections' streams as large as the load: with the default of 100, the 160 calls under way would
    # need several connections to the server.
    tune.h2.max-concurrent-streams 200
    # No logging: there is no `log` line at all, and Waypost's access log is off by default.

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    # Keep connections on both sides. It is the default, and it is what counts most.
    option http-keep-alive
    # Any idle or shareable connection to the server may carry any call: the cheapest choice, and what Waypost does.
    http-reuse always

frontend calls
    # HTTP/2 with prior knowledge, so that nothing is spent on finding out.
    bind 127.0.0.1:{port} proto h2
    # Neither `option forwardfor` nor any header rule: Waypost sets via and x-forwarded-*, and what HAProxy saves by
    # not doing so counts for HAProxy.
    default_backend echo

backend echo
    # HTTP/2 to the server as well. No health check, no limit of connections, and none closed for being idle.
    server echo {backend} proto h2 pool-max-conn -1 pool-purge-delay 300s
"""
    # -db: stay in the foreground, as one process.
    command = ["haproxy", "-db", "-f", machine.write("haproxy.cfg", config)]
    process = machine.start("haproxy", command, machine.proxy_core)
    wait_for("haproxy", process, lambda: accepts(port))
    return process, port


def start_nghttpx(machine, backend):
    port = free_port()
    host, backend_port = backend.rsplit(":", 1)
    command = [
        "nghttpx",
        # No file of a distribution's own has a say.
        "--conf=/dev/null",
        # One process with one thread: all its time is in one place.
        "--single-process",
        "--single-thread",
        f"--frontend=127.0.0.1,{port};no-tls",
        f"--backend={host},{backend_port};;proto=h2",
        # Logs of errors only.
        "--accesslog-file=/dev/null",
        "--errorlog-file=/dev/stderr",
        # As many streams on a connection as the load has on all.
        "--frontend-http2-max-concurrent-streams=200",
        "--backend-http2-max-concurrent-streams=200",
    ]
    process = machine.start("nghttpx", command, machine.proxy_core)
    wait_for("nghttpx", process, lambda: accepts(port))
    return process, port


def start_waypost(machine, backend, binary):
    client, peer, port, admin = (free_port() for _ in range(4))
    endpoint = f"http://127.0.0.1:{client}"
    data = machine.folder / "etcd"
    # etcd is idle while calls run; it stays off the proxy's core all the same.
    etcd = machine.start(
        "etcd",
        ["etcd", f"--data-dir={data}", f"--listen-client-urls={endpoint}", f"--advertise-client-urls={endpoint}"]
        + [f"--listen-peer-urls=http://127.0.0.1:{peer}"],
        machine.load_core,
    )
    wait_for("etcd", etcd, lambda: answers_200(f"{endpoint}/health"))
    put = ["etcdctl", f"--endpoints={endpoint}", "put", "/services/echo/1", backend]
    subprocess.run(put, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ETCDCTL_API": "3"})
    # Nothing is switched off that is on by default; one worker, because there is one core.
    config = machine.write(
        "waypost.yaml",
        f"proxy: {{listen: 127.0.0.1:{port}, workers: 1}}\n"
        f"admin: {{listen: 127.0.0.1:{admin}}}\n"
        f"etcd: {{endpoints: [{endpoint}]}}\n",
    )
    process = machine.start("waypost", [binary, "run", "--config", config], machine.proxy_core)
    wait_for("waypost", process, lambda: answers_200(f"http://127.0.0.1:{admin}/readyz"))
    return process, port


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def version(name, binary):
    if name == "haproxy":
        return re.search(r"version (\S+)", first_line("haproxy", "-v")).group(1)
    if name == "nghttpx":
        return first_line("nghttpx", "--version").split("nghttp2/")[-1]
    return first_line(binary, "--version").split()[-1]


def load(machine, name, port, calls):
    """Makes so many calls and gives back calls per second; anything but an answer from the server is an error."""
    command = ["h2load", f"--requests={calls}", f"--clients={CONNECTIONS}", f"--max-concurrent-streams={STREAMS}"]
    command += [f"--data={machine.folder / 'request'}", "--header=content-type: application/grpc"]
    command += ["--header=te: trailers", f"--connect-to=127.0.0.1:{port}", "http://echo/bench.Echo/Call"]
    output = subprocess.run(pinned(machine.load_core, command), capture_output=True, text=True, check=True).stdout
    succeeded = int(re.search(r"(\d+) succeeded", output).group(1))
    data = int(re.search(r"\((\d+)\) data", output).group(1))
    if succeeded != calls or data != calls * ANSWER_BYTES:
        raise SystemExit(f"{name}: not every call was answered by the server\n{output}")
    return float(re.search(r"([\d.]+) req/s", output).group(1))


def cell(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def machine_line():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = os.uname()
    return f"{cpu.group(1) if cpu else kernel.machine}, {os.cpu_count()} cores, {kernel.sysname} {kernel.release}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "dist"
    parser.add_argument("--proxies", default="waypost,haproxy", help="waypost, haproxy, nghttpx; default %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="rounds per proxy, default %(default)s")
    parser.add_argument("--calls", type=int, default=400_000, help="calls per round, default %(default)s")
    parser.add_argument("--waypost", type=pathlib.Path, default=target / "waypost", help="default %(default)s")
    parser.add_argument("--echo", type=pathlib.Path, default=target / "examples/bench-echo", help="default %(default)s")
    parser.add_argument("--proxy-core", type=int, default=0, help="default %(default)s")
    parser.add_argument("--load-core", type=int, default=1, help="default %(default)s")
    args = parser.parse_args()
    args.proxies = args.proxies.split(",")
    if unknown := set(args.proxies) - {"waypost", "haproxy", "nghttpx"}:
        parser.error(f"unknown proxy: {', '.join(unknown)}")
    needed = [args.echo, "h2load", "taskset"]
    for name in args.proxies:
        needed += [args.waypost, "etcd", "etcdctl"] if name == "waypost" else [name]
    if missing := [str(tool) for tool in needed if not shutil.which(tool)]:
        parser.error(f"not there: {', '.join(missing)}; the first lines of this file say how to get them")
    return args


def main():
    args = arguments()
    # An end from outside takes the same way out, past everything that must be ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Machine(args.proxy_core, args.load_core) as machine:
        (machine.folder / "request").write_bytes(REQUEST)
        echo = machine.start("echo", [args.echo], machine.load_core, stdout=subprocess.PIPE)
        backend = echo.stdout.readline().decode().strip()
        starts = {"haproxy": start_haproxy, "nghttpx": start_nghttpx}
        starts["waypost"] = lambda machine, backend: start_waypost(machine, backend, args.waypost)
        running = {name: starts[name](machine, backend) for name in args.proxies}
        costs, rates = {name: [] for name in running}, {name: [] for name in running}
        for name, (_, port) in running.items():
            load(machine, name, port, max(args.calls // 4, CONNECTIONS))
        for number in range(1, args.rounds + 1):
            for name, (process, port) in running.items():
                before = cpu_seconds(process.pid)
                rates[name].append(load(machine, name, port, args.calls))
                costs[name].append((cpu_seconds(process.pid) - before) / args.calls * 1e6)
                print(f"round {number}, {name}: {costs[name][-1]:.2f} µs", file=sys.stderr)

    print(f"CPU per unary gRPC call, {args.rounds} rounds of {args.calls} calls each, alternating; ", end="")
    print(f"{CONNECTIONS} connections with {STREAMS} calls under way on each.")
    print(f"{machine_line()}; h2load {first_line('h2load', '--version').split('/')[-1]}.\n")
    print(f"| proxy | version | CPU per call, µs: median (range) | to {args.proxies[-1]} | calls per second: median (range) |")
    print("|---|---|---:|---:|---:|")
    base = statistics.median(costs[args.proxies[-1]])
    for name in running:
        ratio = statistics.median(costs[name]) / base
        print(f"| {name} | {version(name, args.waypost)} | {cell(costs[name], 1)} | {ratio:.2f} | {cell(rates[name], 0)} |")


if __name__ == "__main__":
    main()
