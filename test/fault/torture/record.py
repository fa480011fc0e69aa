"""The recorder: hears everything, and from that says what everybody else should have heard.

Its own log must be gapless from 1 on, and a replica made of nothing else equal to the file.
"""
import asyncio
import base64
import os
import random
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.replica import Replica, connect, quote  # noqa: E402
from fault.torture.feed import LIVE, Feed  # noqa: E402
from fault.torture.link import Link  # noqa: E402
from fault.torture.tables import SCHEMA, Spec, digest  # noqa: E402
from harness import check, equal, seconds, shorten, story  # noqa: E402


class RecordFeed(Feed):
    """One of the two subscriptions whose changes together are all there are."""

    def __init__(self, name, spec, rules, dice, record):
        super().__init__(name, spec, rules, dice)
        self.record = record

    def request(self, epoch):
        if self.place is not None:
            self.place = max(self.place, self.record.replica.seq)
        return super().request(epoch)

    def change(self, message, epoch):
        super().change(message, epoch)
        self.record.add(message)


class Oracle:
    """Which changes a filter selects, by SQLite: tables like the source's with the rows before and after
    each change."""

    def __init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.columns = {}
        for sql in SCHEMA:
            if sql.startswith("CREATE TABLE"):
                self.table(sql)

    def table(self, sql):
        plain = sqlite3.connect(":memory:")
        plain.execute(sql)
        name, = plain.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchone()
        columns = plain.execute(f"PRAGMA table_info({name})").fetchall()
        nocase = {"b"} if name == "comp" else ()
        text = ", ".join(f"{quote(c[1])} {c[2]}{' COLLATE NOCASE' if c[1] in nocase else ''}" for c in columns)
        self.db.execute(f"CREATE TABLE {name}(_seq INT, _side TEXT, {text})")
        self.columns[name] = [c[1] for c in columns]

    def add(self, changes):
        for c in changes:
            if c.get("table") in self.columns:
                names = self.columns[c["table"]]
                sides = {"INSERT": {"new": c["data"]}, "DELETE": {"old": c["data"]},
                         "UPDATE": {"new": c["data"], "old": c.get("old")}}[c["event"]]
                marks = ", ".join("?" * (len(names) + 2))
                for side, row in sides.items():
                    self.db.execute(f"INSERT INTO {c['table']} VALUES ({marks})", [c["seq"], side, *(plain(row[n]) for n in names)])

    def selected(self, spec):
        """{seq: {"old", "new"}} of the changes added since clear()."""
        found = {}
        for seq, side in self.db.execute(f"SELECT _seq, _side FROM {spec.table} WHERE {spec.where}"):
            found.setdefault(seq, set()).add(side)
        return found

    def clear(self):
        for name in self.columns:
            self.db.execute(f"DELETE FROM {name}")


def plain(value):
    return base64.b64decode(value["$base64"]) if isinstance(value, dict) else value


def new_token(message):
    """The token that a change brought into its row."""
    if message["type"] != "database_change" or message["event"] == "DELETE":
        return None
    token = message["data"].get("tag")
    return None if token == message.get("old", {}).get("tag") else token


class Record:
    """What was recorded."""

    def __init__(self):
        self.replica = Replica()
        self.waiting = {}       # came before one of a lower seq
        self.new = []           # messages since the last expectations
        self.tokens = {}        # token: the transactions in which it was seen
        self.token_at = {}      # seq: token
        self.oracle = Oracle()

    def add(self, message):
        seq = message["seq"]
        check(seq > self.replica.seq and seq not in self.waiting, "seq %s recorded twice: %s", seq, shorten(message))
        self.waiting[seq] = message
        while self.replica.seq + 1 in self.waiting:
            message = self.waiting.pop(self.replica.seq + 1)
            self.replica.apply(message)
            self.new.append(message)
            token = new_token(message)
            if token:
                self.tokens.setdefault(token, set()).add(message["tx"])
                self.token_at[message["seq"]] = token

    def expectations(self, specs):
        """{spec's name: [(seq, event, transition, digest)…]} of what is new."""
        self.oracle.add(self.new)
        found = {spec.name: list(self.expected(spec)) for spec in specs}
        self.oracle.clear()
        self.new = []
        return found

    def expected(self, spec):
        selected = self.oracle.selected(spec) if spec.table not in ("*", "tables") else {}
        for m in self.new:
            row = m["type"] == "database_change"
            event, transition = m.get("event", m["type"]), None
            if spec.table == "tables":
                if row:
                    continue
            elif not row or (spec.events and event.lower() not in spec.events):
                continue
            elif spec.table != "*":
                if m["table"] != spec.table or m["seq"] not in selected:
                    continue
                sides = selected[m["seq"]]
                if event == "UPDATE" and len(sides) == 1:
                    transition = "enter" if "new" in sides else "leave"
            yield m["seq"], event, transition, digest(m, spec.columns)

    def verify(self, answered):
        """What the writers were told is so."""
        failures = []
        last = self.replica.seq

        def claim(condition, text):
            if not condition:
                failures.append(text)
        for token in answered.there:
            claim(token in self.tokens, f"write {token} was answered but is not among the changes")
        for token in answered.absent:
            claim(token not in self.tokens, f"write {token} was refused or rolled back but is among the changes")
        for seq, token in answered.places:
            claim(seq <= last, f"an answer said seq {seq}, the last change is {last}")
            if token:
                claim(self.token_at.get(seq) == token, f"the answer to write {token} said seq {seq}, where {self.token_at.get(seq)} is")
        for tokens in answered.together:
            seen = [token for token in tokens if token in self.tokens]
            claim(not seen or seen == tokens, f"of one transaction only {seen} of {tokens} are among the changes")
            claim(len({tx for token in seen for tx in self.tokens[token]}) <= 1, f"one transaction's writes {tokens} are in several")
        return failures[:10]


class Recorder:
    """The process that records."""

    def __init__(self, seed, rules, specs, mutation=None):
        self.record, self.specs, self.path, self.task = Record(), specs, None, None
        dice = random.Random(f"{seed} recorder")
        feeds = [RecordFeed(f"recorder {name}", Spec(name), rules, dice, self.record) for name in ("*", "tables")]
        self.link = Link("recorder", feeds, dice, wildness=0.3, steady=rules.trims)
        if mutation:
            self.link.mutation, mutation.link = mutation, self.link

    async def go(self, server, path):
        self.path, self.link.server, self.link.quiet = path, server, False
        if not self.task:
            self.task = asyncio.ensure_future(self.link.run())
        end = asyncio.get_running_loop().time() + seconds(20)
        while not all(f.state == LIVE for f in self.link.feeds):
            check(asyncio.get_running_loop().time() < end, "the recorder is not live: %s", self.link.feeds)
            await asyncio.sleep(0.02)

    async def settle(self, seq, limit):
        """Everything up to `seq` is recorded, and the replica equals the file. Returns what is new for each spec."""
        self.link.quiet = True
        end = asyncio.get_running_loop().time() + seconds(limit)
        while self.record.replica.seq < seq:
            self.check_failures()
            check(asyncio.get_running_loop().time() < end, "seq %s never came (%s later ones did; the server is at %s): %s",
                  self.record.replica.seq + 1, len(self.record.waiting), seq, [str(f) for f in self.link.feeds])
            await asyncio.sleep(0.02)
        self.check_failures()
        equal(self.record.replica.seq, seq, "the last change recorded")
        db = connect(self.path)
        self.record.replica.compare(db)
        db.close()
        for feed in self.link.feeds:
            feed.take_pieces(seq)
        return self.record.expectations(self.specs)

    def check_failures(self):
        failures = [f.failure for f in self.link.feeds if f.failure] + [self.link.failure]
        check(not any(failures), "recorder: %s", next((f for f in failures if f), None))

    def verify(self, answered):
        return self.record.verify(answered)

    def totals(self):
        return {**self.link.counts, "kinds": self.record.replica.kinds}
