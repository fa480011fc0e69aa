#!/usr/bin/python3
"""Every fourth system call does less than it was asked, says EAGAIN or is interrupted (unsteady.c): what
clients see is the same as ever."""
import asyncio
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, RawSocket, Server, Skip, case, check, equal, in_thread, loads, main, note  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = [1, 100, 5000, 70000, 300000]


def build(directory):
    library = directory.file("unsteady.so")
    for compiler in (os.environ.get("CC", "cc").split(), ["gcc"], ["clang"]):
        try:
            subprocess.run([*compiler, "-O1", "-std=gnu11", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "unsteady.c"), "-ldl"],
                           check=True, stdin=subprocess.DEVNULL)
            return library
        except FileNotFoundError:
            continue
    raise Skip("there is no C compiler")


def unsteady(directory, *options, percent=25):
    return Server(directory.file("u.db"), *options, env={"LD_PRELOAD": build(directory), "UNSTEADY": str(percent)})


def end(server, again=1):
    with open(server.log_path, encoding="utf-8") as log:
        server.stop()
        said = re.search(r"unsteady: (\d+) short, (\d+) EAGAIN, (\d+) EINTR", log.read())
    check(said, "the library was not there")
    note(f"{said[1]} short, {said[2]} EAGAIN, {said[3]} EINTR")
    check(all(int(n) >= least for n, least in zip(said.groups(), (20, again, 50))), "too few faults: %s", said[0])


def write_rows(server):
    http = Http(server)
    for i in range(60):
        answer = http.sql("INSERT INTO t(text) VALUES(?)", [chr(97 + i % 26) * SIZES[i % len(SIZES)]])
        equal(answer["seq"], i + 2, "seq")
    http.close()


def rows(events):
    """Each row's id, the first character of its text, and how many of those it has."""
    return [summary(e["data"]["id"], e["data"]["text"]) for e in events]


def summary(id_, text):
    return id_, text[:1], text.count(text[:1]), len(text)


EXPECTED = [summary(i + 1, chr(97 + i % 26) * SIZES[i % len(SIZES)]) for i in range(60)]


@case("subscribers, plain and compressed, hear everything once and in order; also those that resume and take snapshots")
async def subscribers():
    with Directory() as directory:
        server = unsteady(directory)
        await in_thread(server.sql, "CREATE TABLE t(id INTEGER PRIMARY KEY, text)")
        clients = [await Client.open(server, compression=c) for c in (None, None, "deflate", "deflate")]
        for c in clients:
            await c.subscribe("t")
        await in_thread(write_rows, server)
        for c in clients:
            await c.wait(lambda c=c: len(c.events) >= 60, 60, "60 changes")
            equal(rows(c.events), EXPECTED, "what a subscriber heard")
        late = await Client.open(server)
        equal((await late.request("subscribe", table="t", since="earliest"))["data"]["recovered"], True)
        await late.wait(lambda: len(late.events) >= 60, 60, "the past")
        equal(rows(late.events), EXPECTED, "what came again")
        new = await Client.open(server, compression="deflate")
        await new.request("subscribe", table="t", snapshot=True)
        await new.wait(lambda: new.events and new.events[-1].get("last"), 60, "a snapshot")
        pages = [r["data"] for e in new.events for r in e["data"]["rows"]]
        equal([summary(r["id"], r["text"]) for r in pages], EXPECTED, "the snapshot")
        for c in [*clients, late, new]:
            await c.close()
        end(server)


@case("large messages and results come whole, also in fragments; pings are answered; broadcasts come once")
async def messages():
    with Directory() as directory:
        server = unsteady(directory)
        await in_thread(server.sql, "CREATE TABLE t(id INTEGER PRIMARY KEY, text)")
        one, two = await Client.open(server), await Client.open(server, compression="deflate")
        for c in (one, two):
            await c.join("room")
        for i in range(40):
            text = chr(65 + i % 26) * SIZES[i % len(SIZES)]
            sender, other = (one, two) if i % 2 else (two, one)
            # The library sends a list as fragments.
            body = '{"type":"request","requestId":"f%d","payload":{"action":"sql","sql":"SELECT ? AS x","params":["%s"]}}' % (i, text)
            await sender.socket.send([body[k:k + 9000] for k in range(0, len(body), 9000)])
            await sender.wait(lambda: f"f{i}" in sender.replies, 60, "a response")
            equal(sender.replies.pop(f"f{i}")["payload"]["rows"], [[text]], "a result")
            ack = await sender.request("broadcast", channel="room", data={"i": i, "text": text}, self=False)
            equal(ack["data"]["delivered"], 1)
            heard = await other.next(timeout=60)
            equal((heard["data"]["i"], heard["data"]["text"]), (i, text), "a broadcast")
            await (await sender.socket.ping())
        for c in (one, two):
            equal(c.events, [])
            await c.close()
        end(server)


@case("HTTP: large bodies and answers, streams of events, long polls")
def http():
    with Directory() as directory:
        server = unsteady(directory)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, text)")
        stream = RawSocket(server, timeout=60)
        stream.send(f"GET /api/changes?table=t HTTP/1.1\r\nHost: {stream.host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        check(stream.head().startswith("HTTP/1.1 200 "), "a stream")
        write_rows(server)
        heard = []
        while len(heard) < 60:
            while b"\n\n" not in stream.buffer:
                check(stream.fill(), "the stream ended after %d", len(heard))
            event, stream.buffer = stream.buffer.split(b"\n\n", 1)
            messages_ = [loads(line[5:]) for line in event.split(b"\n") if line.startswith(b"data:")]
            heard += [m for m in messages_ if m["type"] == "database_change"]
        equal(rows(heard), EXPECTED, "what a stream heard")
        polled, since = [], 1
        while len(polled) < 60:
            page = server.get(f"/api/changes?table=t&since={since}&epoch={server.get('/health').json['database']['epoch']}&timeout=5").json
            check(page, "nothing came")
            polled += page
            since = page[-1]["seq"]
        equal(rows(polled), EXPECTED, "what long polls brought")
        answer = server.sql("SELECT id, text FROM t ORDER BY id")
        equal([summary(*r) for r in answer["rows"]], EXPECTED, "a large answer")
        equal(server.get("/rowtap.js").status, 200)
        stream.close()
        end(server, 0)  # civetweb's sockets block


if __name__ == "__main__":
    main()
