#!/usr/bin/python3
"""Snapshots and queries while other processes write: what they show is one state between two commits, and its
seq is the right one. Each commit also counts on in the table `stamp`, so every state has a number of its own."""
import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Client, Directory, Http, Server, case, check, equal, in_thread, main, note, same,  # noqa: E402
                     seconds)
from replica import Replica, View, connect  # noqa: E402

SCHEMA = ["CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, text TEXT)", "CREATE TABLE stamp(id INTEGER PRIMARY KEY, n INT)",
          "CREATE INDEX t_n ON t(n)", "INSERT INTO stamp VALUES (1, 0)",
          "INSERT INTO t(n, text) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1500) "
          "SELECT i % 4, printf('%.*c', i % 90, 'x') FROM c"]
STAMP = "UPDATE stamp SET n = n + 1"
MARK = -1
FILTERS = [([], "1", lambda row: True), (["n>=2"], "n >= 2", lambda row: row["n"] is not None and row["n"] >= 2)]


def change(dice):
    """One statement, as SQL with its values in it."""
    kind, key = dice.random(), dice.randrange(1, 3000)
    if kind < 0.35:
        return f"INSERT INTO t(n, text) VALUES ({dice.randrange(4)}, '{'y' * dice.choice([1, 30, 700])}')"
    if kind < 0.45:
        return f"INSERT OR REPLACE INTO t VALUES ({key}, {dice.randrange(4)}, 'replaced')"
    if kind < 0.65:
        return f"UPDATE t SET n = (n + 1) % 4 WHERE id BETWEEN {key} AND {key + dice.choice([0, 3, 40])}"
    if kind < 0.75:
        return f"UPDATE OR IGNORE t SET id = id + {dice.choice([1, 5000])} WHERE id = {key}"
    return f"DELETE FROM t WHERE id BETWEEN {key} AND {key + dice.choice([0, 1, 15])}"


def write(path, seed):
    """In another process: so many transactions for each number on standard input."""
    dice = random.Random(seed)
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("PRAGMA synchronous = OFF")
    for line in sys.stdin:
        for _ in range(int(line)):
            db.execute("BEGIN IMMEDIATE")
            for _ in range(dice.choice([1, 1, 2, 5])):
                db.execute(change(dice))
            db.execute(STAMP)
            db.execute("ROLLBACK" if dice.random() < 0.05 else "COMMIT")
            if dice.random() < 0.01:
                db.execute("PRAGMA busy_timeout = 20")
                db.execute(f"PRAGMA wal_checkpoint({dice.choice(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])})").fetchall()
                db.execute("PRAGMA busy_timeout = 60000")
        print("done", flush=True)
    db.close()


class Writer:
    def __init__(self, path, seed):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--write", path, str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, count):
        alarm = threading.Timer(seconds(60), self.process.kill)
        alarm.start()
        self.process.stdin.write(b"%d\n" % count)
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        alarm.cancel()
        equal(said, b"done\n", "the other process says")

    def close(self):
        self.process.stdin.close()
        equal(self.process.wait(seconds(20)), 0, "exit status of the other process")
        self.process.stdout.close()


class Truth:
    """The replica of everything, and what each state that it went through was like."""

    def __init__(self):
        self.replica = Replica()
        self.sums = [0, 0, 0]
        self.states = {}   # number of the state -> (seq, rows, sum of id, sum of n)
        self.marks = {}    # mark -> rows then
        self.tx, self.stamp, self.failure, self.wanted = 0, 0, None, {}

    async def begin(self, server):
        self.client = await Client.open(server)
        db = connect(server.path)
        for name in ("stamp", "t"):
            reply = await self.client.request("subscribe", table=name, snapshot=True)
            self.wanted[reply["data"]["subscription"]] = name
            self.replica.seq = reply["data"]["seq"]
            last = False
            while not last:
                message = await self.client.next("snapshot")
                last = message["last"]
                self.load(name, message["data"]["rows"])
        db.close()
        self.stamp = 0
        self.close_state()
        self.client.consume = self.take

    def load(self, name, rows):
        from replica import Table
        table = self.replica.tables.setdefault(name, Table([]))
        for row in rows:
            table.rows[same(row["key"])] = row["data"]
            if name == "t":
                self.count(row["data"], 1)

    def count(self, row, sign):
        self.sums[0] += sign
        self.sums[1] += sign * row["id"]
        self.sums[2] += sign * (row["n"] or 0)

    def close_state(self):
        self.states[self.stamp] = (self.replica.seq, *self.sums)

    def take(self, message):
        try:
            if not self.failure:
                self.follow(message)
        except Exception as error:  # told by whoever waits
            self.failure = error

    def follow(self, message):
        check(message["type"] == "database_change", "unexpected %s", message)
        if message["tx"] != self.tx:
            self.close_state()
            self.tx = message["tx"]
        self.replica.apply(message)
        if message["table"] == "stamp":
            self.stamp = message["data"]["n"]
            equal(message["old"]["n"] + 1, self.stamp, "the commit after")
            return
        if message["event"] != "INSERT":
            self.count(message["old"], -1)
        if message["event"] != "DELETE":
            self.count(message["data"], 1)
        if message["key"]["id"] == MARK and message["event"] != "DELETE":
            self.marks[message["data"]["n"]] = dict(self.replica.tables["t"].rows)

    async def reach(self, stamp):
        await self.client.wait(lambda: self.stamp >= stamp or self.failure, 60, f"commit {stamp}")
        if self.failure:
            raise self.failure


class Taker:
    """A snapshot and the changes after it, up to some marks."""

    def __init__(self, truth, number):
        self.truth, self.batch = truth, number % 3 == 1
        self.filters, self.where, self.passes = FILTERS[number % 2]
        self.view = View(None, "t", self.filters, self.where)
        self.last, self.failure, self.marks, self.messages = False, None, [], 0

    def take(self, message):
        try:
            if not self.failure:
                self.follow(message)
        except Exception as error:
            self.failure = error

    def follow(self, message):
        kind = message["type"]
        if kind == "connection:ack":
            return
        if kind == "snapshot":
            check(not self.last, "a snapshot message after the last one")
            self.view.seq, self.last = message["seq"], message["last"]
            self.messages += 1
            for row in message["data"]["rows"]:
                key = same(row["key"])
                check(key not in self.view.rows, "%s twice in the snapshot", row["key"])
                self.view.rows[key] = row["data"]
            return
        check(kind in ("database_change", "changes") and self.last, "unexpected %s", message)
        for one in message.get("changes", [message]):
            self.view.apply(one)
            if one["key"]["id"] == MARK and one["event"] != "DELETE":
                self.marks.append((one["data"]["n"], dict(self.view.rows)))

    async def begin(self, server):
        self.client = await Client.open(server)
        self.client.consume = self.take
        reply = await self.client.request("subscribe", table="t", filter=self.filters, batch=self.batch, snapshot=True)
        check(reply["type"] == "subscribed", "%s", reply)
        await self.client.wait(lambda: self.last or self.failure, 60, "the last rows")
        equal(self.view.seq if not self.view.rows else max(self.view.seq, reply["data"]["seq"]), self.view.seq, "seq")

    async def follow_marks(self, count):
        await self.client.wait(lambda: len(self.marks) >= count or self.failure, 60, f"mark {count} for {self.filters}")

    def compare(self, rows, what):
        wanted = {key: row for key, row in rows.items() if self.passes(row)}
        missing, more = wanted.keys() - self.rows.keys(), self.rows.keys() - wanted.keys()
        check(not missing and not more, "%s: missing %s, too many %s", what, list(missing)[:5], list(more)[:5])
        for key, row in wanted.items():
            check(same(row) == same(self.rows[key]), "%s: %s is %s", what, row, self.rows[key])

    async def end(self):
        """At each mark the view was as the table then."""
        if self.failure:
            raise self.failure
        for mark, rows in self.marks:
            await self.truth.client.wait(lambda m=mark: m in self.truth.marks or self.truth.failure, 60, f"mark {mark}")
            self.rows = rows
            self.compare(self.truth.marks[mark], f"at mark {mark}, {self.filters}")
        await self.client.close()


class Scenario:
    def __init__(self, path, *options):
        self.server = Server(path, "--history", "256MiB", *options)
        self.http = Http(self.server)
        self.expected, self.mark, self.busy, self.answers = 0, 10, True, []
        self.own = random.Random(7)

    def own_commits(self, count):
        for _ in range(count):
            self.http.sql(statements=[{"sql": change(self.own)}, {"sql": STAMP}])

    def set_mark(self):
        """A write of the server's own that everybody sees."""
        self.mark += 1  # it passes both filters, and nobody else changes it
        self.http.sql(statements=[{"sql": f"INSERT OR REPLACE INTO t VALUES ({MARK}, {self.mark}, 'mark')"}, {"sql": STAMP}])

    def ask(self):
        """Queries, one after the other: (seq, number of the state, rows, sums)."""
        http = Http(self.server)
        sql = "SELECT (SELECT n FROM stamp), count(*), sum(id), sum(n) FROM t"
        while self.busy:
            answer = http.sql(sql)
            self.answers.append((answer["seq"], *answer["rows"][0]))
        http.close()

    def burst(self, writer, count):
        if writer:
            writer.run(count)
        else:
            self.own_commits(count // 4)
            self.set_mark()

    def stamp(self):
        return self.http.sql("SELECT n FROM stamp")["rows"][0][0]


def check_answers(answers, states):
    """How many named exactly the state that they saw."""
    exact = 0
    for seq, number, *sums in answers:
        check(number in states, "a query saw state %d, which never was", number)
        known = states[number]
        equal(tuple(sums), known[1:], f"what a query saw of state {number}")
        check(seq <= known[0], "a query says seq %d and saw state %d of seq %d", seq, number, known[0])
        exact += seq == known[0]
    return exact


async def takers_come(scenario, truth, at_once, tally):
    """Each stays for two marks; then the next one comes."""
    async def one(slot):
        number = slot
        while scenario.busy:
            taker = Taker(truth, number)
            await taker.begin(scenario.server)
            await taker.follow_marks(2)
            await taker.end()
            tally[0] += 1
            tally[1] += taker.messages
            number += at_once
    await asyncio.gather(*(one(slot) for slot in range(at_once)))


async def run(args, *options):
    bursts, at_once = (12, 3) if args.quick else (40, 5)
    with Directory() as directory:
        path = directory.file("s.db")
        scenario = Scenario(path, *options)
        for sql in SCHEMA:
            scenario.http.sql(sql)
        truth, tally = Truth(), [0, 0]
        await truth.begin(scenario.server)
        writers = [Writer(path, 1), Writer(path, 2), None]
        coming = asyncio.ensure_future(takers_come(scenario, truth, at_once, tally))
        asking = asyncio.ensure_future(in_thread(scenario.ask))
        for _ in range(bursts):
            await asyncio.gather(*(in_thread(scenario.burst, w, 40) for w in writers))
            await truth.reach(await in_thread(scenario.stamp))
            if coming.done():
                break
        scenario.busy = False
        while not coming.done():
            await in_thread(scenario.set_mark)
            await asyncio.sleep(0.02)
        await coming
        await asking
        await truth.reach(await in_thread(scenario.stamp))
        truth.close_state()
        exact = check_answers(scenario.answers, truth.states)
        asked = len(scenario.answers)
        # Nobody writes now: each answer is exact.
        scenario.answers = []
        await asyncio.sleep(0.3)
        for _ in range(20):
            answer = await in_thread(scenario.http.sql, "SELECT (SELECT n FROM stamp), count(*), sum(id), sum(n) FROM t")
            scenario.answers.append((answer["seq"], *answer["rows"][0]))
        equal(check_answers(scenario.answers, truth.states), 20, "exact answers while nobody writes")
        final = Taker(truth, 0)
        await final.begin(scenario.server)
        final.rows = final.view.rows
        final.compare(truth.replica.tables["t"].rows, "at the end")
        await final.client.close()
        db = connect(path)
        final.view.compare(db)
        db.close()
        for writer in writers[:2]:
            writer.close()
        await truth.client.close()
        note(f"{truth.replica.seq} changes in {truth.stamp} commits; {tally[0]} snapshots in {tally[1]} messages; "
             f"{exact} of {asked} queries named their state exactly")
        check(tally[0] > 3 and asked > 20, "too little came about: %s snapshots, %s queries", tally[0], asked)
        scenario.http.close()
        scenario.server.stop(limit=10)


@case("snapshots and queries while others write are states between two commits")
async def plain(args):
    await run(args)


@case("the same with a journal")
async def journal(args):
    await run(args, "--journal")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2], int(sys.argv[3]))
    else:
        main()
