"""The proxies: each with one worker on one core, tuned for what is measured, with the reason of each choice.

For all: HTTP/2 with prior knowledge or HTTP/1.1 on both sides, connections kept, calls multiplexed, no access log, no
health checks. Waypost runs as it does by default, which is with more than the others do here: a table followed in etcd,
metrics by service and endpoint, outlier detection, deadlines, forwarding headers.
"""

import dataclasses
import os
import pathlib
import re

from machine import DEBIAN, TOOLS, accepts, answers_200, environment, fail, free_port, run, wait_for

# What was built, with the profile of releases unless told otherwise.
BUILT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOOLS.parent / "target")) / os.environ.get("PROFILE", "dist")
WAYPOST, ECHO, LOAD = BUILT / "waypost", BUILT / "examples/bench-echo", BUILT / "examples/bench-load"
ENVOY = TOOLS / "peers/envoy/envoy/_bin/envoy"
PINGORA = TOOLS / "peers/pingora"
MODULES = TOOLS.parent / "filters/target/modules"
# The configuration of header_auth, and the request header that it lets pass.
TOKENS = '{"tokens": [{"name": "bench", "token": "bench-bench-bench"}]}'
AUTHORIZATION = "authorization: Bearer bench-bench-bench"


@dataclasses.dataclass
class Running:
    """A proxy's process (none: the direct connection) and where it listens."""

    process: object
    port: int

    @property
    def pid(self):
        return self.process.pid


def direct(_machine, endpoints, **_):
    return Running(None, int(endpoints[0].rsplit(":", 1)[1]))


def haproxy(machine, endpoints, http2=True):
    port = free_port()
    proto = " proto h2" if http2 else ""
    servers = "\n".join(f"    server s{i} {at}" for i, at in enumerate(endpoints))
    config = f"""
global
    # One thread, as Waypost has one worker.
    nbthread 1
    # No limit of connections is met: 64 clients or some thousand idle ones, and those to 10,000 endpoints.
    maxconn 9000
    # As many streams on a connection as the load has on all: with the default of 100, the 160 calls under way would need
    # several connections to the server.
    tune.h2.max-concurrent-streams 200
    # Waypost's window for uploads; the default of 64 KiB would make them wait.
    tune.h2.initial-window-size 262144
    # No logging: there is no `log` line at all.

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
    # With `proto h2` nothing is spent on finding out.
    bind 127.0.0.1:{port}{proto}
    # Neither `option forwardfor` nor any header rule: Waypost sets via and x-forwarded-*, and what HAProxy saves by
    # not doing so counts for HAProxy.
    default_backend echo

backend echo
    balance roundrobin
    # No limit of connections, and none closed for being idle.
    default-server{proto} pool-max-conn -1 pool-purge-delay 300s
{servers}
"""
    # -db: stay in the foreground, as one process.
    command = [DEBIAN / "sbin/haproxy", "-db", "-f", machine.write(f"haproxy-{port}.cfg", config)]
    process = machine.start("haproxy", command, machine.proxy_core)
    wait_for("haproxy", process, lambda: accepts(port))
    return Running(process, port)


def nginx(machine, endpoints, http2=True):
    port = free_port()
    folder = machine.folder / f"nginx-{port}"
    folder.mkdir()
    servers = "\n".join(f"        server {at};" for at in endpoints)
    # HTTP/1.1 to the upstream is kept open only if asked for.
    carry = "grpc_pass grpc://echo;" if http2 else 'proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection "";'
    config = f"""
# One worker process, which is all that works.
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    {"".join(f"{kind}_temp_path {folder}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])}
    # No connection is closed for its age, on either side: the default is 1,000 requests.
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    # As many streams on a connection as the load has on all.
    http2_max_concurrent_streams 200;
    # The largest frames that clients take by default, instead of half of that.
    http2_chunk_size 16k;
    # Waypost's window for uploads, instead of 64 KiB.
    http2_body_preread_size 256k;
    client_max_body_size 0;
    # Large transfers in larger pieces than a page; nothing on disk.
    grpc_buffer_size 64k;
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    tcp_nodelay on;
    upstream echo {{
{servers}
        # nginx has one call at a time on an upstream connection, so it needs many, and keeps them.
        keepalive {max(1024, len(endpoints))};
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{port}{" http2" if http2 else ""} backlog=4096;
        location / {{ {carry} }}
    }}
}}
"""
    command = [DEBIAN / "sbin/nginx", "-p", folder, "-c", machine.write(f"nginx-{port}.conf", config)]
    process = machine.start("nginx", command, machine.proxy_core)
    wait_for("nginx", process, lambda: accepts(port))
    return Running(process, port)


def nghttpx(machine, endpoints, http2=True):
    port = free_port()
    proto = "h2" if http2 else "http/1.1"
    backends = "\n".join(f"backend={at.replace(':', ',')};;proto={proto}" for at in endpoints)
    config = f"""
# One process with one thread: all its time is in one place.
single-process=yes
single-thread=yes
frontend=127.0.0.1,{port};no-tls
{backends}
# Logs of errors only.
accesslog-file=/dev/null
errorlog-file=/dev/stderr
backlog=4096
# As many streams on a connection as the load has on all.
frontend-http2-max-concurrent-streams=200
backend-http2-max-concurrent-streams=200
# Waypost's windows, instead of 64 KiB for a stream and for a whole connection.
frontend-http2-window-size=262143
frontend-http2-connection-window-size=268435455
backend-http2-window-size=262143
backend-http2-connection-window-size=268435455
"""
    command = [DEBIAN / "sbin/nghttpx", f"--conf={machine.write(f'nghttpx-{port}.conf', config)}"]
    process = machine.start("nghttpx", command, machine.proxy_core)
    wait_for("nghttpx", process, lambda: accepts(port))
    return Running(process, port)


def envoy(machine, endpoints, http2=True, module=None):
    port = free_port()
    # Waypost's windows; no limit of streams is met.
    protocol = "{max_concurrent_streams: 1000, initial_stream_window_size: 262144, initial_connection_window_size: 268435456}"
    kind = f"http2_protocol_options: {protocol}" if http2 else "http_protocol_options: {}"
    hosts = (at.rsplit(":", 1) for at in endpoints)
    address = "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}"
    servers = ", ".join(address.format(*host) for host in hosts)
    wasm = "" if not module else f"""
          - name: envoy.filters.http.wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                configuration: {{"@type": type.googleapis.com/google.protobuf.StringValue, value: '{TOKENS}'}}
                # The engine that Envoy has by default; it compiles the module to machine code.
                vm_config: {{runtime: envoy.wasm.runtime.v8, code: {{local: {{filename: {module}}}}}}}"""
    config = f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: calls
          # Nothing is spent on finding out.
          codec_type: {"HTTP2" if http2 else "HTTP1"}
          {kind}
          # A random name per call, which nobody here reads. There is no access log and no tracing.
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: echo, timeout: 0s}}}}]}}
          http_filters:{wasm}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              # Headers for other Envoys, which nobody here reads.
              suppress_envoy_headers: true
  clusters:
  - name: echo
    type: STATIC
    connect_timeout: 5s
    # No limit is met: 1,024 by default, with up to 10,000 endpoints.
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{kind}}}
    load_assignment: {{cluster_name: echo, endpoints: [{{lb_endpoints: [{servers}]}}]}}
"""
    command = [ENVOY, "-c", machine.write(f"envoy-{port}.yaml", config), "--log-level", "error"]
    # One worker; and several Envoys at a time, which is what hot restart would not allow.
    command += ["--concurrency", "1", "--disable-hot-restart"]
    process = machine.start("envoy", command, machine.proxy_core)
    wait_for("envoy", process, lambda: accepts(port))
    return Running(process, port)


def pingora(machine, endpoints, http2=True):
    port = free_port()
    command = [PINGORA, port, "http2" if http2 else "http1", *endpoints]
    process = machine.start("pingora", command, machine.proxy_core)
    wait_for("pingora", process, lambda: accepts(port))
    return Running(process, port)


def registry(machine):
    """The etcd for development. It is idle while calls run; it stays off the proxy's core all the same."""
    port = free_port()
    process = machine.start("etcd", [WAYPOST, "etcd", f"--listen=127.0.0.1:{port}"], machine.load_core)
    wait_for("waypost etcd", process, lambda: accepts(port))
    return f"127.0.0.1:{port}"


def register(machine, etcd, instances):
    """Puts keys and values, 128 in a transaction, which is the most that etcd takes."""
    for start in range(0, len(instances), 128):
        puts = "\n".join(f"put {key} {value}" for key, value in instances[start : start + 128])
        command = [TOOLS / "python/bin/etcdctl", f"--endpoints={etcd}", "txn"]
        run(machine.load_core, command, input=f"\n{puts}\n\n\n")


def waypost(machine, endpoints, http2=True, module=None, under=()):
    etcd, port, admin = registry(machine), free_port(), free_port()
    register(machine, etcd, [(f"/services/echo/{i}", at) for i, at in enumerate(endpoints)])
    # Nothing is switched off that is on by default; one worker, because there is one core.
    config = f"proxy: {{listen: 127.0.0.1:{port}, workers: 1}}\nadmin: {{listen: 127.0.0.1:{admin}}}\n"
    config += f"etcd: {{endpoints: [http://{etcd}]}}\n"
    if not http2:
        # What the others are told in their configuration too; else the first call would ask.
        config += "services: {default: {protocol: http1}}\n"
    if module:
        config += f"wasm: {{folder: {module.parent}}}\nfilters: [{{module: {module.stem}, config: {TOKENS}}}]\n"
    command = [*under, WAYPOST, "run", "--config", machine.write(f"waypost-{port}.yaml", config)]
    process = machine.start("waypost", command, machine.proxy_core)
    wait_for("waypost", process, lambda: answers_200(f"http://127.0.0.1:{admin}/readyz"))
    return Running(process, port)


ALL = {p.__name__: p for p in [direct, waypost, nghttpx, haproxy, nginx, pingora, envoy]}


def version(name):
    def first(*command):
        return run(0, command).splitlines()[0]

    if name == "nginx":
        # It says so on standard error.
        import subprocess

        said = subprocess.run([DEBIAN / "sbin/nginx", "-v"], capture_output=True, text=True, env=environment())
        return said.stderr.split("/")[-1].strip()
    if name == "pingora":
        manifest = pathlib.Path(__file__).with_name("pingora") / "Cargo.toml"
        return re.search(r'pingora-proxy = "(.*)"', manifest.read_text()).group(1)
    if name == "envoy":
        return re.search(r"/(\d+\.\d+\.\d+)/", run(0, [ENVOY, "--version"])).group(1)
    return {
        "waypost": lambda: first(WAYPOST, "--version").split()[-1],
        "haproxy": lambda: re.search(r"version ([\d.]+)", first(DEBIAN / "sbin/haproxy", "-v")).group(1),
        "nghttpx": lambda: first(DEBIAN / "sbin/nghttpx", "--version").split("nghttp2/")[-1],
        "h2load": lambda: first(DEBIAN / "bin/h2load", "--version").split("nghttp2/")[-1],
    }[name]()


def check(names, load=(ECHO, LOAD)):
    """Fails if a tool is missing, before anything was started."""
    files = {"haproxy": DEBIAN / "sbin/haproxy", "nginx": DEBIAN / "sbin/nginx", "nghttpx": DEBIAN / "sbin/nghttpx"}
    files |= {"envoy": ENVOY, "pingora": PINGORA, "waypost": WAYPOST}
    needed = [TOOLS / "python/bin/etcdctl", DEBIAN / "bin/h2load", *load] + [files[name] for name in names if name in files]
    if missing := [str(path) for path in needed if not path.exists()]:
        fail(f"not there: {', '.join(missing)}", "`make setup-bench` (for counts `make setup-count`) installs and builds what is needed")
