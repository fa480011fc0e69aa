"""Servers of rowtap, load from `rowtap bench`, and what they cost."""
import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time

from machine import BIN
from harness import Server, environment

RATE = 200  # commits per second of the live writer
LISTENERS = 4  # live subscribers, so that every loop has some


@contextlib.contextmanager
def fresh(args):
    """The path of a database that is not there yet."""
    with tempfile.TemporaryDirectory(prefix="rowtap-bench-", dir=args.dir) as directory:
        yield os.path.join(directory, "bench.db")


@contextlib.contextmanager
def serving(path, *options):
    os.sync()
    server = Server(path, "--log-level", "warn", "--snapshot-timeout", "0", *options)
    try:
        yield server
        server.stop(60)
    finally:
        server.kill()


def load(server, *options):
    """The result of one `rowtap bench`."""
    command = [BIN, "bench", "--url", server.url, "--format", "json", *map(str, options)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, env=environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def past(server, args, kind, clients):
    """Clients that read the table's past, or a snapshot of it."""
    return load(server, "--" + kind, args.rows, "--keep", "--table", "past", "--subscribers", clients)


def live(server, args):
    return load(server, "--table", "live", "--writers", 1, "--rate", RATE, "--subscribers", LISTENERS, "--seconds", args.seconds)


@contextlib.contextmanager
def meanwhile(work):
    """Repeats `work` in a thread, from before the block until after it; gives the list of its results."""
    results, failures, stop, begun = [], [], threading.Event(), threading.Event()

    def repeat():
        begun.set()
        try:
            while not stop.is_set():
                results.append(work())
        except Exception as error:  # raised again below
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    begun.wait()
    time.sleep(0.1)
    try:
        yield results
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


class Cost:
    """What the server uses from here on."""
    def __init__(self, server):
        self.server, self.cpu, self.bytes = server, server.cpu_seconds(), self.written(server)

    @staticmethod
    def written(server):
        with open(f"/proc/{server.pid}/io") as io:
            return next(int(line.split()[1]) for line in io if line.startswith("write_bytes"))

    def per(self, count):
        """Microseconds of processor, bytes to the disk."""
        return (self.server.cpu_seconds() - self.cpu) * 1e6 / count, (self.written(self.server) - self.bytes) / count


def resident(server):
    """(now, peak since forget_peak) in MB."""
    with open(f"/proc/{server.pid}/status") as status:
        found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return found["VmRSS"], found["VmHWM"]


def forget_peak(server):
    with open(f"/proc/{server.pid}/clear_refs", "w") as file:
        file.write("5")
