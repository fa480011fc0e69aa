"""A subscriber to everything that keeps a replica and checks each event, as it comes."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.replica import Replica, Table, contents, shapes  # noqa: E402
from harness import Client, check, same, shorten  # noqa: E402


class Follower:
    """`own` counts the server's transactions, `foreign` those of others.

    With `batch` the messages about tables and the batches of rows of one transaction have no order among each
    other: they are put in order by seq when all of it is there."""

    def __init__(self, batch=False):
        self.replica = Replica()
        self.batch, self.waiting = batch, []
        self.own = self.foreign = 0
        self.kinds = {"own": 0, "foreign": 0}
        self.sources, self.marked = set(), False   # of the transaction that is being read
        self.failure = None
        self.latest = []

    async def open(self, server):
        self.client = await Client.open(server)
        self.client.consume = self.take
        await self.client.join("tables")
        await self.client.subscribe("*", batch=self.batch)
        return self

    def take(self, message):
        if self.failure:
            return
        self.latest = self.latest[-7:] + [message]
        try:
            for event in expand(message):
                if self.batch and "tx" in event:
                    self.gather(event)
                elif self.batch:
                    self.release()
                    self.event(event)
                else:
                    self.event(event)
        except (AssertionError, KeyError, TypeError) as error:
            said = "\n".join("    " + shorten(m, 300) for m in self.latest)
            self.failure = f"{type(error).__name__}: {error}\n  the last messages:\n{said}"

    def gather(self, event):
        if self.waiting and self.waiting[0]["tx"] != event["tx"]:
            self.release()
        self.waiting.append(event)

    def release(self):
        for event in sorted(self.waiting, key=lambda e: e["seq"]):
            self.event(event)
        self.waiting = []

    def last(self):
        return max([self.replica.seq, *(e["seq"] for e in self.waiting)])

    def event(self, message):
        if message["type"] == "resync":
            self.end_transaction()
            self.replica.apply(message)
            return
        check("seq" in message and "tx" in message, "unexpected message %s", shorten(message))
        if message["tx"] != self.replica.tx:
            self.end_transaction()
        source = message.get("source")
        check(source in (None, "external"), "source: %s", shorten(message))
        self.sources.add(source)
        self.kinds["foreign" if source else "own"] += 1
        self.marked = self.marked or message.get("table") in ("own", "fence")
        self.unchanged_columns(message)
        self.replica.apply(message)

    def unchanged_columns(self, message):
        """An update says something new."""
        if message.get("event") == "UPDATE" and "oldKey" not in message:
            check(same(message["old"]) != same(message["data"]), "an update that changes nothing: %s", shorten(message))

    def end_transaction(self):
        """Of the server's own transactions each touches a table that nobody else writes; the others are foreign."""
        if self.sources:
            wanted = {None} if self.marked else {"external"}
            check(self.sources == wanted, "transaction %d is %s, but its events have the sources %s", self.replica.tx,
                  "the server's" if self.marked else "another process's", self.sources)
            if self.marked:
                self.own += 1
            else:
                self.foreign += 1
        self.sources, self.marked = set(), False

    async def reach(self, seq, timeout=30):
        await self.client.wait(lambda: self.failure or self.last() >= seq, timeout, f"event {seq} (it is at {self.last()})")
        self.release()
        check(not self.failure, "%s", self.failure)
        self.end_transaction()

    def adopt(self, db, only=None):
        """Takes tables as they are in the source."""
        for name, shape in shapes(db).items():
            if only is None or name in only:
                self.replica.tables[name] = table_of(db, shape)

    async def close(self):
        await self.client.close()


def expand(message):
    """The events of a batch, each with what the batch says for all."""
    if message["type"] != "changes":
        return [message]
    shared = {"channel": message.get("channel", "tables"), "tx": message["tx"], "type": "database_change"}
    if "table" in message:
        shared["table"] = message["table"]
    return [{**shared, **change} for change in message["changes"]]


def table_of(db, shape):
    table = Table([{"name": r[1], "type": r[2], "notNull": bool(r[3]), "default": r[4], "primaryKey": bool(r[5]),
                    "generated": {2: "virtual", 3: "stored"}.get(r[6])} for r in shape.columns])
    table.rows = {key: row for key, (_, row) in contents(db, shape).items()}
    return table
