#!/usr/bin/python3
"""Snapshots, then live, through the real server: the rows that a snapshot shows and the changes after
it make the table, whoever writes meanwhile; large tables; ends in the middle; the journal."""
import asyncio
import json
import math
import os
import random
import socket
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Client, Directory, Http, Server, case, check, equal, in_thread, main, note, same,  # noqa: E402
                     seconds)
from replica import View  # noqa: E402

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, text TEXT, real REAL)"
MANY = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
FILTERS = [
    ([], "1"),
    (["n=1"], "n = 1"),
    (["n>=2", "text='a'"], "n >= 2 AND text = 'a'"),
    (["id in (1,2,3,5,8,13,21,34,1000000000)"], "id IN (1,2,3,5,8,13,21,34,1000000000)"),
    (["real<0.5"], "real < 0.5"),
    (["text is null"], "text IS NULL"),
]


def write(server, seed, commits):
    """Rows come, change and go, one or many in a commit."""
    http, dice = Http(server), random.Random(seed)
    for _ in range(commits):
        kind, id_ = dice.random(), dice.randrange(1, 3000)
        if kind < 0.3:
            http.sql("INSERT INTO t(n, text, real) VALUES (?, ?, ?)",
                     [dice.randrange(4), dice.choice(["a", "b", None]), dice.random()])
        elif kind < 0.4:
            http.sql("INSERT INTO t(n, text, real) " + MANY + "SELECT i % 4, 'a', i / 100.0 FROM c", [dice.choice([5, 60])])
        elif kind < 0.7:
            http.sql("UPDATE t SET n = (n + 1) % 4, real = 1 - real WHERE id = ?", [id_])
        elif kind < 0.8:
            http.sql("UPDATE t SET n = (n + 1) % 4 WHERE id BETWEEN ? AND ?", [id_, id_ + 50])
        elif kind < 0.9:
            http.sql("UPDATE OR IGNORE t SET id = id + 1000000 WHERE id = ?", [id_])
        else:
            http.sql("DELETE FROM t WHERE id BETWEEN ? AND ?", [id_, id_ + dice.choice([0, 20])])
    http.close()


class Taker:
    """One subscription with a snapshot, and the view that it makes."""

    def __init__(self, number):
        self.filters, self.where = FILTERS[number % len(FILTERS)]
        self.batch = number % 2 == 1
        self.view = View(None, "t", self.filters, self.where)
        self.last, self.messages, self.client, self.subscription = False, 0, None, None

    def take(self, message):
        kind = message["type"]
        if kind == "snapshot":
            check(not self.last, "a snapshot message after the last one")
            check(self.view.seq in (0, message["seq"]), "seq %s, then %s", self.view.seq, message["seq"])
            self.view.seq, self.last = message["seq"], message["last"]
            self.messages += 1
            for row in message["data"]["rows"]:
                key = same(row["key"])
                check(key not in self.view.rows, "%s twice in the snapshot", row["key"])
                self.view.rows[key] = row["data"]
        elif kind != "connection:ack":
            check(kind in ("database_change", "changes") and self.last, "unexpected %s", message)
            for change in message.get("changes", [message]):
                self.view.apply(change)

    async def begin(self, server):
        self.client = await Client.open(server)
        self.client.consume = self.take
        reply = await self.client.request("subscribe", table="t", filter=self.filters, batch=self.batch, snapshot=True)
        check(reply["type"] == "subscribed", "%s", reply)
        self.subscription = reply["data"]["subscription"]
        await self.client.wait(lambda: self.last, what="the last rows")
        equal(self.view.seq, max(self.view.seq, reply["data"]["seq"]), "seq of the snapshot")

    async def reach(self, key, server):
        """The mark that was written last; then nothing more may come."""
        await self.client.wait(lambda: key in self.view.rows, what=f"the mark for {self.filters}")
        await self.client.request("ping")


@case("a snapshot and the changes after it are the table, with any filter, while others write")
async def exact(args):
    takers, commits = (12, 150) if args.quick else (30, 600)
    with Directory() as directory:
        server = Server(directory.file("s.db"))
        server.sql(TABLE)
        server.sql("CREATE INDEX t_n ON t(n)")
        server.sql("INSERT INTO t(n, text, real) " + MANY + "SELECT i % 4, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END, "
                   "i / 3000.0 FROM c", [3000])
        dice, all_takers = random.Random(1), [Taker(n) for n in range(takers)]
        writers = asyncio.gather(*(in_thread(write, server, n, commits) for n in range(2)))

        async def come(taker):
            await asyncio.sleep(dice.random() * (0.5 if args.quick else 2))
            await taker.begin(server)
        await asyncio.gather(*map(come, all_takers))
        await writers
        server.sql("INSERT OR REPLACE INTO t VALUES (1000000000, 1, NULL, 0.25), (1000000001, 2, 'a', 9)")
        db = sqlite3.connect(f"file:{server.path}?mode=ro", uri=True)
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for taker in all_takers:
            second = "text='a'" in taker.filters
            await taker.reach(same({"id": 1000000001 if second else 1000000000}), server)
            taker.view.compare(db)
            await taker.client.close()
        db.close()
        note(f"{server.get('/health').json['database']['seq']} changes, {sum(t.messages for t in all_takers)} messages")
        server.stop(limit=10)


@case("rows equal the events that made them: every kind of value, key and column")
async def values(_args):
    tables = {
        "plain": "(a, b TEXT, c REAL, d BLOB, e INTEGER, f NUMERIC)",
        "keyed": "(a INTEGER PRIMARY KEY, b TEXT, c REAL, d BLOB, e INTEGER, f NUMERIC)",
        "compact": "(a, b TEXT, c REAL, d BLOB, e INTEGER, f NUMERIC, PRIMARY KEY(b, a)) WITHOUT ROWID",
        "generated": "(a, b TEXT, c REAL, d BLOB, e INTEGER, f NUMERIC, g AS (a || 'x') STORED, h AS (e + 1))",
        'the "odd" one': "(a, b TEXT, c REAL, d BLOB, e INTEGER, f NUMERIC, \"rowid\" TEXT, \"a \"\"b\" INT)",
    }
    rows = ["1, 'x', 1, x'00ff', 1, '1'", "'t', 'ünïcode', -0.0, x'', -9223372036854775808, 1e300",
            "2.0, '', 9e999, NULL, 9223372036854775807, 'abc'", "x'41', 'q\"''', 1e-7, 'text', NULL, NULL"]
    with Directory() as directory, Server(directory.file("v.db")) as server:
        client = await Client.open(server)
        for name, columns in tables.items():
            quoted = '"' + name.replace('"', '""') + '"'
            server.sql(f"CREATE TABLE {quoted}{columns}")
            live = await client.subscribe(name)
            for number, row in enumerate(rows):
                key = f"{number}" if name == "keyed" else row.split(",")[0]
                server.sql(f"INSERT INTO {quoted}(a, b, c, d, e, f) VALUES ({key}, {row.split(', ', 1)[1]})")
            events = {same(e["key"]): e["data"] for e in [await client.next("database_change") for _ in rows]}
            await client.request("unsubscribe", subscription=live)
            reply = await client.request("subscribe", table=name, snapshot=True)
            message = await client.next("snapshot")
            equal((message["last"], message["seq"], message["table"]), (True, reply["data"]["seq"], name), "snapshot")
            equal(sorted(map(repr, ((same(r["key"]), same(r["data"])) for r in message["data"]["rows"]))),
                  sorted(map(repr, ((k, same(d)) for k, d in events.items()))), f"rows of {name}")
            await client.request("unsubscribe", subscription=reply["data"]["subscription"])
        await client.close()


@case("a large table to a slow client: the server's memory stays flat, and writes go on")
async def large(args):
    rows = 100_000 if args.quick else 1_000_000
    with Directory() as directory:
        server = Server(directory.file("l.db"), "--history", "1MiB")
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, text TEXT)")
        server.sql("CREATE TABLE other(x)")
        for begin in range(0, rows, 100_000):
            server.sql("INSERT INTO t(n, text) " + MANY + "SELECT i, 'the text of row ' || (i + ?) FROM c", [100_000, begin])
        client = await Client.open(server, max_queue=1, read_limit=1 << 16)
        before, highest, slowest, seen, messages, last = server.memory(), 0, 0, 0, 0, False
        client.reader.cancel()
        await client.send({"type": "subscribe", "table": "t", "snapshot": True})
        begun = time.monotonic()
        await asyncio.sleep(0.5)
        while not last:
            message = json.loads(await asyncio.wait_for(client.socket.recv(), seconds(20)))
            if message["type"] != "snapshot":
                continue
            messages += 1
            seen += len(message["data"]["rows"])
            equal(message["data"]["rows"][-1]["key"]["id"], seen, "the last row's id")
            last = message["last"]
            if messages % 50 == 1:
                highest = max(highest, server.memory())
                start = time.monotonic()
                await in_thread(server.sql, "INSERT INTO other VALUES (1)")
                slowest = max(slowest, time.monotonic() - start)
        equal(seen, rows, "rows")
        note(f"{messages} messages in {time.monotonic() - begun:.1f} s, memory {before >> 20} MiB -> {highest >> 20} MiB, "
             f"slowest write {slowest * 1000:.0f} ms")
        if "ROWTAP_SLOW" not in os.environ or float(os.environ["ROWTAP_SLOW"]) == 1:
            check(highest - before < 40 << 20, "memory rose from %d to %d", before, highest)
        check(slowest < seconds(2), "a write took %.1f s", slowest)
        await client.socket.close()
        server.stop(limit=10)


@case("clients that go away in the middle leave nothing behind")
async def leave(args):
    with Directory() as directory:
        server = Server(directory.file("d.db"))
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) " + MANY + "SELECT i % 4, printf('%1000d', i) FROM c", [20_000])
        dice = random.Random(2)
        for _ in range(10 if args.quick else 40):
            client = await Client.open(server)
            count = dice.randrange(1, 6)
            for _ in range(count):
                await client.send({"type": "subscribe", "table": "t", "snapshot": True})
            await asyncio.sleep(dice.choice([0, 0.002, 0.02, 0.1]))
            if dice.random() < 0.3:
                await client.request("unsubscribe")
                await client.close()
            else:
                client.socket.transport.abort()
                await client.reader
        # The read connections are free again, and the table can be altered and dropped.
        taker = Taker(0)
        await taker.begin(server)
        equal(len(taker.view.rows), 20_000, "rows")
        await taker.client.close()
        server.sql("ALTER TABLE t ADD COLUMN x")
        server.sql("DROP TABLE t")
        # The end comes in the middle of several.
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) " + MANY + "SELECT i % 4, printf('%1000d', i) FROM c", [20_000])
        clients = [await Client.open(server) for _ in range(6)]
        for client in clients:
            await client.send({"type": "subscribe", "table": "t", "snapshot": True})
        await in_thread(server.stop, 10)


@case("a client that does not read its snapshot does not keep others from theirs")
async def stuck(_args):
    with Directory() as directory:
        # The taker's own snapshot has to be through in this time.
        server = Server(directory.file("k.db"), "--snapshots", 2, "--snapshot-timeout", math.ceil(seconds(1)))
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) " + MANY + "SELECT i % 4, printf('%1000d', i) FROM c", [30_000])
        idle = []
        for _ in range(3):
            client = await Client.open(server, max_queue=1)
            client.reader.cancel()
            client.socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.socket.transport.pause_reading()
            await client.send({"type": "subscribe", "table": "t", "snapshot": True})
            idle.append(client)
        await asyncio.sleep(0.2)
        taker = Taker(1)
        await asyncio.wait_for(taker.begin(server), seconds(15))
        # Who reads again is told that it took too long.
        idle[0].socket.transport.resume_reading()
        reason = None
        while reason is None:
            reason = json.loads(await asyncio.wait_for(idle[0].socket.recv(), seconds(20))).get("reason")
        equal(reason, "snapshot_timeout", "reason")
        for client in [taker.client, *idle]:
            client.socket.transport.abort()
        server.stop(limit=10)


@case("the schema changes while snapshots are under way")
async def schema(args):
    with Directory() as directory, Server(directory.file("c.db")) as server:
        def alter():
            http = Http(server)
            for n in range(10 if args.quick else 40):
                http.sql(f"ALTER TABLE t ADD COLUMN c{n}")
                http.sql("UPDATE t SET n = n + 1 WHERE id % 7 = 0")
                if n % 5 == 4:
                    http.sql("ALTER TABLE t RENAME TO gone")
                    http.sql("ALTER TABLE gone RENAME TO t")
            http.close()
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) " + MANY + "SELECT i % 4, 'x' FROM c", [5000])
        work = asyncio.ensure_future(in_thread(alter))
        ends = {}
        while not work.done():
            client = await Client.open(server)
            reply = await client.request("subscribe", table="t", snapshot=True)
            if reply["type"] == "error":
                equal(reply["error"]["code"], "NOT_FOUND", "code")
                end = "error"
            else:
                seen, end = 0, None
                while not end:
                    message = await client.next("snapshot", "resync", "database_change")
                    if message["type"] == "resync":
                        equal(message["reason"], "schema_changed", "reason")
                        end = "resync"
                    elif message["type"] == "snapshot":
                        seen += len(message["data"]["rows"])
                        widths = {len(r["data"]) for r in message["data"]["rows"]}
                        check(len(widths) == 1, "rows of several definitions: %s", widths)
                        end = message["last"] and "last"
                if end == "last":
                    equal(seen, 5000, "rows")
            ends[end] = ends.get(end, 0) + 1
            await client.close()
        await work
        check(ends.get("last"), "no snapshot was finished: %s", ends)
        note(f"ends: {ends}")


@case("with a journal: a restart, since, and a snapshot only where the past is gone")
async def journal(_args):
    with Directory() as directory:
        path = directory.file("j.db")
        server = Server(path, "--journal", "--history", "50KiB")
        server.sql(TABLE)
        for n in range(200):
            server.sql("INSERT INTO t(n, text) VALUES (?, ?)", [n, "x" * 1000])
        last = server.get("/health").json["database"]["seq"]
        epoch = server.get("/health").json["database"]["epoch"]
        for _ in range(2):
            client = await Client.open(server)
            equal(client.ack["data"]["epoch"], epoch, "epoch")
            reply = await client.request("subscribe", table="t", since=1, epoch=epoch, snapshot=True)
            equal((reply["data"]["recovered"], reply["data"]["seq"]), (True, 1), "from the journal")
            for seq in range(2, last + 1):
                equal((await client.next("database_change"))["seq"], seq, "seq")
            server.sql("UPDATE t SET n = 1000 WHERE id = 7")
            last += 1
            equal((await client.next("database_change"))["data"]["n"], 1000, "the live change")
            await client.close()
            server.sql("UPDATE t SET n = 7 WHERE id = 7")
            last += 1
            server.stop(limit=10)
            server = Server(path, "--journal")
        client = await Client.open(server)
        reply = await client.request("subscribe", table="t", since=1, epoch="another", snapshot=True)
        equal((reply["data"]["recovered"], reply["data"]["seq"]), (False, last), "another epoch")
        equal((await client.next("resync"))["reason"], "epoch_changed", "reason")
        rows, message = 0, {"last": False}
        while not message["last"]:
            message = await client.next("snapshot")
            rows += len(message["data"]["rows"])
        equal(rows, 200, "rows")
        await client.close()
        server.stop(limit=10)


if __name__ == "__main__":
    main()
