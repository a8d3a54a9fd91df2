"""Processes on their cores, and what the kernel says of them."""

import contextlib
import functools
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / ".tools"
DEBIAN = TOOLS / "peers/debian/usr"
TICKS = os.sysconf("SC_CLK_TCK")


def fail(*lines):
    raise SystemExit("\n".join(lines))


class Machine(contextlib.ExitStack):
    """Everything that was started, and ends with the run: last started, first ended, each by its own pid."""

    def __init__(self, proxy_core, load_core):
        super().__init__()
        self.proxy_core, self.load_core = proxy_core, load_core
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="waypost-bench-")))

    def start(self, name, command, core, **options):
        path = self.folder / f"{name}-{time.monotonic_ns()}.log"
        log = self.enter_context(open(path, "wb"))
        process = subprocess.Popen(pinned(core, command), stderr=log, **{"stdout": log, "env": environment(), **options})
        process.log = path
        self.callback(end, process)
        return process

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
        return path


@functools.cache
def environment():
    """What Debian's programs need to run from where they were unpacked."""
    libraries = [folder for folder in DEBIAN.glob("lib/*-linux-gnu*") if folder.is_dir()]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries)), "ETCDCTL_API": "3"}


def pinned(core, command):
    # taskset replaces itself by the command, so that the pid is the command's.
    return ["taskset", "-c", str(core), *map(str, command)]


def run(core, command, **options):
    done = subprocess.run(pinned(core, command), capture_output=True, text=True, env=environment(), **options)
    if done.returncode != 0:
        fail(f"{command[0]} failed with {done.returncode}:", done.stdout, done.stderr)
    return done.stdout


def end(process):
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, process, ready, seconds=60):
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = process.log.read_text(errors="replace")
            fail(f"{what} did not get ready; exit code: {process.poll()}; it said:", said[-4000:])
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


def family(pid):
    """The process and its descendants: a proxy's workers may be processes of their own."""
    found = [pid]
    for parent in found:
        for children in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid):
    """User and system time of all threads, also of those that have ended. It comes in ticks of mostly 10 ms, which is
    why a round takes seconds."""
    user = system = 0
    for member in family(pid):
        fields = pathlib.Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICKS, system / TICKS


def memory_kb(pid, what="VmRSS"):
    """Resident memory now, or with VmHWM at its most. Pages that the family shares count for each that has them."""
    status = (pathlib.Path(f"/proc/{member}/status").read_text() for member in family(pid))
    return sum(int(re.search(rf"{what}:\s+(\d+) kB", text).group(1)) for text in status)


class Busy:
    """How busy a core is from here to `percent`, whoever keeps it busy."""

    def __init__(self, core):
        self.core = core
        self.before = self.now()

    def now(self):
        line = re.search(rf"^cpu{self.core} (.*)", pathlib.Path("/proc/stat").read_text(), re.M).group(1)
        times = [int(value) for value in line.split()]
        # The fourth and fifth are idle and waiting for disks.
        return sum(times[:8]), times[3] + times[4]

    def percent(self):
        total, idle = (after - before for after, before in zip(self.now(), self.before))
        return 100 * (total - idle) / max(total, 1)


def describe():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = os.uname()
    load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    name = cpu.group(1) if cpu else kernel.machine
    return f"{name}, {os.cpu_count()} cores, {kernel.sysname} {kernel.release.split('-')[0]}; load average before: {load}"


def say(text):
    print(text, file=sys.stderr, flush=True)
