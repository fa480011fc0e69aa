"""A served file, its writers, its replica: bursts of jobs, and the comparison after each."""
import asyncio
import copy
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.foreign.file import integrity  # noqa: E402
from contract.foreign.follower import Follower  # noqa: E402
from contract.foreign.jobs import Jobs, SCHEMA  # noqa: E402
from contract.foreign.writers import BUSY, DAMAGE, Node, Own, Python, Shell, Shells  # noqa: E402
from contract.replica import connect, quote, shapes  # noqa: E402
from harness import Client, Server, check, in_thread, note, shorten  # noqa: E402

MARKS = ["CREATE TABLE own(id INTEGER PRIMARY KEY, n INT)", "INSERT INTO own VALUES (1, 0)",
         "CREATE TABLE fence(id INTEGER PRIMARY KEY, n INT)", "INSERT INTO fence VALUES (1, 0)"]


class Scenario:
    def __init__(self, path, seed, form, who, *options):
        """`who` writes: "server", "foreign" or "mixed"."""
        self.path, self.seed, self.form, self.who, self.options = path, seed, form, who, options
        self.steps = self.bursts = self.killed = 0
        self.outcomes = {}
        self.refused = {}
        self.checkpoints = {}
        self.fences = 0
        self.holder, self.vacuumed = None, False
        self.last = []

    async def begin(self):
        self.form.create(self.path, MARKS)
        self.server = Server(self.path, *self.options)
        self.source = connect(self.path)
        self.jobs = Jobs(self.seed, self.source, self.form.page_size)
        self.dice = self.jobs.random
        self.follower = Follower()
        self.follower.adopt(self.source)
        self.start = copy.deepcopy(self.follower.replica.tables)
        await self.follower.open(self.server)
        self.batches = Follower(batch=True)
        self.batches.adopt(self.source)
        await self.batches.open(self.server)
        self.own = Own(self.server)
        self.writers = [] if self.who == "foreign" else [self.own]
        if self.who != "server":
            self.writers += [Shell(self.path), Shells(self.path), Python(self.path), Python(self.path)]
            self.writers += [] if Node.missing() else [Node(self.path)]
            for writer in self.writers:
                if writer is not self.own:
                    writer.run(self.form.prologue())
        await in_thread(self.writers[-1].run, SCHEMA)
        await self.settle()

    def decorated(self, writer, items):
        """A job as this writer gets it."""
        if writer is self.own:
            return items
        first = self.form.prologue() if writer.name == "shells" else []
        first = [*first, f"PRAGMA foreign_keys = {'ON' if self.dice.random() < 0.8 else 'OFF'}"]
        if self.dice.random() < 0.1:
            first.append(f"PRAGMA wal_autocheckpoint = {self.dice.choice([1, 20, 200, 1000])}")
        return [*first, f"PRAGMA recursive_triggers = {self.dice.randint(0, 1)}", *items]

    async def burst(self):
        """Some jobs for each writer, all at once; then the replica must be as the source."""
        self.bursts += 1
        most = self.dice.choice([1, 2, 4])
        busy = [w for w in self.writers if self.dice.random() < 0.7] or [self.dice.choice(self.writers)]
        work = [(w, [self.decorated(w, self.jobs.job()) for _ in range(self.dice.randint(1, most))]) for w in busy]
        self.last = [(w.name, jobs) for w, jobs in work]
        self.steps += sum(len(jobs) for _, jobs in work)
        waiting = [in_thread(self.work, writer, jobs) for writer, jobs in work]
        if self.who != "server" and self.dice.random() < 0.08:
            waiting.append(in_thread(self.kill_one))
        if self.who != "server" and self.dice.random() < 0.12:
            waiting.append(in_thread(self.hold))
        await asyncio.gather(*waiting)
        if self.who == "mixed" and self.dice.random() < 0.03:
            await self.own_vacuum()
        await self.settle()

    def work(self, writer, jobs):
        for items in jobs:
            outcome = writer.run(items)
            total = self.outcomes.setdefault(writer.name, [0, 0])
            total[0] += outcome.done
            total[1] += len(outcome.errors)
            for error in outcome.errors:
                check(not DAMAGE.search(error), "%s: %s after %s", writer.name, error, shorten(repr(items)))
                kind = "busy" if BUSY.search(error) else re.sub(r"[\"'`:].*|\d+", "", error).strip()
                self.refused[kind] = self.refused.get(kind, 0) + 1
            for checkpoint in outcome.checkpoints:
                kind = "busy" if checkpoint[0] else "done"
                self.checkpoints[kind] = self.checkpoints.get(kind, 0) + 1

    def kill_one(self):
        """A writer that dies in the middle of a transaction, with pages of it in the log."""
        victim = Python(self.path)
        try:
            victim.run([*self.form.prologue(), *self.jobs.abandoned()], keep=True)
        finally:
            victim.kill()
        self.killed += 1

    def hold(self):
        """A reader that keeps an old snapshot for some bursts; or its end."""
        if self.holder:
            self.holder.close()
            self.holder = None
        else:
            self.holder = Python(self.path)
            self.holder.run(["BEGIN", "SELECT count(*) FROM big"], keep=True)

    async def own_vacuum(self):
        """The server's own VACUUM may give new rowids to rows without keys: exactly the tables where it did are
        named, and read anew."""
        await self.reach_end()
        before = self.rowids()
        answer = await in_thread(self.server.post, "/api/sql", {"sql": "VACUUM"})
        if answer.status == 200:
            await self.reach_end()
            wanted = {n for n, rows in self.rowids().items() if rows != before[n]}
            for follower in (self.follower, self.batches):
                check(follower.replica.renumbered == wanted, "VACUUM renumbered %s, told were %s", wanted, follower.replica.renumbered)
                follower.adopt(self.source, wanted)
                follower.replica.renumbered = set()
            self.vacuumed |= bool(wanted)

    def rowids(self):
        return {n: self.source.execute(f"SELECT _rowid_ FROM {quote(n)} ORDER BY 1").fetchall()
                for n, s in shapes(self.source).items() if not s.without_rowid and not s.virtual}

    async def reach_end(self):
        """A write of the server's own comes after all that was committed before."""
        answer = await in_thread(self.server.sql, "UPDATE fence SET n = n + 1")
        for follower in (self.follower, self.batches):
            await follower.reach(answer["seq"])
            check(follower.replica.seq == answer["seq"], "the replica is at %d, the write was %d", follower.replica.seq, answer["seq"])
        self.fences += 1

    async def settle(self):
        await self.reach_end()
        self.follower.replica.compare(self.source)
        check(self.follower.own == self.own.commits + self.fences, "%d own transactions were seen, %d made", self.follower.own,
              self.own.commits + self.fences)
        if self.bursts % 10 == 0:
            self.batches.replica.compare(self.source)

    async def go(self, steps, until=None):
        begun = time.monotonic()
        while self.steps < steps or (until and time.monotonic() < until):
            try:
                await self.burst()
            except AssertionError as error:
                said = "\n".join(f"  {name}: {shorten(repr(jobs), 1500)}" for name, jobs in self.last)
                raise AssertionError(f"seed {self.seed}, burst {self.bursts} of {self.form} ({self.who}):\n{error}\n{said}") from error
        note(f"seed {self.seed}: {self.steps} jobs in {self.bursts} bursts, {time.monotonic() - begun:.1f} s; "
             f"{self.follower.replica.seq} events {self.follower.replica.kinds}, {self.follower.kinds}; "
             f"transactions: {self.follower.own} own, {self.follower.foreign} foreign")
        note(f"statements done/refused {self.outcomes}; checkpoints {self.checkpoints}; writers killed: {self.killed}; refused: "
             + ", ".join(f"{n} {k}" for k, n in sorted(self.refused.items(), key=lambda r: -r[1])[:6]))

    async def resume(self):
        """The past, sent again from the start, makes the same replica."""
        if self.vacuumed:
            return
        client = await Client.open(self.server)
        events = []
        client.consume = events.append
        last = self.follower.replica.seq
        for target in ({"channel": "tables"}, {"table": "*"}):
            reply = await client.request("subscribe", since=f"{client.ack['data']['epoch']}:0", **target)
            check(reply["data"].get("recovered"), "the past is not there: %s", reply)
        await client.wait(lambda: len(events) >= last, 60, f"{last} events of the past")
        again = Follower()
        again.replica.tables = self.start
        for event in sorted(events, key=lambda e: e.get("seq", 0)):
            again.take(event)
        check(not again.failure, "sent again: %s", again.failure)
        again.replica.compare(self.source)
        check(again.kinds == self.follower.kinds, "sent again: events by source %s, first %s", again.kinds, self.follower.kinds)
        await client.close()

    async def end(self):
        if self.holder:
            self.holder.close()
        for writer in self.writers:
            writer.close()
        await self.follower.close()
        await self.batches.close()
        self.own.close()
        schema = self.source.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'rowtap%'").fetchone()[0]
        journal = "--journal" in self.options
        check(journal or schema == 0, "rowtap left %d entries in the schema", schema)
        self.source.close()
        self.server.stop()
        check(integrity(self.path) == ["ok"], "integrity_check: %s", integrity(self.path))
