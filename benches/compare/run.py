#!/usr/bin/env python3
"""What calls cost in Waypost, and in other proxies beside it on the same machine in the same minutes.

    make bench          three shapes, every proxy, about ten minutes
    make bench-full     and bodies, streams, transfers, HTTP/1.1, churn, fixed rate, endpoints, memory: about an hour
    make bench-wasm     the same module in Waypost and in Envoy

Each proxy has one core to itself and one worker; load and server share another. What is compared is the CPU time of the
proxy's processes, user and system by the kernel's accounting, divided by the calls: a figure that a busy machine disturbs
less than it disturbs calls per second. Rounds of the proxies alternate, and ratios are taken within a round, so that a
change of the machine's mood meets all of them; what is left of it shows as a wide range. Calls per second are given only
where the load's core had time to spare. The tables go to target/compare, as Markdown, and to standard output.
"""

import argparse
import dataclasses
import datetime
import math
import random
import signal
import subprocess
import sys

import proxies
from loads import Lost, Shape, idle_memory, rate_round, shape_round, warm_up
from machine import REPOSITORY, Machine, describe, fail, say
from report import plot, spread, table

SHAPES = {
    "8 connections × 20 calls": Shape(8, 20),
    "1 connection × 1 call": Shape(1, 1, most=60_000),
    "64 connections × 1 call": Shape(64, 1),
}
MB = 1_000_000
MORE = {
    f"{size} bytes each way, 8 × 20": Shape(8, 20, f"/bench.Echo/Bytes/{size}", size, size + 5, least=160)
    for size in (64, 1024, 65536)
} | {
    "100 messages of 32 bytes from the server, 8 × 20": Shape(8, 20, "/bench.Echo/Stream/100", answer=3700, least=160),
    "100 MB to the client": Shape(1, 1, f"/bench.Echo/Bytes/{100 * MB}", 32, 100 * MB + 5, least=3, most=20),
    "100 MB from the client": Shape(1, 1, body=100 * MB, least=3, most=20),
    "HTTP/1.1, 64 connections": Shape(64, 1, http2=False),
    "2,000 connections a second, each for one call": Shape(1, 1, churn=2000),
}
RATE, RATE_SECONDS = 2000, 5
ENDPOINTS = (2, 100, 10_000)
IDLE_CONNECTIONS = 2000


def mixed(names, number):
    """The names in another order for each round, the same in each run: so that nobody always comes behind the same one."""
    names = list(names)
    return random.Random(number).sample(names, len(names))


def measure(machine, shape, names, rounds, endpoints, start=None):
    """Rounds of each, alternating: by name what each round was like. Each has processes of its own, so that memory and
    what one shape left behind are not those of the next."""
    with Machine(machine.proxy_core, machine.load_core) as inner:
        starts = start or {name: proxies.ALL[name] for name in names}
        running = {name: starts[name](inner, endpoints, http2=shape.http2) for name in names}
        calls, results = {}, {name: [] for name in names}
        for number in range(rounds + 1):
            for name in mixed(names, number):
                try:
                    if number == 0:
                        calls[name] = warm_up(inner, shape, name, running[name], min(len(endpoints) * 2, shape.most))
                        continue
                    results[name].append(shape_round(inner, shape, name, running[name], calls[name]))
                except Lost as lost:
                    if name == "waypost" or start:
                        fail(str(lost))
                    # Others are measured all the same, and the table says of whom nothing can be said.
                    say(str(lost))
                    names, results[name] = [other for other in names if other != name], str(lost)
                    continue
                last = results[name][-1]
                say(f"  round {number}, {name}: {calls[name]} calls, {last.cpu:.2f} µs, {last.rate:.0f}/s, load core {last.busy:.0f} %")
        return results


def measure_fresh(machine, shape, names, rounds, endpoints):
    """The same with each proxy started for each round, one at a time: 10,000 endpoints are as many connections, and together
    they would be more than the server may have."""
    results = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in mixed(names, number):
            last = measure(machine, shape, [name], 1, endpoints)[name]
            results[name] = last if isinstance(last, str) else results[name] + last
    return results


def at_rate(machine, names, rounds, endpoints):
    with Machine(machine.proxy_core, machine.load_core) as inner:
        running = {name: proxies.ALL[name](inner, endpoints) for name in names}
        for name in names:
            rate_round(inner, RATE, 1, running[name])
        results = {name: [] for name in names}
        for number in range(1, rounds + 1):
            for name in mixed(names, number):
                results[name].append(rate_round(inner, RATE, RATE_SECONDS, running[name]))
                say(f"  round {number}, {name}: {results[name][-1].latencies}")
        return results


def memory(machine, names, rounds, endpoints):
    found = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in mixed(names, number):
            with Machine(machine.proxy_core, machine.load_core) as inner:
                found[name].append(idle_memory(proxies.ALL[name](inner, endpoints), IDLE_CONNECTIONS))
            say(f"  round {number}, {name}: {found[name][-1]}")
    lines = ["| proxy | idle, MB | each idle connection, kB |", "|---|---:|---:|"]
    for name, pairs in found.items():
        idle, each = zip(*pairs)
        lines.append(f"| {name} | {spread([kb / 1000 for kb in idle], 1)} | {spread(each, 1)} |")
    return "\n".join(lines)


def wasm(machine, rounds, endpoints):
    """The CPU that a module adds, in Waypost and in Envoy."""
    module = proxies.MODULES / "header_auth.wasm"
    if not module.exists():
        fail(f"there is no {module}; `make filters` builds it")
    start = {}
    for name, proxy in {"waypost": proxies.waypost, "envoy": proxies.envoy}.items():
        start[name] = proxy
        start[f"{name} with the module"] = lambda *a, proxy=proxy, **k: proxy(*a, module=module, **k)
    shape = dataclasses.replace(SHAPES["8 connections × 20 calls"], headers=(proxies.AUTHORIZATION,))
    results = measure(machine, shape, list(start), rounds, endpoints, start)
    lines = [table(results), "", "| proxy | the module adds, µs per call |", "|---|---:|"]
    for name in ("waypost", "envoy"):
        pairs = zip(results[f"{name} with the module"], results[name])
        lines.append(f"| {name} | {spread([a.cpu - b.cpu for a, b in pairs], 2)} |")
    return "\n".join(lines)


def above_zero(kind):
    def read(text):
        if not 0 < (number := kind(text)) < math.inf:
            raise argparse.ArgumentTypeError("it must be a number above 0")
        return number

    return read


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["shapes", "full", "wasm"], default="shapes")
    parser.add_argument("--proxies", default=",".join(proxies.ALL), help="default %(default)s")
    parser.add_argument("--rounds", type=above_zero(int), help="per proxy; default 5, and 3 for what only bench-full measures")
    parser.add_argument("--seconds", type=above_zero(float), help="that a round takes, about; default 3")
    parser.add_argument("--only", default="", help="only what has this in its name")
    parser.add_argument("--proxy-core", type=int, default=0, help="default %(default)s")
    parser.add_argument("--load-core", type=int, default=1, help="default %(default)s")
    args = parser.parse_args()
    args.proxies = args.proxies.split(",")
    if unknown := set(args.proxies) - set(proxies.ALL):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(proxies.ALL)}")
    if len(set(args.proxies)) < len(args.proxies):
        parser.error("a proxy is named twice")
    if args.proxies == ["direct"]:
        parser.error("direct is no proxy: name one beside it")
    if args.proxy_core == args.load_core:
        parser.error("the load would take the proxy's time: it needs another core")
    if args.what == "wasm" and (args.only or args.proxies != list(proxies.ALL)):
        parser.error("wasm measures one shape with Waypost and Envoy; it takes neither --only nor --proxies")
    # What is not the whole has a file of its own.
    args.some = "-some" if any(arg.startswith("-") for arg in sys.argv[1:]) else ""
    args.found = False
    proxies.check(["waypost", "envoy"] if args.what == "wasm" else args.proxies)
    return args


class Report:
    """Sections of the result, written after each, so that what was measured is not lost."""

    def __init__(self, what, head):
        self.folder = REPOSITORY / "target/compare"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"{what}.md"
        self.text = head
        # What there is stays until there is something new.
        print(head, flush=True)

    def add(self, text):
        self.text += text
        self.path.write_text(self.text)
        print(text, flush=True)


def main():
    args = arguments()
    # An end from outside takes the same way out, past everything that must be ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = ["waypost", "envoy"] if args.what == "wasm" else args.proxies
    versions = ", ".join(f"{name} {proxies.version(name)}" for name in [*names, "h2load"] if name != "direct")
    report = Report(args.what + args.some, f"{describe()}; {datetime.date.today()}. {versions}.\n")
    with Machine(args.proxy_core, args.load_core) as machine:
        echo = machine.start("echo", [proxies.ECHO], machine.load_core, stdout=subprocess.PIPE)
        http2, http1 = map(int, echo.stdout.readline().split())
        endpoints = [f"127.0.0.1:{http2}"]

        if args.what == "wasm":
            report.add(f"\n{wasm(machine, args.rounds or 7, endpoints)}\n")
            return
        shapes(machine, args, names, endpoints, report)
        if args.what == "full":
            more(machine, args, names, endpoints, [f"127.0.0.1:{http1}"], report)
        if not args.found:
            names = [*SHAPES] + ([*MORE, "endpoints", "latency", "memory"] if args.what == "full" else [])
            fail(f"nothing is measured that has `{args.only}` in its name; there are:", *names)


def wanted(args, name):
    if args.only in name:
        args.found = True
        say(f"{name}:")
        return True
    return False


def shapes(machine, args, names, endpoints, report):
    measured = {}
    for name, shape in SHAPES.items():
        if wanted(args, name):
            measured[name] = measure(machine, several(args, shape), names, args.rounds or 5, endpoints)
            report.add(f"\n**{name}**\n\n{table(measured[name])}\n")
    if measured:
        title = f"CPU µs per unary gRPC call, median and range; {datetime.date.today()}"
        report.path.with_suffix(".svg").write_text(plot(measured, title))


def more(machine, args, names, endpoints, http1, report):
    rounds = args.rounds or 3
    for name, shape in MORE.items():
        if wanted(args, name):
            at = endpoints if shape.http2 else http1
            report.add(f"\n**{name}**\n\n{table(measure(machine, several(args, shape), names, rounds, at))}\n")
    proxied = [name for name in names if name != "direct"]
    port = endpoints[0].rsplit(":", 1)[1]
    for count in ENDPOINTS:
        if wanted(args, name := f"{count} endpoints, 8 × 20"):
            at = [f"127.0.{i >> 8 & 255}.{i & 255}:{port}" for i in range(1, count + 1)]
            results = measure_fresh(machine, several(args, Shape(8, 20)), proxied, rounds, at)
            report.add(f"\n**{name}**\n\n{table(results)}\n")
    if wanted(args, name := f"{RATE} calls a second, latency from when they were due"):
        report.add(f"\n**{name}**\n\n{table(at_rate(machine, names, rounds, endpoints))}\n")
    if wanted(args, name := f"resident memory, {IDLE_CONNECTIONS} idle connections"):
        report.add(f"\n**{name}**\n\n{memory(machine, proxied, rounds, endpoints)}\n")


def several(args, shape):
    return dataclasses.replace(shape, seconds=args.seconds or shape.seconds)


if __name__ == "__main__":
    main()
