#!/usr/bin/env python3
"""How many instructions a unary gRPC call takes in the proxy, counted by valgrind's callgrind.

    make bench-count                fails if it is more than 5 % above the figure in instructions.txt, and tells if it fell
    make bench-count WRITE=1        writes the figure of now there

Counts hardly depend on what else the machine does, so one run says what a change to the path costs; what they leave out is
the kernel, and that not all instructions take equally long. The whole process is counted, from warm connections on. The
profile stays in target/compare, for callgrind_annotate.

The build is that of `make demo`, which is made in a fraction of the time of a release and takes about three times its
instructions: what is compared is one state of the sources with another.
"""

import argparse
import os
import re
import signal
import subprocess
import sys

os.environ.setdefault("PROFILE", "demo")
import proxies  # noqa: E402: it reads the profile
from loads import Shape, h2load
from machine import REPOSITORY, Machine, fail, run

FIGURES = REPOSITORY / "benches/compare/instructions.txt"
# Shapes, and how many calls of each are counted.
SHAPES = {
    "1x1": (Shape(1, 1), 2000),
    "8x20": (Shape(8, 20), 2000),
    "a stream of 100 messages": (Shape(8, 20, "/bench.Echo/Stream/100", answer=3700), 320),
}
MORE = 1.05


def count(machine, name, shape, calls, endpoints):
    profile = REPOSITORY / f"target/compare/callgrind.{name.split()[-1]}"
    profile.parent.mkdir(parents=True, exist_ok=True)
    for old in profile.parent.glob(f"{profile.name}*"):
        old.unlink()
    under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--dump-instr=no"]
    # As many threads as the real process has, each of which gets on.
    under += ["--fair-sched=try"]
    running = proxies.waypost(machine, endpoints, under=under)
    h2load(machine, shape, "waypost", running.port, calls)
    run(machine.load_core, ["callgrind_control", "--zero", running.pid])
    h2load(machine, shape, "waypost", running.port, calls)
    run(machine.load_core, ["callgrind_control", "--dump", running.pid])
    # The first dump; what the end of the process adds is in another.
    text = (profile.parent / f"{profile.name}.1").read_text(errors="replace")
    total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
    if not total:
        fail(f"callgrind left no sum in {profile}.1")
    return int(total.group(1)) // calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the figures of now")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    proxies.check(["waypost"], [proxies.ECHO])
    counted = {}
    for name, (shape, calls) in SHAPES.items():
        with Machine(0, 1) as machine:
            echo = machine.start("echo", [proxies.ECHO], machine.load_core, stdout=subprocess.PIPE)
            endpoints = [f"127.0.0.1:{echo.stdout.readline().split()[0].decode()}"]
            counted[name] = count(machine, name, shape, calls, endpoints)
    if not (args.write or FIGURES.exists()):
        fail(f"no figures are committed yet; {counted} were counted: make bench-count WRITE=1 writes them")
    if args.write:
        FIGURES.write_text("".join(f"{figure} {name}\n" for name, figure in counted.items()))
    committed = {name: int(figure) for figure, name in (line.split(" ", 1) for line in FIGURES.read_text().splitlines())}
    worse, better = [], []
    for name, figure in counted.items():
        if name not in committed:
            fail(f"no figure is committed for {name}: make bench-count WRITE=1 writes it")
        change = figure / committed[name]
        print(f"{name}: {figure:,} instructions a call; committed: {committed[name]:,}; {100 * (change - 1):+.1f} %")
        worse += [name] if change > MORE else []
        better += [name] if change < 2 - MORE else []
    if better:
        print(f"less than committed: {', '.join(better)}; make bench-count WRITE=1 writes it, so that it stays so")
    if worse:
        fail(f"more than {100 * (MORE - 1):.0f} % above the committed figure: {', '.join(worse)}")


if __name__ == "__main__":
    main()
