"""Good clients beside an attack: 100 that subscribe and one that writes at a fixed rate, whatever comes
of it. How late a change arrives is counted from when its row was to be sent (open loop). They are a
process of their own; so are the attackers, at the lowest priority: it is the server that is to be
measured, and not how much processor the attackers take from it."""
import ctypes
import multiprocessing
import os
import re
import select
import signal
import statistics
import time

from harness import SLOW, Directory, RawSocket, Server, check, equal, note, seconds

GOOD = 100
RATE = 40  # commits per second
MB = 1 << 20
AT = re.compile(rb'"at":"([0-9.]+)"')
SEQ = re.compile(rb'"seq":([0-9]+)')


def frames(buffer):
    """The whole unmasked frames in a bytearray, which keeps the rest: (opcode, payload)."""
    found, at = [], 0
    while len(buffer) - at >= 2:
        length, head = buffer[at + 1] & 0x7f, 2
        if length == 126:
            length, head = int.from_bytes(buffer[at + 2:at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(buffer[at + 2:at + 10], "big"), 10
        if len(buffer) - at < head + length:
            break
        found.append((buffer[at] & 0x0f, bytes(buffer[at + head:at + head + length])))
        at += head + length
    del buffer[:at]
    return found


class Client:
    def __init__(self, server, headers, *messages):
        self.raw = RawSocket(server)
        check(self.raw.upgrade(**headers).startswith("HTTP/1.1 101 "), "a good client is not let in")
        for message in messages:
            self.raw.text(message)
            while self.raw.message()["type"] != "subscribed":
                pass
        self.raw.socket.setblocking(False)
        self.buffer, self.seqs = bytearray(self.raw.buffer), []

    def hear(self):
        try:
            data = self.raw.socket.recv(1 << 16)
        except BlockingIOError:
            return
        check(data, "a good client was disconnected")
        self.buffer += data
        for opcode, payload in frames(self.buffer):
            if opcode == 9:
                self.raw.frame(10, payload)
            check(opcode != 8, "a good client was closed: %s", payload)
            if opcode == 1:
                yield payload


class Good:
    """A row holds the time at which it was due."""

    def __init__(self, server, headers):
        self.writer = Client(server, headers)
        self.clients = [Client(server, headers, {"type": "subscribe", "table": "good"}) for _ in range(GOOD)]
        self.poll = select.poll()
        self.of = {c.raw.socket.fileno(): c for c in [self.writer, *self.clients]}
        for fd in self.of:
            self.poll.register(fd, select.POLLIN)
        self.seqs, self.late, self.sent = [], [], 0

    def hear(self, timeout):
        for fd, _ in self.poll.poll(max(0, timeout) * 1000):
            client, now = self.of[fd], time.monotonic()
            for payload in client.hear():
                if client is not self.writer:
                    check(b'"type":"database_change"' in payload, "a good client hears %s", payload)
                    client.seqs.append(int(SEQ.search(payload)[1]))
                    self.late.append(now - float(AT.search(payload)[1]))
                elif b'"requestId":' in payload:
                    check(b'"error"' not in payload, "a good client's write: %s", payload)
                    self.seqs.append(int(SEQ.search(payload)[1]))

    def write(self, due):
        payload = {"action": "sql", "sql": "INSERT INTO good(at) VALUES(?)", "params": [repr(due)]}
        self.writer.raw.text({"type": "request", "requestId": self.sent, "payload": payload})
        self.sent += 1

    def run(self, duration):
        """(p50, p99) in ms."""
        self.late = []
        due = time.monotonic()
        end = due + duration
        while due < end:
            if time.monotonic() >= due:
                self.write(due)
                due += 1 / RATE
            self.hear(due - time.monotonic())
        self.settle()
        self.late.sort()
        return [self.late[len(self.late) * p // 100] * 1000 for p in (50, 99)]

    def settle(self):
        """Everything that was written has been heard by all, once and in order."""
        end = time.monotonic() + seconds(30)
        while min(len(self.seqs), *(len(c.seqs) for c in self.clients)) < self.sent and time.monotonic() < end:
            self.hear(0.05)
        equal(len(self.seqs), self.sent, "answers to the good client's writes")
        for c in self.clients:
            equal(c.seqs, self.seqs, "what a good client has seen")


def with_the_parent():
    """So that nothing is left behind when a test is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def good_process(server, headers, pipe):
    with_the_parent()
    try:
        good = Good(server, headers)
        pipe.send("ready")
        while (duration := pipe.recv()) is not None:
            pipe.send(good.run(duration))
    except Exception as error:  # told to the test, which fails with it
        pipe.send(error)


def attack_process(server, make, pipe):
    with_the_parent()
    os.nice(19)
    try:
        attack, going = make(server), False
        pipe.send("ready")
        while (word := pipe.recv() if not going or pipe.poll(0) else "go") is not None:
            going = word == "go"
            if going:
                attack.step()
            else:
                pipe.send(time.process_time())
        pipe.send(attack.report())
    except Exception as error:
        pipe.send(error)


class Where:
    """What the clients need to know of a server."""

    def __init__(self, server):
        self.host, self.port, self.tls = server.host, server.port, None


class Helper:
    """A process that answers over a pipe."""

    def __init__(self, target, *args):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(*args, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def answer(self, limit=120):
        check(self.pipe.poll(seconds(limit)), "a process of the test does not answer")
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise AssertionError("a process of the test has ended") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, word):
        self.pipe.send(word)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.join(10)


class Beside:
    """A server with its good clients; during() attacks it."""

    def __init__(self, options, duration, rounds=1, headers=None):
        self.options, self.duration, self.rounds, self.headers = options, duration, rounds, headers or {}

    def __enter__(self):
        self.directory = Directory().__enter__()
        self.server = Server(self.directory.file("a.db"), *self.options)
        for sql in ("CREATE TABLE good(id INTEGER PRIMARY KEY, at)", "CREATE TABLE big(id INTEGER PRIMARY KEY, x)"):
            equal(self.server.post("/api/sql", {"sql": sql}, self.headers).status, 200, sql)
        self.good = Helper(good_process, Where(self.server), self.headers)
        self.attack = None
        self.good.answer()
        return self

    def phase(self, attacked):
        """(p50, p99, the server's processor time in %, its memory at the most)"""
        self.good.pipe.send(self.duration)
        if attacked:
            self.attack.pipe.send("go")
        begun, cpu, peak = time.monotonic(), self.server.cpu_seconds(), 0
        while not self.good.pipe.poll(0.1):
            peak = max(peak, self.server.memory())
        cpu = (self.server.cpu_seconds() - cpu) / (time.monotonic() - begun)
        p50, p99 = self.good.answer()
        if attacked:
            self.attack.ask("rest")
        return p50, p99, cpu * 100, peak

    def during(self, what, make, memory):
        """Quiet and attack by turns. make(server), called in the attackers' process, gives the attack: an
        object with step(), which does a little of it, and report(). Its report."""
        before = self.server.memory()
        self.attack = Helper(attack_process, Where(self.server), make)
        self.attack.answer()
        quiet, attacked, ratios = [], [], []
        for _ in range(self.rounds):
            quiet.append(self.phase(False))
            attacked.append(self.phase(True))
            ratios.append(attacked[-1][1] / quiet[-1][1])
            time.sleep(0.3)
        said = self.attack.ask(None)
        self.attack.kill()

        def median(rows, column):
            return statistics.median(r[column] for r in rows)
        grown = max(0, max(r[3] for r in attacked) - before)
        note(f"{what}: p50 {median(quiet, 0):.1f} -> {median(attacked, 0):.1f} ms, p99 {median(quiet, 1):.1f} -> {median(attacked, 1):.1f} ms "
             f"(x{statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}); server {median(quiet, 2):.0f} -> "
             f"{median(attacked, 2):.0f} % of a processor, memory +{grown / MB:.0f} MB; {said}")
        check(SLOW > 1 or grown < memory, "%d MB more, wanted less than %d", grown / MB, memory / MB)
        return said

    def __exit__(self, kind, *rest):
        for helper in (self.good, self.attack):
            if helper:
                helper.kill()
        if kind is None:
            self.server.stop()
        self.directory.__exit__(None, None, None)
