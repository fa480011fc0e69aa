#!/usr/bin/python3
"""The property that says capture is right: apply the events, in order, to an empty replica and it equals
the source, table by table, after every commit; seq is gapless; filtered views kept by transitions are
exact; and every statement does what it does in plain SQLite.

ROWTAP_STEPS sets the number of steps per seed, ROWTAP_SEED a single seed to repeat.
"""
import asyncio
import base64
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from contract.replica import Replica, View, connect, contents, shapes  # noqa: E402
from contract.workload import FILTERS, SCHEMA, Workload  # noqa: E402
from harness import (Client, Directory, Http, Server, case, check, in_thread, main, note, same, shorten)  # noqa: E402

SEED = os.environ.get("ROWTAP_SEED")


class Shadow:
    """Plain SQLite, run through the same steps."""

    def __init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
        self.db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self.db.execute("PRAGMA foreign_keys = ON")

    def execute(self, sql, params=None):
        self.db.execute(sql, params if params is not None else []).fetchall()

    def run(self, kind, items):
        """(index of the failed statement or None, SQLite's message); -1 is the end of a transaction."""
        index, failed = 0, None
        try:
            if kind == "statements":
                self.execute("BEGIN")
                for index, (sql, params) in enumerate(items):
                    self.execute(sql, params)
                index = -1
                self.execute("COMMIT")
            else:
                for index, sql in enumerate(items):
                    self.execute(sql)
                index = -1
                if self.db.in_transaction:
                    raise sqlite3.OperationalError("left open")
        except sqlite3.Error as error:
            failed = index, str(error)
        if self.db.in_transaction:
            self.execute("ROLLBACK")
        return failed


def wire(params):
    """Parameters in their JSON forms."""
    def one(value):
        return {"$base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
    if isinstance(params, dict):
        return {k: one(v) for k, v in params.items()}
    return [one(v) for v in params]


class Run:
    """A server, the shadow, the replica and the views."""

    def __init__(self, server, seed):
        self.server, self.seed = server, seed
        self.http = Http(server)
        self.source = connect(server.path)
        self.shadow = Shadow()
        self.workload = Workload(seed, self.shadow.db)
        self.replica = Replica()
        self.views = {}           # of the subscriber of everything
        self.apart = []           # (client, view): each alone on its connection
        self.errors = self.steps = 0

    async def begin(self):
        self.all = await Client.open(self.server)
        await self.all.join("tables")
        self.everything = await self.all.subscribe("*")
        for sql in SCHEMA:
            await self.step("script", [sql])
        for table, filters, where in FILTERS:
            name = await self.all.subscribe(table, filter=filters)
            self.views[name] = View(name, table, filters, where)
            client = await Client.open(self.server)
            await client.join("tables")
            await client.subscribe("fence")
            name = await client.subscribe(table, filter=filters)
            self.apart.append((client, View(name, table, filters, where)))

    def post(self, kind, items):
        if kind == "statements":
            statements = [{"sql": s} if p is None else {"sql": s, "params": wire(p)} for s, p in items]
            return self.http.try_sql(statements=statements)
        return self.http.try_sql("; ".join(items))

    async def step(self, kind, items):
        self.steps += 1
        answer = await in_thread(self.post, kind, items)
        failed = self.shadow.run(kind, items)
        check((failed is None) == (answer.status == 200), "SQLite says %s, the server %s", failed, answer)
        health = (await in_thread(self.server.get, "/health")).json
        seq = health["database"]["seq"]
        if failed:
            self.errors += 1
            error = answer.json["error"]
            check(answer.status == 400 and error["code"] == "SQL_ERROR", "answer %s", answer)
            if failed[0] >= 0 and len(items) > 1:
                check(error.get("statement") == failed[0], "statement %s failed, the server says %s", failed, answer)
            if error.get("seq") is not None:
                check(error["seq"] == seq, "the error says seq %s, it is %s", error["seq"], seq)
            else:
                check(self.replica.seq == seq, "seq moved from %s to %s, but the error does not say so: %s",
                      self.replica.seq, seq, answer)
        else:
            check(answer.json["seq"] == seq, "answer says seq %s, it is %s", answer.json["seq"], seq)
        commits = await self.catch_up(seq)
        if kind == "statements" or len(items) == 1:
            check(len(commits) <= 1, "one commit was reported as the transactions %s", commits)
        self.compare()

    async def catch_up(self, seq):
        """Applies what came, up to seq; returns the transactions named."""
        commits = set()
        while self.replica.seq < seq or self.all.events:
            if not self.all.events:
                await self.all.wait(lambda: self.all.events, what=f"event {self.replica.seq + 1} of {seq}")
            for message in self.all.events:
                self.apply(message)
                commits.add(message["tx"])
            self.all.events.clear()
        return commits

    def apply(self, message):
        names = message.get("subscriptions") or []
        if message["type"] != "database_change" or self.everything in names:
            self.replica.apply(message)
        if message["type"] == "table:altered":
            for view in self.views.values():
                view.alter(message)
        for name in names:
            if name in self.views:
                self.views[name].apply(message)
            else:
                check(name == self.everything, "unknown subscription %s: %s", name, shorten(message))

    def compare(self):
        ours = shapes(self.source)
        wanted = shapes(self.shadow.db)
        check(ours.keys() == wanted.keys(), "tables differ from SQLite's: %s", ours.keys() ^ wanted.keys())
        for name, shape in wanted.items():
            got = {k: same(row) for k, (_, row) in contents(self.source, ours[name]).items()}
            plain = {k: same(row) for k, (_, row) in contents(self.shadow.db, shape).items()}
            check(got == plain, "%s differs from SQLite's: %s", name, shorten(set(got.items()) ^ set(plain.items())))
        self.replica.compare(self.source)
        for view in self.views.values():
            view.compare(self.source)

    async def fence(self):
        """Every separate subscriber is as far as the source, and its view exact."""
        mark = self.steps
        await self.step("script", [f"INSERT OR REPLACE INTO fence VALUES (1, {mark})"])
        for client, view in self.apart:
            reached = False
            while not reached:
                await client.wait(lambda c=client: c.events, what="the fence")
                for message in client.events:
                    if message["type"] != "database_change":
                        if message["type"] == "table:altered":
                            view.alter(message)
                    elif message["table"] == "fence":
                        reached = reached or message["data"]["n"] == mark
                    else:
                        check(message["subscriptions"] == [view.subscription], "subscriptions %s", message)
                        view.apply(message)
                client.events.clear()
            view.compare(self.source)

    async def go(self, steps):
        for number in range(steps):
            kind, items = self.workload.step()
            try:
                await self.step(kind, items)
                if number % 50 == 49 or number == steps - 1:
                    await self.fence()
            except AssertionError as error:
                raise AssertionError(f"seed {self.seed} step {number} {kind} {items!r}:\n{error}") from error
        note(f"seed {self.seed}: {self.steps} steps, {self.errors} of them errors, {self.replica.seq} events: "
             f"{self.replica.kinds}")

    async def end(self):
        for client, _ in self.apart:
            await client.close()
        await self.all.close()
        self.http.close()
        self.source.close()


async def replica(seed, steps, *options):
    with Directory() as directory:
        server = Server(directory.file("source.db"), *options)
        run = Run(server, seed)
        await run.begin()
        await run.go(steps)
        await run.end()
        server.stop()


def steps(args):
    return int(os.environ.get("ROWTAP_STEPS", "300" if args.quick else "2500"))


@case("generated statements, fixed seed: replica equals source after every commit")
def fixed(args):
    return replica(int(SEED) if SEED else 20240607, steps(args))


@case("generated statements, random seed: replica equals source after every commit")
def fresh(args):
    seed = int(SEED) if SEED else int.from_bytes(os.urandom(4), "big")
    note(f"seed {seed}; repeat with ROWTAP_SEED={seed}")
    return replica(seed, steps(args))


@case("generated statements in a rollback-journal database (--keep-journal-mode)")
def rollback_journal(args):
    return replica(int(SEED) if SEED else 7, steps(args) // 5, "--keep-journal-mode")


if __name__ == "__main__":
    main()
