#!/usr/bin/python3
"""Queries over the socket: results in one message or in pages, progress, cancelling, what others see in
channel "queries"; ten million rows, clients that read slowly or go away, the end of the server."""
import asyncio
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import SLOW, Client, Directory, Server, case, check, equal, in_thread, main, note, seconds  # noqa: E402

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n{}) "
FOREVER = COUNT.format("") + "SELECT max(i) FROM n"


def numbers(count):
    return COUNT.format(f" LIMIT {count}") + "SELECT i FROM n"


async def start(client, sql, query_id=None, **arguments):
    """Starts a query; its id."""
    if query_id is not None:
        arguments["queryId"] = query_id
    reply = await client.request("query:start", data={"sql": sql, **arguments})
    equal(reply["type"], "query:started", f"reply to {sql}: {reply}")
    return reply["data"]["queryId"]


async def end(client, query_id, timeout=20):
    """Everything until the query's end: (last message, rows of pages, progress messages)."""
    rows, progress, pages = [], [], 0
    while True:
        message = await client.next(timeout=timeout)
        data = message["data"]
        equal(data["queryId"], query_id, "queryId")
        if message["type"] == "query:progress":
            progress.append(message)
        elif message["type"] == "query:rows":
            equal(data["page"], pages, "page")
            check(len(data["rows"]) <= 1000, "%d rows in a page", len(data["rows"]))
            pages += 1
            rows += data["rows"]
        else:
            check(message["type"] in ("query:complete", "query:error"), "unexpected %s", message)
            return message, rows, progress


async def ask(client, sql, **arguments):
    message, rows, _ = await end(client, await start(client, sql, **arguments))
    return message, rows


async def fails(client, sql, **arguments):
    message, _ = await ask(client, sql, **arguments)
    equal(message["type"], "query:error", f"end of {sql}")
    return message["data"]["error"]


async def running(server, count, timeout=10):
    """Waits until so many queries run on the server."""
    begun = time.monotonic()
    while True:
        now = server.get("/health").json["runningQueries"]
        if now == count:
            return time.monotonic() - begun
        check(time.monotonic() - begun < seconds(timeout), "%d queries run instead of %d", now, count)
        await asyncio.sleep(0.005)


async def stop_reading(client):
    """From now on the client takes nothing from its socket; what follows is read with receive."""
    client.reader.cancel()
    client.socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.socket.transport.pause_reading()


async def receive(client, timeout=20):
    return json.loads(await asyncio.wait_for(client.socket.recv(), seconds(timeout)))


@case("results: none, one message, pages; parameters; the last statement of a script")
async def results(_args):
    with Directory() as directory, Server(directory.file("r.db")) as server:
        client = await Client.open(server)
        message, _ = await ask(client, "SELECT ? AS a, 'two' AS b, x'00ff' AS c, NULL AS d, 1.0 AS e", params=[{"$base64": "AAE="}])
        data = message["data"]
        equal(data["results"], {"columns": ["a", "b", "c", "d", "e"],
                                "rows": [[{"$base64": "AAE="}, "two", {"$base64": "AP8="}, None, 1.0]]}, "results")
        equal((data["rowCount"], data["changes"]), (1, 0), "figures")
        check(0 <= data["duration"] < 10_000, "duration %s", data["duration"])
        message, _ = await ask(client, "SELECT :a + $b AS s", params={"a": 1, "b": 2})
        equal(message["data"]["results"]["rows"], [[3]], "named parameters")
        for count in (0, 1, 999, 1000):
            message, rows = await ask(client, f"SELECT i FROM ({numbers(1000)}) WHERE i <= {count}")
            equal((rows, message["data"]["results"]["columns"]), ([], ["i"]), f"{count} rows in one message")
            equal(message["data"]["results"]["rows"], [[i + 1] for i in range(count)], f"{count} rows")
        for count in (1001, 2000, 2500):
            message, rows = await ask(client, numbers(count))
            check("results" not in message["data"], "results after pages")
            equal((rows, message["data"]["rowCount"]), ([[i + 1] for i in range(count)], count), f"{count} rows")
        # Rows that are long come in more pages, and one that is too long is an error.
        message, rows = await ask(client, f"SELECT i, printf('%.*c', 300000, 'x') FROM ({numbers(20)})")
        equal([r[0] for r in rows], list(range(1, 21)), "long rows")
        error = await fails(client, "SELECT 1 UNION ALL SELECT hex(zeroblob(40000000))")
        equal(error["code"], "TOO_LARGE", error["message"])
        # A script: the last statement's rows; each statement commits by itself.
        message, _ = await ask(client, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES('a'); SELECT 1 x; SELECT * FROM t")
        equal(message["data"]["results"], {"columns": ["id", "v"], "rows": [[1, "a"]]}, "a script's results")
        message, rows = await ask(client, f"INSERT INTO t(v) SELECT i FROM ({numbers(3000)}) RETURNING id, '],[\"' || v")
        equal(rows, [[i + 1, f'],["{i}'] for i in range(1, 3001)], "RETURNING in pages")
        equal((message["data"]["changes"], message["data"]["lastInsertRowid"], message["data"]["seq"]), (3000, 3001, 3002), "a write")
        await client.close()


@case("a write through query:start is an event, by its connection")
async def events(_args):
    with Directory() as directory, Server(directory.file("e.db")) as server:
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        one, other = await Client.open(server), await Client.open(server)
        await one.request("subscribe", table="t", data={"self": False})
        await other.subscribe("t")
        message, _ = await ask(one, "INSERT INTO t(v) VALUES('a')")
        event = await other.next("database_change")
        equal((event["event"], event["data"], event["seq"]), ("INSERT", {"id": 1, "v": "a"}, message["data"]["seq"]), "event")
        await one.quiet()
        await one.close()
        await other.close()


@case("errors: SQLite's code and offset, the statement, CONFLICT, NOT_FOUND, bad arguments, bounds")
async def errors(_args):
    with Directory() as directory, Server(directory.file("x.db"), "--max-queries", 3, "--query-timeout", "0.4") as server:
        client = await Client.open(server)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
        error = await fails(client, "SELECT nope FROM t")
        equal((error["code"], error["message"], error["sqliteCode"], error["offset"]), ("SQL_ERROR", "no such column: nope", 1, 7), "error")
        error = await fails(client, "INSERT INTO t VALUES(1,1); INSERT INTO t VALUES(2,1); SELECT 3")
        equal((error["statement"], error["sqliteCode"], error["seq"]), (1, 2067, 2), "error in a script")
        equal((await fails(client, "ATTACH 'x' AS y"))["code"], "FORBIDDEN", "ATTACH")
        equal((await fails(client, ""))["code"], "INVALID_FORMAT", "no statement")
        equal((await fails(client, "SELECT ?", params=[]))["code"], "INVALID_FORMAT", "no value for a parameter")
        equal((await fails(client, "SELECT 1", params=[1]))["code"], "INVALID_FORMAT", "a parameter too many")
        # Bound values are checked when they are used: the first rows may have been sent.
        error = await fails(client, "SELECT abs(i) FROM (SELECT 1 AS i UNION ALL SELECT -9223372036854775808)")
        equal((error["code"], error["message"]), ("SQL_ERROR", "integer overflow"), "an error in the middle")
        error = await fails(client, FOREVER)
        equal(error["code"], "QUERY_CANCELLED", "past --query-timeout")
        check("0.4 s" in error["message"], "%s", error["message"])
        for arguments, code in (({"sql": 5}, "INVALID_FORMAT"), ({}, "INVALID_FORMAT"), ({"sql": "SELECT 1", "params": 3}, "INVALID_FORMAT"),
                                ({"sql": "SELECT 1", "queryId": [1]}, "INVALID_FORMAT"), ({"sql": "SELECT 1", "queryId": "x" * 300}, "INVALID_FORMAT")):
            reply = await client.request("query:start", **arguments)
            equal((reply["type"], reply["error"]["code"]), ("error", code), f"{arguments}")
        reply = await client.request("query:cancel", queryId="nobody's")
        equal((reply["type"], reply["error"]["code"], reply["error"]["queryId"]), ("error", "NOT_FOUND", "nobody's"), "unknown")
        equal((await client.request("query:cancel"))["error"]["code"], "INVALID_FORMAT", "cancel without an id")
        await client.close()
    with Directory() as directory, Server(directory.file("x.db"), "--max-queries", 3) as server:
        client = await Client.open(server)
        for query_id in ("a", 5, None):
            await start(client, FOREVER, query_id)
        reply = await client.request("query:start", sql="SELECT 1", queryId="b")
        equal(reply["error"]["code"], "LIMIT_EXCEEDED", "one query too many")
        for query_id in ("a", 5, "q1"):
            reply = await client.request("query:start", sql="SELECT 1", queryId=query_id)
            equal((reply["type"], reply["error"]["code"], reply["error"]["queryId"]), ("error", "CONFLICT", query_id), "the same id")
        for query_id in ("a", 5, "q1"):
            reply = await client.request("query:cancel", queryId=query_id)
            equal((reply["type"], reply["data"]["queryId"], reply["data"]["error"]["code"]), ("query:error", query_id, "QUERY_CANCELLED"), "cancelled")
        client.events.clear()
        message, _ = await ask(client, "SELECT 1", query_id="a")
        equal(message["data"]["results"]["rows"], [[1]], "the id is free again")
        await client.close()


@case("progress at least twice a second while no row comes: a sort, a count, an aggregate")
async def progress(args):
    with Directory() as directory, Server(directory.file("p.db"), "--query-timeout", 0) as server:
        client = await Client.open(server)
        rows = 1_000_000 if args.quick else 3_000_000
        query_id = await start(client, f"SELECT i FROM ({numbers(rows)}) ORDER BY hex(i) LIMIT 3 OFFSET {rows}")
        begun, times = time.monotonic(), []
        client.consume = lambda m: (times.append(time.monotonic()), client.events.append(m))
        message, _, ticks = await end(client, query_id, 120)
        taken = time.monotonic() - begun
        equal(message["type"], "query:complete", "end")
        gaps = [b - a for a, b in zip([begun] + times, times)]
        note(f"a sort of {rows} rows in {taken:.1f} s: {len(ticks)} progress messages, longest pause {max(gaps) * 1000:.0f} ms")
        check(len(ticks) >= int(taken / 0.5) - 1, "%d progress messages in %.1f s", len(ticks), taken)
        check(max(gaps) < 0.5 * max(1, SLOW), "a pause of %.2f s", max(gaps))
        for tick in ticks:
            equal((tick["data"]["rowCount"], tick["data"]["progress"]), (0, None), "progress")
        elapsed = [t["data"]["elapsed"] for t in ticks]
        equal(elapsed, sorted(elapsed), "elapsed")
        # Also while it waits for the only writer.
        writer = await Client.open(server)
        server.sql("CREATE TABLE t(v)")
        busy = await start(writer, "INSERT INTO t " + FOREVER)
        waits = await start(client, "INSERT INTO t VALUES(1)")
        await client.wait(lambda: len(client.events) >= 3, what="progress of a write that waits")
        await writer.request("query:cancel", queryId=busy)
        message, _, _ = await end(client, waits)
        equal((message["type"], message["data"]["changes"]), ("query:complete", 1), "the write that waited")
        equal(server.sql("SELECT v FROM t")["rows"], [[1]], "the cancelled write is undone")
        await client.close()
        await writer.close()


@case("cancelling: what computes, what streams, what writes, what waits for a thread, what its client does not read")
async def cancel(_args):
    with Directory() as directory:
        server = Server(directory.file("c.db"), "--query-threads", 2)
        server.sql("CREATE TABLE t(v)")
        server.sql("CREATE TABLE big AS SELECT zeroblob(900) AS z FROM (" + numbers(30_000) + ")")
        client = await Client.open(server)
        client.consume = lambda m: None
        statements = {
            "computes": FOREVER,
            "sorts": f"SELECT i FROM ({numbers(100_000_000)}) ORDER BY hex(i)",
            "streams": COUNT.format("") + "SELECT i FROM n",
            "counts": "SELECT (SELECT count(*) FROM big)" + " + (SELECT count(*) FROM big)" * 900,
            "writes": "INSERT INTO t " + FOREVER,
        }
        for name, sql in statements.items():
            query_id = await start(client, sql)
            await asyncio.sleep(0.3)
            begun = time.monotonic()
            reply = await client.request("query:cancel", queryId=query_id)
            taken = time.monotonic() - begun
            equal((reply["type"], reply["data"]["error"]["code"]), ("query:error", "QUERY_CANCELLED"), f"{name}: {reply}")
            took = await running(server, 0)
            note(f"{name}: cancelled in {taken * 1000:.1f} ms, gone {took * 1000:.0f} ms later")
            check(taken < 0.5 * max(1, SLOW), "%s: cancelled after %.2f s", name, taken)
        # One thread is for streams: the second waits.
        first, second = await start(client, FOREVER), await start(client, FOREVER)
        begun = time.monotonic()
        reply = await client.request("query:cancel", queryId=second)
        check(time.monotonic() - begun < 0.5 * max(1, SLOW), "cancelled after %.2f s", time.monotonic() - begun)
        await client.request("query:cancel", queryId=first)
        # A stream that rests, since nobody reads it.
        idle = await Client.open(server)
        query_id = await start(idle, COUNT.format("") + "SELECT i, 'some more text to fill the queues with' FROM n")
        await stop_reading(idle)
        await asyncio.sleep(0.5)
        begun = server.cpu_seconds()
        await asyncio.sleep(0.5)
        check(server.cpu_seconds() - begun < 0.3, "a query whose rows nobody reads goes on: %.2f s", server.cpu_seconds() - begun)
        equal(server.get("/health").json["runningQueries"], 1, "running queries")
        await idle.send({"type": "query:cancel", "queryId": query_id})
        await running(server, 0)
        idle.socket.transport.resume_reading()
        while (message := await receive(idle))["type"] != "query:error":
            pass
        equal(message["data"]["error"]["code"], "QUERY_CANCELLED", "error")
        equal(server.sql("SELECT count(*) FROM t")["rows"], [[0]], "rows of cancelled writes")
        idle.socket.transport.abort()
        await client.close()
        server.stop(limit=10)


@case("many rows stream with flat memory")
async def million(args):
    rows = 1_000_000 if args.quick else 10_000_000
    with Directory() as directory:
        server = Server(directory.file("m.db"), "--query-timeout", 300)
        client = await Client.open(server, max_queue=1, read_limit=1 << 16)
        client.reader.cancel()
        await client.send({"type": "query:start", "queryId": "m", "sql": numbers(rows)})
        begun, before, highest, seen, pages, ticks, first = time.monotonic(), server.memory(), 0, 0, 0, 0, 1
        while True:
            text = await asyncio.wait_for(client.socket.recv(), seconds(20))
            if '"type":"query:rows"' not in text[:200]:
                message = json.loads(text)
                ticks += message["type"] == "query:progress"
                if message["type"] in ("query:complete", "query:error"):
                    break
                continue
            data = json.loads(text)["data"]
            equal((data["page"], data["rows"][0][0], data["rows"][-1][0]), (pages, first, first + len(data["rows"]) - 1), "page")
            first += len(data["rows"])
            seen += len(data["rows"])
            pages += 1
            if pages % 500 == 1:
                highest = max(highest, server.memory())
        equal((message["type"], message["data"]["rowCount"], seen), ("query:complete", rows, rows), "rows")
        note(f"{rows} rows, {pages} pages in {time.monotonic() - begun:.1f} s, {ticks} progress messages, memory "
             f"{before >> 20} MiB -> {highest >> 20} MiB")
        if SLOW == 1:
            check(highest - before < 20 << 20, "memory rose from %d to %d", before, highest)
        await client.socket.close()
        server.stop(limit=10)


@case("a client that disappears takes its queries along")
async def disappear(_args):
    with Directory() as directory:
        server = Server(directory.file("d.db"))
        server.sql("CREATE TABLE t(v)")
        for sql in (FOREVER, "INSERT INTO t " + FOREVER, COUNT.format("") + "SELECT i FROM n"):
            for way in ("abort", "close"):
                client = await Client.open(server)
                client.consume = lambda m: None
                for _ in range(3):
                    await start(client, sql)
                await running(server, 3)
                if way == "abort":
                    client.socket.transport.abort()
                    await client.reader
                else:
                    await client.close()
                took = await running(server, 0)
                note(f"{way}: none runs {took * 1000:.0f} ms later")
        equal(server.sql("SELECT count(*) FROM t")["rows"], [[0]], "rows")
        server.stop(limit=10)


@case("who reads slowly slows his own query, keeps his connection, and nobody else waits")
async def slow(_args):
    with Directory() as directory:
        server = Server(directory.file("s.db"), "--max-queue", "1MiB", "--query-threads", 2, "--query-timeout", 60)
        rows = 60_000
        server.sql(f"CREATE TABLE t AS SELECT i, printf('%200d', i) AS v FROM ({numbers(rows)})")
        lame = [await Client.open(server, max_queue=1) for _ in range(5)]
        for client in lame:
            await client.send({"type": "query:start", "queryId": "slow", "sql": "SELECT * FROM t"})
            await stop_reading(client)
        await asyncio.sleep(0.5)
        equal(server.get("/health").json["runningQueries"], 5, "running queries")
        quick, slowest = await Client.open(server), 0
        for n in range(30):
            begun = time.monotonic()
            message, got = await ask(quick, numbers(2000))
            equal(len(got), 2000, "rows")
            server.sql("INSERT INTO t VALUES(?, 'x')", [rows + 1 + n])
            slowest = max(slowest, time.monotonic() - begun)
        note(f"slowest query and write beside five that rest: {slowest * 1000:.0f} ms")
        check(slowest < 1 * max(1, SLOW), "a query took %.2f s", slowest)
        # The slow ones go on, and see what there was when they began.
        for client in lame[:2]:
            client.socket.transport.resume_reading()
            seen = 0
            while (message := await receive(client))["type"] != "query:complete":
                check(message["type"] in ("query:rows", "query:progress", "query:started"), "unexpected %s", message["type"])
                seen += len(message["data"].get("rows", ()))
            equal((seen, message["data"]["rowCount"]), (rows, rows), "rows of a slow reader")
        for client in lame:
            client.socket.transport.abort()
        await running(server, 0)
        await quick.close()
        server.stop(limit=10)


@case("a query whose rows are not read ends at --query-timeout, and so does its hold on the log")
async def rest(_args):
    with Directory() as directory:
        server = Server(directory.file("w.db"), "--query-timeout", 1)
        client = await Client.open(server, max_queue=1)
        await client.send({"type": "query:start", "queryId": "w", "sql": COUNT.format("") + "SELECT i, 'and some more text to fill queues' FROM n"})
        await stop_reading(client)
        await asyncio.sleep(0.3)
        equal(server.get("/health").json["runningQueries"], 1, "running queries")
        took = await running(server, 0)
        note(f"ended after {took + 0.3:.2f} s")
        client.socket.transport.resume_reading()
        while (message := await receive(client))["type"] != "query:error":
            pass
        equal(message["data"]["error"]["code"], "QUERY_CANCELLED", "code")
        check("--query-timeout" in message["data"]["error"]["message"], "%s", message)
        client.socket.transport.abort()
        server.stop(limit=10)


@case("channel queries: everybody's queries on every loop, without values, results and messages")
async def channel(_args):
    with Directory() as directory, Server(directory.file("n.db"), "--loops", 3) as server:
        watchers = [await Client.open(server) for _ in range(6)]
        for number, watcher in enumerate(watchers):
            reply = await watcher.request("subscribe", channel="queries", data={"self": number > 0})
            equal(reply["type"], "subscribed", "reply")
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        asker, secret = watchers[0], "geheim"
        owner = asker.ack["data"]["connectionId"]
        for query_id, sql, params, text, last in (
                ("a", f"SELECT '{secret}', 42, x'6765', \"{secret}\" -- {secret}", None, 'SELECT ?, ?, ?, "?"', "query:complete"),
                ("b", "INSERT INTO t(v) VALUES(:p)", {"p": secret}, "INSERT INTO t(v) VALUES(?)", "query:complete"),
                ("c", f"SELECT json('{{{secret}')", None, "SELECT json(?)", "query:error")):
            await ask(asker, sql, query_id=query_id, **({"params": params} if params else {}))
            for watcher in watchers[1:]:
                begun, ended = await watcher.next(), await watcher.next()
                for message in (begun, ended):
                    equal((message["channel"], message["data"]["queryId"], message["data"]["connectionId"], message["data"]["userId"]),
                          ("queries", query_id, owner, None), f"{message}")
                    check(secret not in json.dumps(message) and "results" not in message["data"], "%s", message)
                equal((begun["type"], begun["data"]["sql"], ended["type"]), ("query:started", text, last), "messages")
        check(ended["data"]["error"]["code"] == "SQL_ERROR" and "message" not in ended["data"]["error"], "%s", ended)
        await asker.quiet(0.1)
        # Progress, and the end of who goes away.
        await start(asker, FOREVER, "d")
        asker.socket.transport.abort()
        await running(server, 0)
        for watcher in watchers[1:]:
            types = [(await watcher.next())["type"]]
            while types[-1] != "query:error":
                types.append((await watcher.next())["type"])
            equal((types[0], set(types[1:-1]) <= {"query:progress"}), ("query:started", True), f"{types}")
        other = watchers[1]
        await start(other, FOREVER, "e")
        await asyncio.sleep(0.8)
        check(sum(m["type"] == "query:progress" and m["channel"] == "queries" for m in watchers[2].events if "channel" in m) >= 2,
              "no progress in the channel: %s", watchers[2].events)
        await other.request("unsubscribe", channel="queries")
        await other.request("query:cancel", queryId="e")
        for watcher in watchers[1:]:
            await watcher.close()


@case("SIGTERM while queries run: finished, or interrupted with an error, then 1012")
async def sigterm(_args):
    with Directory() as directory:
        for sql, wanted in ((numbers(int(1_000_000 / SLOW ** 2)).replace("SELECT i FROM n", "SELECT max(i) FROM n"), "query:complete"),
                            (FOREVER, "query:error"), ("INSERT INTO t " + FOREVER, "query:error"),
                            (COUNT.format("") + "SELECT i FROM n", "query:error")):
            server = Server(directory.file("q.db"))
            server.sql("CREATE TABLE IF NOT EXISTS t(v)")
            client = await Client.open(server)
            last = []
            client.consume = lambda m, last=last: m["type"] in ("query:complete", "query:error") and last.append(m)
            await start(client, sql, "x")
            if wanted == "query:error":
                await running(server, 1)
            begun = time.monotonic()
            await in_thread(server.stop, 5)
            taken = time.monotonic() - begun
            equal(await client.wait_closed(), 1012, "close code")
            equal([m["type"] for m in last], [wanted], f"end of {sql}: {last}")
            if wanted == "query:error":
                equal(last[0]["data"]["error"]["code"], "QUERY_CANCELLED", "code")
            note(f"{wanted}: stopped in {taken:.2f} s")


if __name__ == "__main__":
    main()
