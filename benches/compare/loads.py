"""What makes the load, and what it says. A proxy through which the server did not answer every call has no figures."""

import contextlib
import dataclasses
import re
import socket
import time

from machine import DEBIAN, Busy, cpu_seconds, fail, memory_kb, run, say
from proxies import LOAD

# From this on, what is measured is how fast the load is, and not the proxy.
BUSY = 80


class Lost(Exception):
    """A proxy lost calls, or answered them itself."""


@dataclasses.dataclass
class Shape:
    """Unary calls as h2load makes them, one after the other as answers come."""

    clients: int
    streams: int
    path: str = "/bench.Echo/Call"
    # The message of a request, and the bytes of an answer with its gRPC frame: the proof that the server gave it.
    body: int = 32
    answer: int = 5
    http2: bool = True
    headers: tuple = ()
    # Connections made per second, each for one call; 0: those that there are, for all calls.
    churn: int = 0
    # Calls of a round: as many as take `seconds`, between these two.
    seconds: float = 3
    least: int = 200
    most: int = 400_000


@dataclasses.dataclass
class Round:
    """What one round of calls through one proxy was like. Times in microseconds, CPU per call."""

    user: float
    system: float
    rate: float
    busy: float
    latencies: tuple
    peak_kb: int

    @property
    def cpu(self):
        return self.user + self.system


def shape_round(machine, shape, name, running, calls):
    with measured(machine, running, calls) as result:
        result["rate"], result["latencies"] = h2load(machine, shape, name, running.port, calls)
    return Round(**result)


def warm_up(machine, shape, name, running, at_least=0):
    """Makes the connections, fills caches, and gives back how many calls a round should have."""
    if shape.churn:
        calls = int(shape.churn * max(1, shape.seconds))
        h2load(machine, shape, name, running.port, shape.churn)
        return calls
    calls = max(shape.least, shape.clients, at_least)
    rate, _ = h2load(machine, shape, name, running.port, calls)
    rate, _ = h2load(machine, shape, name, running.port, max(calls, int(rate * shape.seconds / 3)))
    return max(shape.least, shape.clients, min(shape.most, int(rate * shape.seconds)))


@contextlib.contextmanager
def measured(machine, running, calls):
    """The proxy's CPU per call and memory, and how busy the load's core was, of what is done inside."""
    result = {}
    before = cpu_seconds(running.pid) if running.process else (0, 0)
    busy = Busy(machine.load_core)
    yield result
    result["busy"] = busy.percent()
    after = cpu_seconds(running.pid) if running.process else (0, 0)
    result["user"], result["system"] = ((b - a) / calls * 1e6 for a, b in zip(before, after))
    result["peak_kb"] = memory_kb(running.pid, "VmHWM") if running.process else 0


def h2load(machine, shape, name, port, calls):
    """Makes so many calls; gives back calls per second and the latencies' percentiles."""
    log, request = machine.folder / "latencies", machine.folder / f"request-{shape.body}"
    log.unlink(missing_ok=True)
    if not request.exists():
        # A gRPC frame: not compressed, then the length.
        request.write_bytes(b"\0" + shape.body.to_bytes(4, "big") + b"x" * shape.body)
    clients = calls if shape.churn else min(shape.clients, calls)
    command = [DEBIAN / "bin/h2load", f"--requests={calls}", f"--clients={clients}"]
    command += [f"--max-concurrent-streams={shape.streams}", f"--data={request}", f"--log-file={log}"]
    command += ["--header=content-type: application/grpc", "--header=te: trailers"] if shape.http2 else ["--h1"]
    # A hundred times a second, so that they don't come all at once.
    command += [f"--rate={shape.churn // 100}", "--rate-period=10ms"] if shape.churn else []
    command += [f"--header={header}" for header in shape.headers]
    command += [f"--connect-to=127.0.0.1:{port}", f"http://echo{shape.path}"]
    output = run(machine.load_core, command, timeout=600)
    succeeded = int(re.search(r"(\d+) succeeded", output).group(1))
    data = int(re.search(r"\((\d+)\) data", output).group(1))
    if succeeded != calls or data != calls * shape.answer:
        say(output)
        raise Lost(f"{name}: {max(calls - succeeded, 1)} of {calls} calls were not answered by the server")
    latencies = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return float(re.search(r"([\d.]+) req/s", output).group(1)), percentiles(latencies)


def percentiles(sorted_values):
    return tuple(sorted_values[max(0, len(sorted_values) * part // 1000 - 1)] for part in (500, 990, 999))


def rate_round(machine, rate, seconds, running):
    """Calls at a fixed rate, whose latency counts from when they were due."""
    command = [LOAD, f"127.0.0.1:{running.port}", rate, seconds]
    with measured(machine, running, rate * seconds) as result:
        *result["latencies"], _ = map(int, run(machine.load_core, command, timeout=600).split())
        result["rate"] = rate
    return Round(**result)


def idle_memory(running, connections):
    """Resident memory in kB: before, and for each of so many HTTP/2 connections that are open and idle."""
    before = memory_kb(running.pid)
    # The preface and empty SETTINGS, as every client sends them at once.
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
    with contextlib.ExitStack() as clients:
        for _ in range(connections):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", running.port), 10))
            client.sendall(hello)
            # The proxy has taken the connection when its own SETTINGS are there.
            if not client.recv(9):
                fail("a connection was closed")
        time.sleep(0.5)
        return before, (memory_kb(running.pid) - before) / connections
