#!/usr/bin/python3
"""Attacks beside good clients, who must lose nothing; the server's memory stays bounded, and it serves
on. How late their changes arrive is a note: quiet and attack by turns, and the ratio of each pair.

    attack_test.py [--quick] [--seconds N] [--rounds N] [--attackers N]

The attackers come from other addresses, as a trusted proxy says, so that --rate and all other bounds
hold for them with what they are by default."""
import itertools
import os
import resource
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from beside import MB, Beside  # noqa: E402
from harness import SLOW, Directory, Http, RawSocket, Server, case, check, equal, main, note, run, seconds  # noqa: E402

PROXY = ("--trusted-proxy", "127.0.0.1")
ADDRESSES = itertools.cycle(f"192.0.2.{i}" for i in range(1, 9))


def options(parser):
    parser.add_argument("--seconds", type=float, default=0, help="how long each phase lasts")
    parser.add_argument("--rounds", type=int, default=0, help="of a quiet phase and one with the attack")
    parser.add_argument("--attackers", type=int, default=0, help="connections of each attack")


def size(args, what):
    """What was asked for, or the short or ordinary form."""
    short, ordinary = {"seconds": (2, 4), "rounds": (1, 2), "attackers": (300, 2000)}[what]
    return getattr(args, what) or (short if args.quick else ordinary)


def beside(args, *more, **named):
    return Beside([*PROXY, *more], size(args, "seconds"), size(args, "rounds"), **named)


# ---- what attackers are made of --------------------------------------------------------------

def dial(server, text):
    s = socket.socket()
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
    length = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += bytes([0xfe]) + struct.pack(">H", length)
    else:
        head += bytes([0xff]) + struct.pack(">Q", length)
    return head + bytes(4) + payload


HELLO = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def upgraded(server, count, buffer=0, **headers):
    """So many WebSockets, from several addresses."""
    sockets = []
    while len(sockets) < count:
        raw = RawSocket(server, receive_buffer=buffer or None)
        head = raw.upgrade(X_Forwarded_For=next(ADDRESSES), **headers)
        check(head.startswith("HTTP/1.1 101 "), "no upgrade: %s", head)
        raw.socket.setblocking(False)
        sockets.append(raw.socket)
    return sockets


class Flood:
    """Sends a text over and over on each socket, as much as it takes; reads, or does not. `first` is sent once."""

    def __init__(self, sockets, text, read=True, first=b"", most=0):
        self.sockets, self.text, self.read, self.most = [[s, 0] for s in sockets], text, read, most
        self.sent, self.lost = 0, 0
        for s in sockets:
            s.send(first)

    def push(self, entry):
        s, at = entry
        try:
            n = s.send(self.text[at:])
            entry[1] = (at + n) % len(self.text)
            self.sent += n
        except BlockingIOError:
            pass
        try:
            return not self.read or s.recv(1 << 18) != b""
        except BlockingIOError:
            return True

    def step(self):
        end = time.monotonic() + 0.05
        for _ in range(len(self.sockets)):
            if time.monotonic() > end or (self.most and self.sent >= self.most):
                break
            entry = self.sockets.pop(0)
            try:
                kept = self.push(entry)
            except OSError:
                kept = False
            if kept:
                self.sockets.append(entry)
            else:
                entry[0].close()
                self.lost += 1
        if not self.sockets or (self.most and self.sent >= self.most):
            time.sleep(0.02)

    def report(self):
        return f"{self.sent / MB:.1f} MB sent, {self.lost} of {self.lost + len(self.sockets)} closed"


# ---- the attacks -----------------------------------------------------------------------------

class Handshakes:
    """Heads that drip in, on as many connections as it has; those that are closed are dialled again."""

    def __init__(self, server, count):
        self.server, self.count, self.sockets, self.dialled = server, count, [], 0

    def step(self):
        end = time.monotonic() + 0.03
        while len(self.sockets) < self.count and time.monotonic() < end:
            s = dial(self.server, b"GET /ws HTTP/1.1\r\nHost: loc")
            if s is None:
                break
            self.sockets.append(s)
            self.dialled += 1
        for s in self.sockets[:]:
            try:
                s.send(b"a")
            except BlockingIOError:
                pass
            except OSError:
                s.close()
                self.sockets.remove(s)
        time.sleep(0.02)

    def report(self):
        return f"{self.dialled} dialled, {len(self.sockets)} are open"


@case("slow handshakes: heads that drip in")
def handshakes(args):
    with beside(args) as b:
        b.during("slow handshakes", lambda server: Handshakes(server, size(args, "attackers")), 200 * MB)
        equal(b.server.get("/health").status, 200, "HTTP afterwards")


class NeverRead:
    """Subscribes to what it writes itself, large rows, and reads nothing."""

    def __init__(self, server, count):
        self.sockets = upgraded(server, count, 4096)
        for s in self.sockets:
            s.send(masked(1, b'{"type":"subscribe","table":"big"}'))
        self.http, self.writes = Http(server), 0

    def step(self):
        self.http.sql("INSERT INTO big(x) VALUES(?)", ["x" * 20000])
        self.writes += 1
        time.sleep(0.05)

    def report(self):
        return f"{self.writes} large rows"


@case("clients that subscribe to much and never read")
def never_read(args):
    with beside(args, "--max-queue", "4MiB", "--max-queues", "64MiB") as b:
        b.during("never reading", lambda server: NeverRead(server, size(args, "attackers")), 400 * MB)


@case("clients that ask and never read the answers: their queues together are bounded")
def never_read_answers(args):
    ask = masked(1, b'{"type":"request","requestId":1,"payload":{"action":"tables"}}') * 50
    count = size(args, "attackers") // 10
    with beside(args, "--max-queues", "32MiB", "--rate", "commands=off") as b:
        b.during("answers that nobody reads", lambda server: Flood(upgraded(server, count, 4096), ask, False),
                 32 * MB + 64 * 1024 * count + 150 * MB)


def flood(args, what, text, *more, memory=200 * MB, **named):
    count = max(1, size(args, "attackers") // 100)
    with beside(args, *more) as b:
        return b.during(what, lambda server: Flood(upgraded(server, count), text, **named), memory)


@case("floods of pings, read and not read")
def pings(args):
    flood(args, "pings", masked(9, b"x" * 125) * 200)
    flood(args, "empty pings", masked(9) * 4000)
    flood(args, "pings, not read", masked(9, b"x" * 125) * 200, read=False)


@case("floods of tiny fragments that never end a message")
def fragments(args):
    flood(args, "fragments", masked(0, b"x", fin=False) * 5000, "--max-receiving", "16MiB", first=masked(1, b"x", fin=False))
    flood(args, "empty fragments", masked(0, fin=False) * 5000, first=masked(1, fin=False))


@case("messages half sent by everybody: their memory together is bounded, and whole ones go through")
def halves(args):
    count = size(args, "attackers")
    part = masked(1, b"x" * 200000)[:150000]
    with beside(args, "--max-receiving", "32MiB") as b:
        b.during("half messages", lambda server: Flood(upgraded(server, count), part, most=count * len(part)), 32 * MB + 120 * MB)
        raw = RawSocket(b.server)
        raw.upgrade()
        raw.message()
        raw.frame(1, b'{"type":"ping",', fin=False)
        raw.frame(0, b'"requestId":1}')
        equal(raw.message()["type"], "pong", "a message in two parts")
        raw.close()


COMMANDS = [("subscribes", b'{"type":"subscribe","table":"big","filter":"x=1"}'), ("bad messages", b'{"type":"' + b"[" * 100),
            ("queries", b'{"type":"request","requestId":1,"payload":{"action":"sql","sql":"SELECT count(*) FROM good"}}'),
            ("broadcasts", b'{"type":"broadcast","channel":"room","data":1}')]


@case("floods of subscribes, of bad messages, of queries and of broadcasts: --rate bounds them")
def commands(args):
    for what, message in COMMANDS:
        flood(args, what, masked(1, message) * 100)


@case("the same without --rate: a turn of the loop has its bounds")
def commands_unbounded(args):
    for what, message in COMMANDS:
        flood(args, what + " without --rate", masked(1, message) * 100, "--rate", "commands=off", "--rate", "queries=off", "--rate",
              "broadcasts=off", memory=400 * MB)


class BadTokens:
    """Each a request of its own on a connection that is kept, over HTTP; and `auth` over WebSockets, anew when closed."""

    def __init__(self, server, count, tokens, good):
        self.server, self.good = server, good
        self.requests = [f"GET /api/tables HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {next(ADDRESSES)}\r\nAuthorization: Bearer {t}\r\n\r\n".encode()
                         for t in tokens]
        self.messages = [masked(1, b'{"type":"auth","token":"%s"}' % t.encode()) for t in tokens]
        self.count, self.kept, self.sockets, self.sent = count, [], [], 0

    def step(self):
        while len(self.kept) < self.count:
            s = dial(self.server, b"")
            if s is None:
                break
            self.kept.append(s)
        while len(self.sockets) < self.count:
            try:
                self.sockets += upgraded(self.server, 1, **self.good)
            except (AssertionError, OSError):  # too many handshakes
                break
        for sockets, texts in ((self.kept, self.requests), (self.sockets, self.messages)):
            for s in sockets[:]:
                try:
                    s.send(texts[self.sent % len(texts)])
                    self.sent += 1
                    if s.recv(1 << 18) == b"":
                        raise OSError("closed")
                except BlockingIOError:
                    pass
                except OSError:
                    s.close()
                    sockets.remove(s)

    def report(self):
        return f"{self.sent} tokens shown"


@case("floods of bad tokens, over HTTP and over the socket")
def bad_tokens(args):
    with Directory() as d:
        secrets = []
        for name in ("right", "wrong"):
            secrets.append(d.file(name))
            with open(secrets[-1], "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(f"the {name} secret is some forty characters long")

        def token(secret):
            status, out, err = run("token", "--secret-file", secret, "--sub", "eve")
            equal(status, 0, err)
            return out.strip()
        good = {"Authorization": f"Bearer {token(secrets[0])}"}
        bad = token(secrets[1])
        tokens = [bad, bad[:-1], bad.replace(".", "", 1), "x" * 4000, "a.b.c", ".".join(["e30", "e30", ""])]
        count = max(2, size(args, "attackers") // 50)
        with beside(args, "--jwt-secret-file", secrets[0], headers=good) as b:
            b.during("bad tokens", lambda server: BadTokens(server, count, tokens, good), 200 * MB)


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
        for _ in range(2):
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
