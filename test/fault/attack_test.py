#!/usr/bin/python3
"""Attacks beside good clients. Each case has 100 clients that subscribe, and a writer; how late the
changes arrive is measured in quiet and under attack, by another process, so that this one's own work
is not measured. They must lose nothing, the server's memory stays bounded, and it serves on.

    attack_test.py [--quick] [--seconds N] [--attackers N]    (2,000 for 20 seconds: the long form)
"""
import multiprocessing
import os
import resource
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import SLOW, Directory, Http, RawSocket, Server, case, check, equal, loads, main, note, seconds  # noqa: E402

GOOD = 100
PAUSE = 0.05  # between two commits
MB = 1 << 20


def options(parser):
    parser.add_argument("--seconds", type=float, default=0, help="how long each attack lasts")
    parser.add_argument("--attackers", type=int, default=0, help="connections of each attack")


def size(args, what):
    """What was asked for, or the short or ordinary form."""
    short, ordinary = {"seconds": (3, 4), "attackers": (300, 2000)}[what]
    return getattr(args, what) or (short if args.quick else ordinary)


# ---- the good ones, in a process of their own ------------------------------------------------

def frames(buffer):
    """The payloads of the whole text frames in a bytearray, which keeps the rest."""
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


class Good:
    """100 subscribers and a writer. A row holds the time at which it was sent off."""

    def __init__(self, server):
        self.writer = RawSocket(server)
        self.writer.upgrade()
        self.writer.message()
        self.poll, self.clients = select.poll(), {}
        for _ in range(GOOD):
            raw = RawSocket(server)
            raw.upgrade()
            raw.text({"type": "subscribe", "table": "good"})
            while raw.message()["type"] != "subscribed":
                pass
            raw.socket.setblocking(False)
            self.clients[raw.socket.fileno()] = (raw, bytearray(raw.buffer), [])
            self.poll.register(raw.socket, select.POLLIN)
        self.seqs, self.times = [], []

    def hear(self, timeout):
        for fd, _ in self.poll.poll(timeout * 1000):
            raw, buffer, seen = self.clients[fd]
            try:
                data = raw.socket.recv(1 << 16)
            except BlockingIOError:
                continue
            check(data, "a good client was disconnected")
            buffer += data
            now = time.monotonic()
            for opcode, payload in frames(buffer):
                if opcode == 9:
                    raw.frame(10, payload)
                check(opcode != 8, "a good client was closed: %s", payload)
                if opcode == 1:
                    message = loads(payload)
                    equal(message["type"], "database_change", "what a good client hears")
                    seen.append(message["seq"])
                    self.times.append(now - float(message["data"]["at"]))

    def write(self):
        payload = {"action": "sql", "sql": "INSERT INTO good(at) VALUES(?)", "params": [repr(time.monotonic())]}
        self.writer.text({"type": "request", "requestId": 1, "payload": payload})
        while "payload" not in (answer := self.writer.message()):
            pass
        check("seq" in answer["payload"], "a good client's write: %s", answer)
        self.seqs.append(answer["payload"]["seq"])

    def run(self, duration):
        """The p99 in ms."""
        self.times = []
        end, due = time.monotonic() + duration, 0
        while time.monotonic() < end:
            if time.monotonic() >= due:
                due = time.monotonic() + PAUSE
                self.write()
            self.hear(0.005)
        self.settle()
        self.times.sort()
        return self.times[len(self.times) * 99 // 100] * 1000

    def settle(self):
        end = time.monotonic() + seconds(20)
        while any(len(seen) < len(self.seqs) for _, _, seen in self.clients.values()) and time.monotonic() < end:
            self.hear(0.05)
        for _, _, seen in self.clients.values():
            equal(seen, self.seqs, "what a good client has seen")


class Address:
    def __init__(self, host, port):
        self.host, self.port = host, port


def good_process(host, port, pipe):
    try:
        good = Good(Address(host, port))
        pipe.send("ready")
        while (duration := pipe.recv()) is not None:
            pipe.send(good.run(duration))
    except Exception as error:  # told to the test, which fails with it
        pipe.send(error)


class Beside:
    """A server with good clients: quiet(), then during(attack)."""

    def __init__(self, args, *options_):
        self.args, self.options = args, options_

    def __enter__(self):
        self.directory = Directory().__enter__()
        self.server = Server(self.directory.file("a.db"), *self.options)
        self.server.sql("CREATE TABLE good(id INTEGER PRIMARY KEY, at)")
        self.server.sql("CREATE TABLE big(id INTEGER PRIMARY KEY, x)")
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=good_process, args=(self.server.host, self.server.port, theirs), daemon=True)
        self.process.start()
        self.answer()
        self.quiet = self.measure(lambda: time.sleep(0.1))
        self.before = self.server.memory()
        return self

    def answer(self):
        check(self.pipe.poll(seconds(60)), "the good clients do not answer")
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure(self, attack):
        """p99 while attack() is called over and over."""
        self.pipe.send(size(self.args, "seconds"))
        while not self.pipe.poll(0):
            attack()
        return self.answer()

    def during(self, what, attack, memory):
        peak = [0]

        def step():
            attack()
            peak[0] = max(peak[0], self.server.memory())
        p99 = self.measure(step)
        grown = max(0, peak[0] - self.before)
        note(f"{what}: p99 {p99:.1f} ms, in quiet {self.quiet:.1f} ms (x{p99 / self.quiet:.1f}); memory +{grown / MB:.0f} MB")
        # One machine plays both sides: the figure is the note, this is the alarm.
        check(p99 < max(20 * self.quiet, 1500) * SLOW, "p99 %.1f ms, in quiet %.1f ms", p99, self.quiet)
        check(SLOW > 1 or grown < memory, "%d MB more", grown / MB)

    def __exit__(self, kind, *rest):
        if kind is None:
            self.pipe.send(None)
            self.process.join(10)
            self.server.stop()
        self.process.kill()
        self.directory.__exit__(None, None, None)


# ---- the others ------------------------------------------------------------------------------

def dial(server, text, buffer=0):
    s = socket.socket()
    if buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    s.settimeout(0.2)
    try:
        s.connect((server.host, server.port))
        s.setblocking(False)
        s.send(text)
    except OSError:
        s.close()
        return None
    return s


def masked(opcode, payload=b"", fin=True):
    size_ = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode]) + (bytes([0x80 | size_]) if size_ < 126 else bytes([0xfe]) + struct.pack(">H", size_) if
                                                     size_ < 65536 else bytes([0xff]) + struct.pack(">Q", size_))
    return head + bytes(4) + payload


HELLO = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def upgraded(server, count, buffer=0):
    """So many WebSockets."""
    sockets = []
    while len(sockets) < count:
        raw = RawSocket(server, receive_buffer=buffer or None)
        check(raw.upgrade().startswith("HTTP/1.1 101 "), "no upgrade")
        raw.socket.setblocking(False)
        sockets.append(raw.socket)
    return sockets


class Flood:
    """Sends a text over and over on each socket, as much as it takes; reads, or does not."""

    def __init__(self, server, sockets, text, read):
        self.server, self.sockets, self.text, self.read = server, sockets, text, read
        self.at, self.sent, self.lost = [0] * len(sockets), 0, 0

    def __call__(self):
        end = time.monotonic() + 0.05
        for i, s in enumerate(self.sockets):
            if s is None or time.monotonic() > end:
                continue
            try:
                n = s.send(self.text[self.at[i]:])
                self.at[i] = (self.at[i] + n) % len(self.text)
                self.sent += n
            except BlockingIOError:
                pass
            except OSError:
                self.drop(i)
                continue
            try:
                if self.read and s.recv(1 << 18) == b"":
                    self.drop(i)
            except BlockingIOError:
                pass
            except OSError:
                self.drop(i)
        # The next ones first, the next time.
        k = len(self.sockets) // 3
        self.sockets = self.sockets[k:] + self.sockets[:k]
        self.at = self.at[k:] + self.at[:k]

    def drop(self, i):
        self.sockets[i].close()
        self.sockets[i] = None
        self.lost += 1

    def close(self):
        for s in self.sockets:
            if s:
                s.close()


@case("slow handshakes: heads that drip in, on as many connections as the attacker has")
def handshakes(args):
    with Beside(args) as b:
        sockets = []

        def attack():
            end = time.monotonic() + 0.05
            while len(sockets) < size(args, "attackers") and time.monotonic() < end:
                s = dial(b.server, b"GET /ws HTTP/1.1\r\nHost: loc")
                if s is None:
                    break
                sockets.append(s)
            answered = b.server.get("/health").status
            equal(answered, 200, "HTTP beside it")
            for i, s in enumerate(sockets):
                try:
                    s.send(b"a")
                except BlockingIOError:
                    pass
                except OSError:
                    s.close()
                    sockets[i] = None
            sockets[:] = [s for s in sockets if s]
            time.sleep(0.02)
        b.during("slow handshakes", attack, 200 * MB)
        for s in sockets:
            s.close()


@case("clients that subscribe to much and never read")
def never_read(args):
    with Beside(args, "--max-queue", "4MiB", "--max-queues", "64MiB") as b:
        sockets = upgraded(b.server, size(args, "attackers"), 4096)
        for s in sockets:
            s.send(masked(1, b'{"type":"subscribe","table":"big"}'))
        http = Http(b.server)

        def attack():
            http.sql("INSERT INTO big(x) VALUES(?)", ["x" * 20000])
            time.sleep(0.05)
        b.during("never reading", attack, 400 * MB)
        note(f"{b.server.get('/health').json['connectedClients'] - GOOD} of {len(sockets)} are still there")
        for s in sockets:
            s.close()
        http.close()


@case("clients that ask and never read the answers: their queues together are bounded")
def never_read_answers(args):
    with Beside(args, "--max-queues", "32MiB") as b:
        ask = masked(1, b'{"type":"request","requestId":1,"payload":{"action":"tables"}}') * 50
        flood = Flood(b.server, upgraded(b.server, size(args, "attackers") // 10, 4096), ask, False)
        b.during("answers that nobody reads", flood, 32 * MB + 64 * 1024 * size(args, "attackers") // 10 + 150 * MB)
        note(f"{flood.lost} were closed")
        flood.close()


def flood_case(args, what, text, *options_, read=True, memory=200 * MB):
    with Beside(args, *options_) as b:
        flood = Flood(b.server, upgraded(b.server, max(1, size(args, "attackers") // 100)), text, read)
        b.during(what, flood, memory)
        note(f"{flood.sent / MB:.1f} MB sent, {flood.lost} of {len(flood.sockets)} closed")
        flood.close()
        return flood


@case("floods of pings, read and not read")
def pings(args):
    flood_case(args, "pings", masked(9, b"x" * 125) * 200)
    flood_case(args, "pings, not read", masked(9, b"x" * 125) * 200, read=False)


@case("floods of tiny fragments that never end a message")
def fragments(args):
    text = masked(1, b"x", fin=False) + masked(0, b"x", fin=False) * 5000
    # One message is begun on each connection, then it only goes on.
    with Beside(args, "--max-receiving", "16MiB") as b:
        sockets = upgraded(b.server, max(1, size(args, "attackers") // 100))
        for s in sockets:
            s.send(masked(1, b"x", fin=False))
        flood = Flood(b.server, sockets, masked(0, b"x", fin=False) * 5000, True)
        b.during("fragments", flood, 200 * MB)
        note(f"{flood.sent / MB:.1f} MB sent, {flood.lost} closed; {len(text)} bytes a round")
        flood.close()


@case("messages half sent by everybody: their memory together is bounded, and whole ones go through")
def halves(args):
    with Beside(args, "--max-receiving", "32MiB") as b:
        part = masked(1, b"x" * 200000)[:150000]
        flood = Flood(b.server, upgraded(b.server, size(args, "attackers")), part, True)
        done = [False]

        def attack():
            if done[0]:
                time.sleep(0.05)
            else:
                flood()
                done[0] = flood.sent > len(part) * size(args, "attackers")
        b.during("half messages", attack, 32 * MB + 120 * MB)
        note(f"{flood.sent / MB:.1f} MB sent, {flood.lost} closed")
        raw = RawSocket(b.server)
        raw.upgrade()
        raw.message()
        raw.frame(1, b'{"type":"ping",', fin=False)
        raw.frame(0, b'"requestId":1}')
        equal(raw.message()["type"], "pong", "a message in two parts")
        raw.close()
        flood.close()


@case("floods of subscribes, of bad messages and of queries")
def commands(args):
    limit = ["--limit-loopback"] + ["--rate", "commands=200/1000", "--rate", "queries=50/200", "--rate", "queries@address=1000"]
    for what, message in (("subscribes", b'{"type":"subscribe","table":"big","filter":"x=1"}'), ("bad messages", b'{"type":"' + b"[" * 100),
                          ("queries", b'{"type":"request","requestId":1,"payload":{"action":"sql","sql":"SELECT count(*) FROM good"}}')):
        flood = flood_case(args, what + ", with --rate", masked(1, message) * 100, *limit)
        check(args.quick or flood.lost == len(flood.sockets) or SLOW > 1, "%d of %d flooders are still there", len(flood.sockets) - flood.lost,
              len(flood.sockets))


@case("descriptors run out: who is connected is served on, and others again as soon as there are some")
def descriptors(args):
    limit = 200

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with Directory() as d, Server(d.file("a.db"), prepare=few) as server:
        server.sql("CREATE TABLE good(id INTEGER PRIMARY KEY, at)")
        good = RawSocket(server)
        good.upgrade()
        good.text({"type": "subscribe", "table": "good"})
        while good.message()["type"] != "subscribed":
            pass
        http = Http(server)
        for round_ in range(2):
            held = [s for s in (dial(server, HELLO) for _ in range(150)) if s]
            held += [s for s in (dial(server, b"GET / HTTP/1.1\r\nHo") for _ in range(250)) if s]
            time.sleep(0.5)
            note(f"{len(held)} dialled; {server.descriptors()} of {limit} descriptors are in use")
            check(server.descriptors() > limit * 0.4, "the attack takes no descriptors")
            seqs = []
            # What is connected goes on; a connection for HTTP may have to wait for a place.
            begun = time.monotonic()
            while len(seqs) < 5 and time.monotonic() < begun + seconds(30):
                try:
                    seqs.append(http.sql("INSERT INTO good(at) VALUES(1)")["seq"])
                except OSError:
                    time.sleep(0.1)
            equal(len(seqs), 5, "writes beside the attack")
            equal([good.message()["seq"] for _ in seqs], seqs)
            cpu = server.cpu_seconds()
            time.sleep(1)
            check(server.cpu_seconds() - cpu < 0.5 * SLOW, "it turns in a circle: %.2f s of processor time in a second", server.cpu_seconds() - cpu)
            for s in held:
                s.close()
            end = time.monotonic() + seconds(15)
            head = ""
            while not head.startswith("HTTP/1.1 101") and time.monotonic() < end:
                try:
                    raw = RawSocket(server)
                    head = raw.upgrade()
                    raw.close()
                except OSError:
                    time.sleep(0.1)
            check(head.startswith("HTTP/1.1 101"), "nobody can connect afterwards: %s", head)
        good.close()
        http.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    main(options)
