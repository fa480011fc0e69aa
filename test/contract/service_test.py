#!/usr/bin/env python3
"""The server under a service manager: sd_notify(3) messages on a real socket, and the files that are installed."""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BIN, Directory, Server, Skip, case, check, equal, main, run, seconds

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class Manager:
    """The end of the socket where a service manager listens."""

    def __init__(self, directory, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"rowtap-test-{os.getpid()}" if abstract else directory.file("notify")
        self.socket.bind("\0" + name if abstract else name)
        self.variable = "@" + name if abstract else name

    def next(self, timeout=10):
        """The next message as an object; None when there is none in time."""
        self.socket.settimeout(seconds(timeout))
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def count_watchdog(self, for_seconds):
        end, count = time.monotonic() + for_seconds, 0
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                count += self.socket.recv(4096) == b"WATCHDOG=1"
            except TimeoutError:
                pass
        return count


def life(abstract):
    with Directory() as directory:
        manager = Manager(directory, abstract)
        server = Server(directory.file("a.db"), env={"NOTIFY_SOCKET": manager.variable})
        ready = manager.next()
        equal(ready["READY"], "1", "READY")
        equal(ready["STATUS"], f"serving {directory.file('a.db')} on {server.url}", "STATUS")
        equal(server.get("/health").status, 200, "health once it is ready")
        before = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
        server.signal(signal.SIGHUP)
        reloading = manager.next()
        equal(reloading["RELOADING"], "1", "RELOADING")
        check(before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6, "%s", reloading)
        equal(manager.next()["READY"], "1", "READY again")
        equal(manager.next(0.3), None, "a watchdog that nobody asked for")
        server.signal(signal.SIGTERM)
        equal(manager.next()["STOPPING"], "1", "STOPPING")
        equal(server.wait(seconds(5)), 0, "exit status")
        server.forget()


@case("READY when it can be asked, RELOADING on SIGHUP, STOPPING at the end")
def path():
    life(False)


@case("the same over an abstract socket")
def abstract():
    life(True)


@case("a socket that is not there, or no path, keeps nothing from working")
def nobody():
    with Directory() as directory:
        for variable in ("/nonexistent/socket", "", "relative", "@", "/" + "x" * 200):
            with Server(directory.file("a.db"), env={"NOTIFY_SOCKET": variable, "WATCHDOG_USEC": "100000"}) as server:
                equal(server.get("/health").status, 200, "health")


@case("WATCHDOG=1 comes at half of WATCHDOG_USEC, and not when it is meant for another process")
def watchdog():
    with Directory() as directory:
        manager = Manager(directory)
        with Server(directory.file("a.db"), env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "400000"}):
            equal(manager.next()["READY"], "1", "READY")
            count = manager.count_watchdog(2)
            check(6 <= count <= 11, "%d in 2 seconds instead of 10", count)
        while manager.next(0.2):
            pass
        with Server(directory.file("a.db"), env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}):
            equal(manager.next()["READY"], "1", "READY")
            equal(manager.count_watchdog(0.5), 0, "for another process")


@case("a long statement and a wait for another process's lock are not taken for a thread that hangs")
def busy():
    with Directory() as directory:
        manager = Manager(directory)
        with Server(directory.file("a.db"), "--busy-timeout", "2", env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "200000"}) as server:
            server.sql("CREATE TABLE t(x)")
            long = ("INSERT INTO t SELECT max(n) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
                    "WHERE n < 6000000) SELECT n FROM c)")
            thread = threading.Thread(target=server.sql, args=(long,))
            thread.start()
            check(manager.count_watchdog(1) >= 5, "the watchdog stopped during a long statement")
            thread.join()
            import sqlite3
            other = sqlite3.connect(directory.file("a.db"))
            other.execute("BEGIN IMMEDIATE")
            thread = threading.Thread(target=server.post, args=("/api/sql", {"sql": "INSERT INTO t VALUES (1)"}))
            thread.start()
            check(manager.count_watchdog(1) >= 5, "the watchdog stopped while the lock was waited for")
            other.rollback()
            other.close()
            thread.join()


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, None) < 0:
        raise Skip(f"one thread cannot be stopped here: {os.strerror(ctypes.get_errno())}")


def thread_of(server, name):
    for tid in os.listdir(f"/proc/{server.pid}/task"):
        with open(f"/proc/{server.pid}/task/{tid}/comm") as comm:
            if comm.read().strip() == name:
                return int(tid)
    raise AssertionError(f"there is no thread {name}")


@case("a thread that hangs, be it a loop's or the database's, stops the watchdog until it goes on")
def hung():
    with Directory() as directory:
        manager = Manager(directory)
        with Server(directory.file("a.db"), "--loops", "3", env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "200000"}) as server:
            for name in ("loop-0", "loop-2", "database"):
                check(manager.count_watchdog(0.6) >= 3, "no watchdog before %s hangs", name)
                tid = thread_of(server, name)
                ptrace(PTRACE_SEIZE, tid)
                ptrace(PTRACE_INTERRUPT, tid)
                os.waitpid(tid, WALL)
                manager.count_watchdog(0.3)
                count = manager.count_watchdog(1)
                ptrace(PTRACE_DETACH, tid)
                equal(count, 0, f"signs of life while {name} hangs")
            check(manager.count_watchdog(0.6) >= 3, "no watchdog afterwards")
            text = server.stderr()
            equal(len(re.findall("error a thread of the server has not answered", text)), 3, "lines of the log")
            equal(len(re.findall("warn  all threads of the server answer again", text)), 3, "lines of the log")


@case("the unit file is valid")
def unit():
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not installed")
    with Directory() as directory:
        with open(os.path.join(TOP, "scripts", "rowtap.service")) as source:
            text = source.read()
        check("ExecStart=/usr/local/bin/rowtap serve" in text, "ExecStart")
        with open(directory.file("rowtap.service"), "w") as file:
            file.write(text.replace("/usr/local/bin/rowtap", BIN))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", directory.file("rowtap.service")], capture_output=True, text=True)
        check(done.returncode == 0 and "rowtap.service" not in done.stderr, "%s", done.stderr)


@case("the unit's command line and environment are understood")
def unit_command():
    with open(os.path.join(TOP, "scripts", "rowtap.service")) as source:
        text = source.read()
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.M))
    words = re.search(r"^ExecStart=\S+ (.*)$", text, re.M)[1].split()
    equal(words[:2], ["serve", "${ROWTAP_DATABASE}"], "command")
    with Directory() as directory:
        code, _, err = run(*[w.replace("${ROWTAP_DATABASE}", directory.file("a.db")) for w in words], "--help", env=given)
        equal((code, err), (0, ""), "options of the unit")


@case("what is installed: the program, the library, the header, the man page, the unit that names the program")
def installed():
    build = os.path.dirname(BIN)
    if not shutil.which("meson") or not os.path.exists(os.path.join(build, "build.ninja")):
        raise Skip("the program was not built with meson, or meson is not installed")
    with Directory() as directory:
        done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", directory.path], capture_output=True, text=True)
        equal(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        found = {os.path.relpath(os.path.join(at, name), directory.path) for at, _, names in os.walk(directory.path) for name in names}
        for path in (r"usr/local/bin/rowtap", r"usr/local/include/rowtap\.h", r"usr/local/share/man/man1/rowtap\.1(\.gz)?",
                     r"usr/local/lib/systemd/system/rowtap\.service", r"usr/local/lib/.*librowtap\.so.*"):
            check(any(re.fullmatch(path, f) for f in found), "%s is not among %s", path, sorted(found))
        code = subprocess.run([directory.file("usr/local/bin/rowtap"), "version"], capture_output=True, text=True)
        check(code.stdout.startswith("rowtap "), "%s", code)
        with open(directory.file("usr/local/lib/systemd/system/rowtap.service")) as unit_file:
            check("ExecStart=/usr/local/bin/rowtap serve" in unit_file.read(), "the unit names the program")


@case("the man page has no warnings")
def man_page():
    if not shutil.which("man"):
        raise Skip("man is not installed")
    page = os.path.join(TOP, "src", "cli", "rowtap.1")
    done = subprocess.run(["man", "-l", "--warnings", page], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
    equal((done.returncode, done.stderr), (0, ""), "man")
    for heading in ("NAME", "SYNOPSIS", "OPTIONS", "SIGNALS", "EXIT STATUS", "ENVIRONMENT"):
        check(re.search(rf"^{heading}$", done.stdout, re.M), "no %s", heading)


if __name__ == "__main__":
    main()
