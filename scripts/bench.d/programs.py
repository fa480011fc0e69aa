"""The servers that are compared, each on one processor, and the load generator, on another."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from machine import BIN, BUILD
from harness import environment, raise_nofile

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = os.path.join(BUILD, "node")
PATIENCE = 300  # seconds that one step may take, on a busy machine
CONNECTING = 900  # seconds until all have connected and subscribed


def cores():
    """The processor of the servers, and that of the load."""
    available = sorted(os.sched_getaffinity(0))
    return str(available[0]), str(available[-1])


def pinned(core, command):
    return ["taskset", "-c", core, *map(str, command)]


def built(name):
    return os.path.join(BUILD, "scripts", "bench.d", name)


PROGRAMS = {  # name: the command, before the database
    "rowtap": [BIN, "serve", "--listen", "127.0.0.1:0", "--log-level", "warn"],
    "each": [built("floor"), "each"],
    "coalesce": [built("floor"), "coalesce"],
    "ws": ["node", os.path.join(NODE, "ws.mjs")],
    "socket.io": ["node", os.path.join(NODE, "socketio.mjs")],
}
NODE_PROGRAMS = ("ws", "socket.io")
MEANING = {
    "rowtap": "rowtap serve, with its defaults",
    "each": "scripts/bench.d/floor.c: a bare server, one send per message",
    "coalesce": "the same, each subscriber sent all that there is when it is its turn",
    "ws": "Node, ws and better-sqlite3 (scripts/bench.d/node/ws.mjs)",
    "socket.io": "Node, socket.io and better-sqlite3 (scripts/bench.d/node/socketio.mjs)",
    "insert": "scripts/bench.d/insert.c: a loop that inserts, without a server",
}


def install_node():
    """None, or why the Node servers cannot run."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node or npm is not installed"
    shutil.copytree(os.path.join(HERE, "node"), NODE, dirs_exist_ok=True)
    stamp = os.path.join(NODE, "node_modules", ".installed")
    with open(os.path.join(NODE, "package.json")) as file:
        wanted = file.read()
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return None
    print("installing the packages of the Node servers (once)", flush=True)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "--no-package-lock"], cwd=NODE,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=1800)
    except subprocess.TimeoutExpired:
        return "npm install took longer than half an hour"
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "error" in line.lower()] or ["unknown"]
        return f"npm install failed: {lines[0]}"
    with open(stamp, "w") as file:
        file.write(wanted)
    return None


class Program:
    """A running server with a file of its own."""
    def __init__(self, name, directory, options=()):
        self.name = name
        self.directory = tempfile.mkdtemp(prefix="rowtap-bench-", dir=directory)
        self.errors = open(os.path.join(self.directory, "stderr"), "w+")
        command = [*PROGRAMS[name], os.path.join(self.directory, "bench.db"), *options]
        self.process = subprocess.Popen(pinned(cores()[0], command), stdin=subprocess.DEVNULL, stdout=self.errors,
                                        stderr=self.errors, env=environment(), preexec_fn=raise_nofile)
        try:
            self.url = self.wait()
        except Exception:
            self.stop()
            raise

    def words(self):
        self.errors.flush()
        with open(self.errors.name, errors="replace") as file:
            return file.read()

    def wait(self):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"listening on (http://\S+)", self.words())
            if found:
                return found[1]
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not come up:\n{self.words()[-2000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.errors.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Load:
    """`rowtap bench` with its connections open; each step is one measurement."""
    def __init__(self, program, test, *options):
        binary = [built("load")] if program.name == "socket.io" else [BIN, "bench"]
        command = [*binary, test, "--url", program.url, "--format", "json", "--steps", *options]
        self.program = program
        self.process = subprocess.Popen(pinned(cores()[1], command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment(), preexec_fn=raise_nofile)
        try:
            said = self.line(self.process.stderr, CONNECTING)
            if said != "ready":
                raise RuntimeError(self.complaint(f"is not ready: {said}"))
        except Exception:
            self.stop()
            raise

    def complaint(self, what):
        self.process.kill()
        said = self.process.stderr.read().decode(errors="replace").strip()
        return f"{' '.join(self.process.args)}: {what}: {said}\n{self.program.words()[-1000:]}"

    def line(self, file, seconds=PATIENCE):
        """The next line; a process that takes too long is ended, and then it is an empty one."""
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            return file.readline().decode(errors="replace").strip()
        finally:
            timer.cancel()

    def step(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        line = self.line(self.process.stdout)
        result = json.loads(line) if line else {}
        if not result.get("onceAndInOrder"):
            raise RuntimeError(self.complaint(f"what arrived is not right ({line})"))
        return result

    def stop(self):
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                file.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def once(program, test, *options):
    """One measurement with a load generator of its own."""
    command = [BIN, "bench", test, "--url", program.url, "--format", "json", *map(str, options)]
    done = subprocess.run(pinned(cores()[1], command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, env=environment(), preexec_fn=raise_nofile)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{program.words()[-1000:]}")
    return json.loads(done.stdout)


def insert(directory, rows, seconds):
    """The loop of bare SQLite, on the servers' processor."""
    with tempfile.TemporaryDirectory(prefix="rowtap-bench-", dir=directory) as folder:
        command = pinned(cores()[0], [built("insert"), os.path.join(folder, "bench.db"), rows, seconds])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        if result["rows"] != result["found"]:
            raise RuntimeError(f"{' '.join(command)}: {result['found']} of {result['rows']} rows are there")
        return result
