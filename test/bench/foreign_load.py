"""What scripts/bench uses to load a file from other processes: foreign_writer.c and listener.c, built with
the system's compiler. Every wait is bounded."""
import array
import json
import os
import select
import subprocess
import tempfile
import threading
import time

from harness import Http

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 300  # seconds that a process may need for its work


def build(directory):
    Helper.directory = directory
    for name in ("foreign_writer", "listener"):
        source, program = os.path.join(HERE, name + ".c"), os.path.join(directory, name)
        if os.path.exists(program) and os.path.getmtime(program) > os.path.getmtime(source):
            continue
        compiler = os.environ.get("CC", "cc").split()
        subprocess.run([*compiler, "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-o", program, source, "-lsqlite3"],
                       check=True, stdin=subprocess.DEVNULL)


class Helper:
    """A process that says "ready" when it is, and then answers in lines of JSON."""
    directory = None  # where build() put the programs

    def __init__(self, program, *arguments, env=None):
        self.name = program
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [os.path.join(self.directory, program), *map(str, arguments)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **(env or {})})
        try:
            line = self.line(60)
            if line != "ready":
                raise RuntimeError(f"{program} did not come up: {line}{self.words()}")
        except BaseException:
            self.kill()
            raise

    def line(self, limit):
        """The answers are short and come whole, so that one read takes one."""
        if not select.select([self.process.stdout], [], [], limit)[0]:
            raise RuntimeError(f"{self.name} said nothing for {limit} s {self.words()}")
        return os.read(self.process.stdout.fileno(), 4096).decode().strip()

    def say(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, limit):
        line = self.line(limit)
        if not line:
            raise RuntimeError(f"{self.name} ended: {self.words()}")
        return json.loads(line)

    def words(self):
        self.errors.seek(0)
        return self.errors.read()[-1000:].decode(errors="replace").strip()

    def stop(self):
        """The end of its standard input."""
        self.process.stdin.close()

    def ended(self):
        if self.process.wait(60) != 0:
            raise RuntimeError(f"{self.name} failed: {self.words()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for file in (self.process.stdin, self.process.stdout, self.errors):
            try:
                file.close()
            except BrokenPipeError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Writer(Helper):
    """Single-row commits in a table of its own, from go() on; options are foreign_writer's."""

    def __init__(self, path, table, *options, log=None):
        self.log = log
        super().__init__("foreign_writer", *options, *(["-l", log] if log else []), path, table)

    def go(self):
        self.say("go")

    def end(self, limit=PATIENCE):
        """Waits until it has done its work: {"commits", "busy", "begin", "end", "cpu"}."""
        result = self.answer(limit)
        if not self.process.stdin.closed:
            self.stop()
        self.ended()
        return result


class Statement(Helper):
    """One SQL statement in a process of its own."""

    def __init__(self, path, sql):
        super().__init__("foreign_writer", "-b", "60000", "-q", sql, path,
                         env={"SQLITE_TMPDIR": os.path.dirname(path)})

    def run(self):
        self.say("go")
        result = self.answer(PATIENCE)
        self.stop()
        self.ended()
        return result


class Listener(Helper):
    """One subscriber that reads everything."""

    def __init__(self, server, table, log=None):
        self.log = log
        super().__init__("listener", server.host, server.port, table, *([log] if log else []))

    def wait(self, count, limit=PATIENCE):
        """{"received", "disorder", "resyncs", "ended", "first", "last"}, when `count` changes have come
        or nothing is left to wait for."""
        self.say(f"wait {count} {limit}")
        return self.answer(limit + 30)

    def end(self):
        self.stop()
        self.ended()


def triples(path):
    """{first number: (second, third)} of a log of either program."""
    numbers = array.array("q")
    with open(path, "rb") as file:
        numbers.frombytes(file.read())
    return {numbers[i]: (numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers), 3)}


def latencies(writer_log, listener_log, begin=0, end=1 << 62):
    """Milliseconds from before the INSERT and from the COMMIT's return to the arrival, both sorted, of the
    rows committed between the two clocks."""
    arrivals, commits = triples(listener_log), triples(writer_log)
    chosen = [(before, after, arrivals[row][1]) for row, (before, after) in commits.items()
              if begin <= after < end and row in arrivals]
    return (sorted((arrived - before) / 1e6 for before, _, arrived in chosen),
            sorted((arrived - after) / 1e6 for _, after, arrived in chosen))


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class WalSize:
    """Watches how large the -wal file is, in MB."""

    def __init__(self, path, every=0.01):
        self.path, self.every, self.most = path + "-wal", every, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def now(self):
        try:
            return os.stat(self.path).st_size / 1e6
        except FileNotFoundError:
            return 0

    def watch(self):
        while not self.done.wait(self.every):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.most = max(self.most, self.now())


def sees_others(server):
    """Whether the server captures what other processes write."""
    http = Http(server)
    try:
        return bool(http.request("GET", "/health").json.get("database", {}).get("externalWrites"))
    finally:
        http.close()
