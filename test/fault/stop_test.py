#!/usr/bin/env python3
"""The end of a server under load: every client hears of it, and what was acknowledged is in the file."""
import asyncio
import os
import re
import signal
import sqlite3
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, RawSocket, SANITIZER, Server, case, check, equal, in_thread, main, note, seconds

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"


class Writer(threading.Thread):
    """Writes as fast as it is answered, until the server ends; keeps what was acknowledged."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.server, self.number, self.acknowledged, self.wrong = server, number, [], None

    def run(self):
        http = Http(self.server)
        for i in range(1, 1 << 30):
            value = f"{self.number}-{i}"
            try:
                answer = http.try_sql("INSERT INTO t(x) VALUES (?)", [value])
            except OSError:
                return
            if answer.status == 503:
                return
            if answer.status != 200:
                self.wrong = answer
                return
            self.acknowledged.append(value)


class Stream(threading.Thread):
    """An event stream, read to its end."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.raw, self.data = RawSocket(server), b""
        self.raw.send(b"GET /api/changes?table=t HTTP/1.1\r\nHost: x.localhost\r\nAccept: text/event-stream\r\n\r\n"
                      .replace(b"x.localhost", self.raw.host.encode()))
        self.ended = False

    def run(self):
        try:
            while True:
                data = self.raw.socket.recv(65536)
                if not data:
                    self.ended = True
                    return
                self.data += data
        except OSError:
            return


def long_query(server, answers):
    try:
        answers.append(server.post("/api/sql", {"sql": ENDLESS}).status)
    except OSError:
        answers.append("gone")


def check_file(path, writers):
    database = sqlite3.connect(path)
    try:
        equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
        there = {x for x, in database.execute("SELECT x FROM t")}
    finally:
        database.close()
    acknowledged = [x for w in writers for x in w.acknowledged]
    check(len(acknowledged) > 100, "only %d writes were acknowledged", len(acknowledged))
    lost = [x for x in acknowledged if x not in there]
    equal(lost, [], "acknowledged writes that are not in the file")
    return len(acknowledged)


async def under_load(signo, *options):
    with Directory() as directory:
        server = Server(directory.file("a.db"), "--query-timeout", "0", *options)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)")
        clients = [await Client.open(server) for _ in range(100)]
        received = [0] * len(clients)
        for i, client in enumerate(clients):
            # Python reads slowly: a few hear everything, the others a part
            await client.subscribe("t", **({} if i < 5 else {"filter": f"x={i % 8}-{i * 3}"}))

            def consume(event, i=i):
                received[i] += 1
            client.consume = consume
        streams = [Stream(server) for _ in range(4)]
        writers = [Writer(server, i) for i in range(8)]
        answers = []
        queries = [threading.Thread(target=long_query, args=(server, answers), daemon=True) for _ in range(2)]
        for thread in streams + queries + writers:
            thread.start()
        await asyncio.sleep(1.5)
        # Enough is under way, however slow the machine is.
        for _ in range(600):
            if sum(len(w.acknowledged) for w in writers) > 100 and sum(received[:5]) > 100:
                break
            await asyncio.sleep(0.05)
        server.signal(signo)
        begun = time.monotonic()
        code = await in_thread(server.wait, seconds(5) + 5)
        taken = time.monotonic() - begun
        text = server.stderr()
        check(code is not None, "the server does not end:\n%s", text[-2000:])
        check(not SANITIZER.search(text), "sanitizer report:\n%s", text[-6000:])
        equal(code, 0, "exit status")
        check(taken < seconds(5), "the end took %.1f s", taken)
        server.forget()
        for client in clients:
            await client.wait_closed()
        equal({c.closed for c in clients}, {(1012, "server is shutting down")}, "what the clients were told")
        for thread in streams + queries + writers:
            await in_thread(thread.join, seconds(10))
            check(not thread.is_alive(), "%s goes on", thread)
        check(all(s.ended and b"event: subscribed" in s.data for s in streams), "a stream was cut off")
        check(all(s.data.endswith(b"\n\n") for s in streams), "a stream ended inside of an event")
        check(all(w.wrong is None for w in writers), "%s", [w.wrong for w in writers])
        check(set(answers) <= {408, 503, "gone"} and len(answers) == 2, "%s", answers)
        check(sum(received[:5]) > 100, "the clients heard %d changes", sum(received[:5]))
        note(f"{check_file(directory.file('a.db'), writers)} acknowledged writes, {sum(received)} changes heard, end after {taken:.2f} s")


@case("SIGTERM under load: 1012 for every client, streams end, every acknowledged write is in the file")
async def term():
    await under_load(signal.SIGTERM)


@case("SIGINT with a journal under load: the same")
async def interrupt():
    await under_load(signal.SIGINT, "--journal")


@case("a client that does not read hears 1012 all the same, in place of what it has not read")
async def unread():
    with Directory() as directory:
        server = Server(directory.file("a.db"))
        server.sql("CREATE TABLE t(x)")
        raw = await in_thread(RawSocket, server, 20, 4096)
        await in_thread(raw.upgrade)
        raw.text({"type": "subscribe", "table": "t"})
        for _ in range(40):
            await in_thread(server.sql, "INSERT INTO t VALUES (hex(randomblob(100000)))")
        server.signal(signal.SIGTERM)
        await asyncio.sleep(0.8)  # then it reads
        equal(await in_thread(raw.close_code), 1012, "close code")
        raw.frame(8, struct.pack(">H", 1012))
        equal(await in_thread(server.wait, seconds(5)), 0, "exit status")
        server.forget()


@case("a second Ctrl-C ends a server at once that is still finishing")
def second():
    with Directory() as directory:
        server = Server(directory.file("a.db"), "--query-timeout", "0")
        thread = threading.Thread(target=long_query, args=(server, []), daemon=True)
        thread.start()
        time.sleep(0.3)
        server.signal(signal.SIGINT)
        time.sleep(0.3)
        check(server.wait(0.1) is None, "it has ended already")
        begun = time.monotonic()
        server.signal(signal.SIGINT)
        equal(server.wait(seconds(3)), -signal.SIGINT, "how it ended")
        check(time.monotonic() - begun < seconds(0.8), "the end took %.1f s", time.monotonic() - begun)
        server.forget()
        thread.join(seconds(5))
        with sqlite3.connect(directory.file("a.db")) as database:
            equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")


@case("an end with nothing to do is quick")
def idle():
    with Directory() as directory:
        server = Server(directory.file("a.db"))
        server.signal(signal.SIGTERM)
        begun = time.monotonic()
        equal(server.wait(seconds(5)), 0, "exit status")
        check(time.monotonic() - begun < seconds(1), "the end took %.1f s", time.monotonic() - begun)
        check(re.search(r"info  stopped duration=0\.", server.stderr()), "%s", server.stderr())
        server.forget()


if __name__ == "__main__":
    main()
