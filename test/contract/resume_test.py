#!/usr/bin/python3
"""Clients that lose their connection and resume: each ends with every change once, in order; and what
is said when the past cannot be had."""
import asyncio
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, Server, case, check, equal, in_thread, main, note  # noqa: E402

TABLE = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INT, text TEXT)"


def write(server, seed, commits):
    """Commits of one or several rows; now and then a table comes or goes."""
    http, dice = Http(server), random.Random(seed)
    for i in range(commits):
        kind = dice.random()
        if kind < 0.05:
            http.sql(f"CREATE TABLE u{seed}_{i}(x)")
        elif kind < 0.7:
            http.sql("INSERT INTO t(n, text) VALUES (?, ?)", [dice.randrange(4), "x" * dice.choice([1, 100, 3000])])
        else:
            http.sql("INSERT INTO t(n) WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
                     "SELECT i % 4 FROM c", [dice.choice([1, 10, 400])])
    http.close()


class Follower:
    """One subscription over many connections. Keeps what it got."""

    def __init__(self, table, **arguments):
        self.table, self.arguments, self.got = table, arguments, []
        self.place, self.epoch, self.client = None, None, None

    def take(self, message):
        changes = message["changes"] if message["type"] == "changes" else [message]
        for change in changes:
            if "seq" not in change:
                check(message["type"] in ("connection:ack", "subscribed"), "unexpected: %s", message)
                continue
            check(not self.got or change["seq"] > self.got[-1], "%s after %s", change["seq"], self.got[-1:])
            self.got.append(change["seq"])
            self.place = change["seq"]

    async def connect(self, server):
        self.client = await Client.open(server)
        first = self.place is None
        since = {} if first else {"since": self.place, "epoch": self.epoch}
        self.client.consume = self.take
        target = {"channel": "tables"} if self.table is None else {"table": self.table}
        reply = await self.client.request("subscribe", **target, **self.arguments, **since)
        check(reply["type"] == "subscribed", "%s", reply)
        equal(reply["data"].get("recovered"), None if first else True, "recovered")
        if first:
            self.place, self.epoch = reply["data"]["seq"], self.client.ack["data"]["epoch"]
        else:
            equal(reply["data"]["seq"], since["since"], "seq of the resumed subscription")

    async def lose(self):
        self.client.socket.transport.abort()
        await self.client.reader

    async def live(self, server, seed, rounds):
        dice = random.Random(seed)
        for _ in range(rounds):
            await self.connect(server)
            await asyncio.sleep(dice.choice([0, 0.005, 0.02, 0.1]))
            await self.lose()
        await self.connect(server)


@case("clients that come back again and again miss nothing and get nothing twice")
async def come_back(args):
    rounds, commits = (15, 150) if args.quick else (50, 500)
    with Directory() as directory:
        server = Server(directory.file("r.db"))
        server.sql(TABLE)
        witness = Follower("*")
        ddl = Follower(None)
        followers = [Follower("t"), Follower("t", batch=True), Follower("t", filter="n=1"), Follower("*"), Follower(None)]
        await witness.connect(server)
        await ddl.connect(server)
        kinds = {}

        def keep(message):
            witness.take(message)
            if message.get("table") == "t":
                kinds[message["seq"]] = message["data"]["n"]
        witness.client.consume = keep
        for f in followers:
            await f.connect(server)
            await f.lose()
        await asyncio.gather(*(in_thread(write, server, n, commits) for n in range(2)),
                             *(f.live(server, n, rounds) for n, f in enumerate(followers)))
        last = server.get("/health").json["database"]["seq"]
        await witness.client.wait(lambda: len(witness.got) + len(ddl.got) == last - 1, what="the last change")
        rows, matching = sorted(kinds), [seq for seq in sorted(kinds) if kinds[seq] == 1]
        for f, wanted in zip(followers, [rows, rows, matching, witness.got, ddl.got]):
            await f.client.wait(lambda: wanted[-1:] == f.got[-1:], what="the last change")
            equal(f.got, wanted, f"changes of {f.table} {f.arguments}")
            await f.client.close()
        note(f"{last} changes, {rounds} returns each")
        await witness.client.close()
        await ddl.client.close()
        server.stop(limit=10)


@case("another epoch, the future and a lost past are told apart, and the stream goes on live")
async def lost(args):
    with Directory() as directory:
        path = directory.file("l.db")
        server = Server(path, "--history", "100KiB")
        server.sql(TABLE)
        client = await Client.open(server)
        epoch = client.ack["data"]["epoch"]
        for n in range(300):
            server.sql("INSERT INTO t(n, text) VALUES (?, ?)", [n, "x" * 1000])
        last = server.get("/health").json["database"]["seq"]
        for since, reason in ((f"{epoch}:1", "history_lost"), (last + 1, "future"), (f"x{epoch}:{last}", "epoch_changed")):
            reply = await client.request("subscribe", table="t", since=since)
            equal((reply["data"]["recovered"], reply["data"]["seq"]), (False, last), f"since {since}")
            resync = await client.next("resync")
            equal((resync["reason"], resync["subscription"]), (reason, reply["data"]["subscription"]), "resync")
            await client.request("unsubscribe", subscription=reply["data"]["subscription"])
        reply = await client.request("subscribe", table="t", since="earliest")
        check(reply["data"]["recovered"] and 1 < reply["data"]["seq"] < last, "earliest: %s", reply)
        for seq in range(reply["data"]["seq"] + 1, last + 1):
            equal((await client.next("database_change"))["seq"], seq, "seq")
        server.stop(limit=10)
        server = Server(path)
        client = await Client.open(server)
        reply = await client.request("subscribe", table="t", since=last, epoch=epoch)
        equal(reply["data"]["recovered"], False, "recovered after a restart")
        equal((await client.next("resync"))["reason"], "epoch_changed", "reason")
        server.sql("INSERT INTO t(n) VALUES (1)")
        equal((await client.next("database_change"))["data"]["n"], 1, "the live change")
        await client.close()
        server.stop(limit=10)


@case("a snapshot can be had right after statements that change the schema or commit by themselves")
async def after_schema(args):
    with Directory() as directory:
        server = Server(directory.file("s.db"))
        server.sql(TABLE)
        server.sql("INSERT INTO t(n) VALUES (1), (2), (3)")
        client = await Client.open(server)
        for sql in ("VACUUM", "CREATE INDEX i ON t(n)", "ANALYZE", "REINDEX", "ALTER TABLE t ADD COLUMN x DEFAULT 7", "VACUUM",
                    "CREATE VIEW v AS SELECT 1", "PRAGMA user_version = 4", "DROP INDEX i"):
            seq = server.sql(sql)["seq"]
            reply = await client.request("subscribe", table="t", snapshot=True)
            equal((reply["type"], reply["data"]["seq"]), ("subscribed", seq), f"after {sql}")
            page = await client.next("snapshot")
            equal((page["last"], len(page["data"]["rows"])), (True, 3), f"after {sql}")
            await client.request("unsubscribe", subscription=reply["data"]["subscription"])
        await client.close()
        server.stop(limit=10)


if __name__ == "__main__":
    main()
