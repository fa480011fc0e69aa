#!/usr/bin/python3
"""1,000 users in `collaboration`, all moving their cursors ten times a second: ten million deliveries a
second are wanted, which nobody could send or read. Queues and memory stay bounded, positions are put
together, and in the end everyone knows where everyone is. The users are cursor_client.c."""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Server, case, check, equal, main, note, raise_nofile, seconds  # noqa: E402
from fanout import build_client  # noqa: E402

HZ = 10
SLOW = 20  # every so many-th user does not read while the cursors move
WAITING = 65536  # PRESENCE's bound of what may wait when a connection is told more
MESSAGE = 256  # bytes of one cursor, at most
LEAST = 180  # and at least


class Gauge:
    """The largest queue and memory of the server while something runs."""

    def __init__(self, server):
        self.server, self.queued, self.memory, self.asked = server, 0, 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        http = self.server.http()
        while not self.stop.wait(0.1):
            self.queued = max(self.queued, http.request("GET", "/api/websocket/health").json["queuedBytes"])
            self.memory = max(self.memory, self.server.memory())
            self.asked += 1
        http.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def crowd(server, program, users, length):
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen([program, server.host, str(server.port), str(users), str(HZ), str(length), str(SLOW)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=raise_nofile)
    watchdog = threading.Timer(seconds(length + 180), process.kill)
    watchdog.start()
    try:
        equal(process.stdout.readline().split(), ["ready", str(users)], "users that came")
        before = server.get("/api/websocket/health").json, server.memory(), server.cpu_seconds(), time.monotonic()
        with Gauge(server) as gauge:
            equal(process.stdout.readline(), "still\n", "after the last move")
        line = process.stdout.readline()
        after = server.get("/api/websocket/health").json, server.memory(), server.cpu_seconds(), time.monotonic()
        check(line, "the client said nothing: %s", words(errors))
        return json.loads(line), gauge, before, after, words(errors)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait(10)


def words(errors):
    errors.seek(0)
    return errors.read()[-1000:].decode(errors="replace")


def options(parser):
    parser.add_argument("--seconds", type=float, default=0, help="how long the cursors move (default 6; quick 3)")
    parser.add_argument("--users", type=int, default=0, help="default 1000; quick 300")


@case("everyone moves, some do not read: bounded queues and memory, and the truth in the end")
def moving(args):
    users, length = args.users or (300 if args.quick else 1000), args.seconds or (3 if args.quick else 6)
    with Directory() as directory:
        program = build_client(directory, "cursor_client")
        server = Server(directory.file("c.db"))
        result, gauge, before, after, said = crowd(server, program, users, length)
        taken = after[3] - before[3]
        sent = after[0]["messagesSent"] - before[0]["messagesSent"]
        wanted = users * (users - 1) * HZ
        note(f"{users} users, {HZ} moves a second each for {length:g} s; every {SLOW}th does not read meanwhile")
        note(f"wanted {wanted / 1e6:.2f} million deliveries/s, sent {sent / taken / 1e6:.3f} million/s, "
             f"{(after[0]['bytesSent'] - before[0]['bytesSent']) / taken / 1e6:.0f} MB/s, "
             f"{(after[2] - before[2]) / taken:.2f} cores")
        note(f"a reader is told a position {result['delayMean'] * 1000:.0f} ms after it was sent on average, {result['delayMax']:.2f} s at most; "
             f"all is settled {result['settled']:.2f} s after the last move")
        note(f"most queued {gauge.queued / 2**20:.1f} MiB, memory {before[1] / 2**20:.0f} MiB before, {gauge.memory / 2**20:.0f} MiB at most")
        note(json.dumps(result))
        equal((result["live"], result["closed"]), (users, 0), f"live and closed: {said}")
        equal((result["untrue"], result["backwards"]), (0, 0), f"positions that are not the last, or went backwards: {said}")
        check(gauge.asked > length, "health was answered only %d times", gauge.asked)
        bound = users * (WAITING + users * MESSAGE)
        check(gauge.queued <= bound, "%d bytes queued, %d is the bound", gauge.queued, bound)
        check(gauge.memory - before[1] < bound + (64 << 20), "memory rose by %d bytes", gauge.memory - before[1])
        with open("/proc/sys/net/ipv4/tcp_wmem") as sizes:
            kernel = int(sizes.read().split()[2])
        most = (kernel + WAITING) / LEAST + 2 * users  # what was on its way to who did not read, and what is newest
        check(result["slowMost"] <= most, "who does not read was told %d moves: more than can wait (%d)", result["slowMost"], most)
        equal(after[0]["slowConsumersClosed"], 0, "slow consumers closed")
        server.stop()


if __name__ == "__main__":
    main(options)
