#!/usr/bin/python3
"""Whatever a client sends, it gets its error or is closed, and a healthy subscriber beside it loses
nothing. Each case runs beside a subscriber who is checked at the end."""
import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Client, Directory, Http, RawSocket, Server, case, check, equal, error_code, in_thread, main, note,  # noqa: E402
                     seconds)


@contextlib.asynccontextmanager
async def beside_a_healthy_subscriber(*options):
    """A server; while the body runs somebody writes and somebody else must see every change."""
    with Directory() as directory:
        server = Server(directory.file("bad.db"), *options)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        server.sql("CREATE TABLE other(id INTEGER PRIMARY KEY, v)")
        healthy = await Client.open(server)
        await healthy.subscribe("t")
        stop, written = asyncio.Event(), []

        async def writer():
            http = Http(server)
            while not stop.is_set():
                written.append((await in_thread(http.sql, "INSERT INTO t(v) VALUES (1)"))["seq"])
                await asyncio.sleep(0.01)
            http.close()

        writing = asyncio.ensure_future(writer())
        try:
            yield server
        finally:
            stop.set()
            await writing
        await healthy.wait(lambda: len(healthy.events) >= len(written), what="all changes at the healthy subscriber")
        equal([e["seq"] for e in healthy.events], written, "what the healthy subscriber saw")
        pong = await healthy.request("ping")
        equal(pong["type"], "pong", "the healthy subscriber's ping")
        await healthy.close()
        await in_thread(server.stop)


# ---- HTTP ------------------------------------------------------------------------------------

BAD_BODIES = [
    "", "{", "}", "null", "[]", "17", '"sql"', "{\"sql\":", '{"sql":null}', '{"sql":[]}', '{"sql":{}}', '{"sql":true}', "{'sql':'x'}",
    '{"sql":"SELECT 1",}', '{"sql":"SELECT 1"}{}', '{"sql":"SELECT ?","params":[{"$base64":5}]}', '{"sql":"SELECT ?","params":[[]]}',
    '{"sql":"SELECT ?","params":[{}]}', '{"statements":5}', '{"statements":[[]]}', '{"statements":[{}]}', '{"statements":[{"sql":5}]}',
    '{"statements":[{"sql":"SELECT 1","params":"x"}]}', '{"sql":"SELECT \\ud800"}', '{"sql":"\\u00"}', b'{"sql":"SELECT \xff"}',
    b"\xef\xbb\xbf{", b"\x00" * 100, "[" * 50000, '{"a":' * 20000, '{"sql":' + "[" * 200 + "]" * 200 + "}", '{"sql":"' + "x" * 100 + "\n\"}"]


@case("POST /api/sql with malformed bodies: 400 with a message each time")
async def bad_bodies():
    async with beside_a_healthy_subscriber() as server:
        http = Http(server)
        for body in BAD_BODIES:
            answer = await in_thread(http.request, "POST", "/api/sql", body)
            equal((answer.status, answer.code), (400, "INVALID_FORMAT"), f"{body[:60]!r} -> {answer}\n")
        answer = await in_thread(http.request, "POST", "/api/sql", '{"sql":"SELECT 1 -- \\u0000 x"}')
        check(answer.status in (200, 400), "%s", answer)
        http.close()


@case("huge numbers, a megabyte of SQL, deep expressions, many columns and parameters: an answer to each")
async def large_input():
    async with beside_a_healthy_subscriber() as server:
        http = Http(server)
        big = [("SELECT 1" + "0" * 100000, None), ("SELECT " + "9" * 400, None), ("SELECT ?", [10**300]), ("SELECT ?", [1e308]),
               ("SELECT '" + "x" * 1000000 + "'", None), ("-- " + "x" * 1000000 + "\nSELECT 1", None),
               ("SELECT " + "(" * 5000 + "1" + ")" * 5000, None), ("SELECT " + "1+" * 50000 + "1", None),
               ("SELECT " + ",".join("1" for _ in range(5000)), None), ("SELECT ?99999", [1]), ("SELECT ?", ["x" * 1000000]),
               (";" * 100000, None), ("SELECT 1;" * 20000, None), ("SELECT " + "?," * 2000 + "?", list(range(2001))),
               ("INSERT INTO other(v) VALUES " + ",".join("(1)" for _ in range(30000)), None)]
        for sql, params in big:
            answer = await in_thread(http.try_sql, sql, params)
            check(answer.status in (200, 400, 413), "%s: %s", sql[:40], answer)
            if answer.status != 200:
                check(answer.json["error"]["message"], "%s", answer)
        raw = await in_thread(http.request, "POST", "/api/sql", '{"sql":"SELECT ?,?","params":[1' + "0" * 5000 + ",1e99999]}")
        check(raw.status in (200, 400), "%s", raw)
        http.close()


@case("SQL that runs for ever ends by --query-timeout with 408; writers and readers go on meanwhile")
async def endless_sql():
    async with beside_a_healthy_subscriber("--query-timeout", "1") as server:
        endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
        for sql in (endless + "SELECT max(n) FROM c", endless + "INSERT INTO other SELECT n % 1000 + 2, n FROM c WHERE n < 0",
                    "SELECT count(*) FROM (" + endless + "SELECT n FROM c) a JOIN (SELECT 1 UNION SELECT 2)"):
            begun = time.monotonic()
            answer = await in_thread(server.post, "/api/sql", {"sql": sql})
            equal((answer.status, answer.code), (408, "QUERY_CANCELLED"), str(answer))
            check(0.8 < time.monotonic() - begun < seconds(5), "it took %.1f s", time.monotonic() - begun)


@case("a reader that runs long holds up no writer")
async def long_reader():
    async with beside_a_healthy_subscriber("--query-timeout", "3") as server:
        endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
        slow = [asyncio.ensure_future(in_thread(server.post, "/api/sql", {"sql": endless})) for _ in range(2)]
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        await in_thread(server.sql, "INSERT INTO other(v) VALUES (1)")
        check(time.monotonic() - begun < seconds(1), "a write waited %.1f s for a reader", time.monotonic() - begun)
        for one in slow:
            equal((await one).status, 408, "status of the endless read")


@case("TCP clients that say nothing, half a head, half a body, or too much: the others are served")
async def silent_clients():
    async with beside_a_healthy_subscriber() as server:
        lines = [b"", b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
        held = []
        for i in range(40):
            raw = RawSocket(server)
            raw.send(lines[i % len(lines)])
            held.append(raw)
        for _ in range(5):
            begun = time.monotonic()
            equal((await in_thread(server.get, "/health")).status, 200, "status")
            check(time.monotonic() - begun < seconds(2), "/health took %.1f s", time.monotonic() - begun)
        for junk in (b"\r\n\r\n\r\n", b"HELLO\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                     b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"GET /health HTTP/1.1\r\n\r\n", os.urandom(5000),
                     b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
                     b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            raw = RawSocket(server)
            try:
                raw.send(junk)
                head = raw.head()
                check(not head or " 4" in head.split("\r\n")[0] or " 5" in head.split("\r\n")[0], "%r -> %s", junk[:40], head)
            except (OSError, AssertionError) as error:
                check(isinstance(error, OSError), "%s", error)
            raw.close()
        for raw in held:
            raw.close()


# ---- WebSocket -------------------------------------------------------------------------------

async def on_raw(server, function):
    """Runs function(raw) on an upgraded raw socket, in a thread."""
    def work():
        raw = RawSocket(server)
        try:
            head = raw.upgrade()
            check(" 101 " in head, "%s", head)
            equal(raw.message()["type"], "connection:ack", "first message")
            return function(raw)
        finally:
            raw.close()
    return await in_thread(work)


@case("messages of the wrong form get an error each, the connection stays open")
async def bad_messages():
    async with beside_a_healthy_subscriber() as server:
        client = await Client.open(server)
        texts = ["", " ", "{", "nul", "[]", "[[]]", '{"type":{}}', '{"type":""}', '{"type":"subscribe"}', '{"type":"subscribe","table":null}',
                 '{"type":"subscribe","table":["t"]}', '{"type":"subscribe","table":"t","filter":{}}', '{"type":"subscribe","table":"t","filter":true}',
                 '{"type":"subscribe","table":"t","events":[1]}', '{"type":"subscribe","table":"t","events":{}}', '{"type":"subscribe","data":[]}',
                 '{"type":"subscribe","data":"t"}', '{"type":"subscribe","channel":{}}', '{"type":"unsubscribe","subscription":[]}',
                 '{"type":"subscribe","table":"t","filter":"v=' + "x" * 100000 + '"}', '{"type":"subscribe","table":"' + "t" * 100000 + '"}',
                 '{"type":"subscribe","table":"t","filter":' + json.dumps([f"v={i}" for i in range(5000)]) + "}",
                 '{"type":"subscribe","table":"t","filter":"v in (' + ",".join(map(str, range(100000))) + ')"}', "[" * 100000, '{"x":' * 50000,
                 '{"type":"\\u0000"}', '{"type":"ping","type":"x"}', '{"type":"subscribe","table":"t\\u0000"}', '{"type":"' + "x" * 10000 + '"}']
        for text in texts:
            await client.send(text)
            event = await client.next("error")
            check(error_code(event) in ("INVALID_FORMAT", "UNKNOWN_TYPE", "INVALID_FILTER", "NOT_FOUND", "LIMIT_EXCEEDED", "TOO_LARGE"),
                  "%s: %s", text[:60], event)
        await client.send(json.dumps({"type": "ping", "requestId": "x" * 100000}))
        await client.next("error")
        equal((await client.request("ping"))["type"], "pong", "still open")
        await client.close()


@case("random bytes as text frames and as JSON-like text: never a crash, never silence")
async def random_messages():
    async with beside_a_healthy_subscriber() as server:
        dice = random.Random(5)
        client = await Client.open(server)
        seed = '{"type":"subscribe","requestId":1,"data":{"table":"t","filter":["v>=5","id in (1,2)"],"events":["INSERT"]}}'
        for _ in range(300):
            text = list(seed)
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(text))
                text[at:at + dice.randint(0, 3)] = dice.choice(['"', "{", "}", "[", ",", ":", "\\", "\u00ff", "0", "-", "e", "null", "'", "x'", ""])
            await client.send("".join(text))
        await client.wait(lambda: sum(e["type"] == "error" for e in client.events) + len(client.replies) > 0, what="errors")
        equal((await client.request("ping"))["type"], "pong", "still open")
        await client.close()


@case("frames that break the protocol: 1002, 1007, 1009")
async def bad_frames():
    async with beside_a_healthy_subscriber("--max-message", "10000") as server:
        def expect(code, *frames):
            def send(raw):
                for frame in frames:
                    frame(raw)
                return raw.close_code()
            return on_raw(server, send), code
        table = [
            ("unmasked", expect(1002, lambda r: r.frame(1, b"{}", masked=False))),
            ("RSV bit", expect(1002, lambda r: r.frame(1, b"{}", rsv=4))),
            ("unknown opcode", expect(1002, lambda r: r.frame(3, b""))),
            ("fragmented ping", expect(1002, lambda r: r.frame(9, b"", fin=False))),
            ("long ping", expect(1002, lambda r: r.frame(9, b"x" * 126))),
            ("lone continuation", expect(1002, lambda r: r.frame(0, b"x"))),
            ("text inside a fragmented message", expect(1002, lambda r: r.frame(1, b"{", fin=False), lambda r: r.frame(1, b"}"))),
            ("invalid UTF-8", expect(1007, lambda r: r.frame(1, b'{"type":"\xff"}'))),
            ("a surrogate", expect(1007, lambda r: r.frame(1, b'"\xed\xa0\x80"'))),
            ("UTF-8 cut off at the end", expect(1007, lambda r: r.frame(1, b'"\xe2\x82', fin=False), lambda r: r.frame(0, b""))),
            ("close with one byte", expect(1002, lambda r: r.frame(8, b"\x03"))),
            ("close code 1005", expect(1002, lambda r: r.frame(8, b"\x03\xed"))),
            ("a frame past --max-message, announced only", expect(1009, lambda r: r.frame(1, b"", length=10001))),
            ("a frame of 2^62 bytes, announced only", expect(1009, lambda r: r.frame(1, b"", length=1 << 62))),
            ("a message past --max-message in pieces", expect(1009, lambda r: r.frame(1, b"x" * 6000, fin=False), lambda r: r.frame(0, b"x" * 6000))),
        ]
        for name, (work, wanted) in table:
            equal(await work, wanted, f"close code of: {name}")
        fits = await on_raw(server, lambda r: (r.text('{"type":"ping","requestId":"' + "x" * 100 + '"}' + " " * 9000), r.message())[1])
        equal(fits["type"], "pong", "a message within the bound")


@case("a million empty fragments and a flood of pings cost nobody anything")
async def floods():
    async with beside_a_healthy_subscriber() as server:
        before = server.memory()

        def fragments(raw):
            raw.frame(1, b'{"type":"ping","requestId":1}', fin=False)
            empty = b"\x00\x80\x11\x22\x33\x44"
            for _ in range(100):
                raw.send(empty * 2000)
            raw.frame(0, b"")
            return raw.message()

        def pings(raw):
            for _ in range(200):
                raw.send(b"\x89\x85\x00\x00\x00\x00hello" * 50)
                for _ in range(50):
                    equal(raw.read_frame(), (10, b"hello"), "pong")
            return True

        equal((await on_raw(server, fragments))["type"], "pong", "answer after the fragments")
        await on_raw(server, pings)
        check(server.memory() - before < 50 << 20, "memory grew by %d MB", server.memory() - before >> 20)


@case("a client that never answers pings is closed with 1001 (--heartbeat 1); one that does stays")
async def heartbeat():
    async with beside_a_healthy_subscriber("--heartbeat", "1") as server:
        begun = time.monotonic()
        code = await on_raw(server, lambda raw: raw.close_code())
        equal(code, 1001, "close code")
        taken = time.monotonic() - begun
        check(0.9 < taken < seconds(6), "closed after %.1f s", taken)

        def answers(raw):
            raw.socket.settimeout(0.2)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                try:
                    opcode, payload = raw.read_frame()
                except socket.timeout:
                    continue
                check(opcode != 8, "closed although it answered")
                if opcode == 9:
                    raw.frame(10, payload)
            return True
        check(await on_raw(server, answers), "")


@case("a peer that vanishes without a word is dropped (--heartbeat 1)")
async def vanished():
    async with beside_a_healthy_subscriber("--heartbeat", "1") as server:
        held = []
        for _ in range(20):
            raw = RawSocket(server)
            await in_thread(raw.upgrade)
            held.append(raw)
        end = time.monotonic() + seconds(8)
        while time.monotonic() < end and server.get("/health").json["connectedClients"] > 1:
            await asyncio.sleep(0.1)
        equal(server.get("/health").json["connectedClients"], 1, "connectedClients")
        for raw in held:
            raw.close()


@case("a slow reader is told slow_consumer and closed with 1013; the others are served meanwhile")
async def slow_reader():
    async with beside_a_healthy_subscriber("--max-queue", "1000000") as server:
        fast = await Client.open(server)
        await fast.subscribe("other")
        slow = RawSocket(server, receive_buffer=4096)
        await in_thread(slow.upgrade)
        slow.text({"type": "subscribe", "table": "other"})
        await asyncio.sleep(0.2)
        sent = 0
        http = Http(server)
        text = "x" * 50000
        for _ in range(40):  # few commits: the slow one has three seconds from when it is told, also where a disk is slow
            await in_thread(http.sql, "INSERT INTO other(v) SELECT ? FROM (VALUES(1),(2),(3),(4),(5),(6),(7),(8),(9),(10))", [text])
            sent += 10
            if server.get("/health").json["connectedClients"] < 3 and sent > 100:
                break
        await fast.wait(lambda: len(fast.events) == sent, what=f"{sent} changes at the fast reader")
        seqs = [e["seq"] for e in fast.events]
        equal(seqs, sorted(set(seqs)), "order at the fast reader")

        def rest():
            last, got = None, []
            while True:
                opcode, payload = slow.read_frame()
                if opcode == 8:
                    return int.from_bytes(payload[:2], "big"), last, got
                if opcode == 1:
                    last = json.loads(payload)
                    if last["type"] == "database_change":
                        got.append(last["seq"])
        code, last, got = await in_thread(rest)
        equal(code, 1013, "close code of the slow reader")
        equal(got, seqs[:len(got)], "what the slow reader got is the beginning, without a gap")
        check(len(got) < sent and last["type"] == "resync", "last message %s", str(last)[:200])
        equal(last.get("reason", last.get("data", {}).get("reason")), "slow_consumer", "reason")
        http.close()
        slow.close()
        await fast.close()


@case("connections that come and go while others write: none of them disturbs the rest")
async def churn():
    async with beside_a_healthy_subscriber() as server:
        dice = random.Random(11)

        def one(number):
            raw = RawSocket(server)
            act = dice.randint(0, 5)
            if act > 0:
                raw.upgrade()
            if act > 1:
                raw.text({"type": "subscribe", "table": "t", "filter": f"id>{number}"})
            if act > 2:
                raw.message()
            if act == 4:
                raw.frame(8, b"\x03\xe8")
                raw.close_code()
            if act == 5:
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            raw.close()

        before = server.descriptors()
        for number in range(15):
            await asyncio.gather(*(in_thread(one, number * 10 + i) for i in range(10)))
        end = time.monotonic() + seconds(10)
        while time.monotonic() < end and server.get("/health").json["connectedClients"] > 1:
            await asyncio.sleep(0.05)
        equal(server.get("/health").json["connectedClients"], 1, "connectedClients")
        note(f"{server.descriptors() - before:+d} descriptors after 150 connections")
        check(server.descriptors() <= before + 10, "%d descriptors, %d before", server.descriptors(), before)


if __name__ == "__main__":
    main()
