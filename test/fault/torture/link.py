"""Connections that are lost, cut, closed and left unread at random, and the process that holds many."""
import asyncio
import os
import random
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.replica import connect  # noqa: E402
from fault.torture.feed import ASKED, LIVE, NOTHING, SNAPSHOT, Feed  # noqa: E402
from harness import Client, check, loads, seconds, shorten, story, websockets  # noqa: E402

CHANGES = ("database_change", "table:created", "table:altered", "table:dropped")


class Wire(Client):
    """Everything, replies too, goes to `consume` in the order in which it came."""

    async def read(self):
        module = websockets()
        try:
            async for text in self.socket:
                self.consume(loads(text))
                self.arrived.set()
        except module.ConnectionClosed:
            pass
        self.closed = (self.socket.close_code, self.socket.close_reason)
        self.arrived.set()

    def cut(self, reset):
        """The connection ends without a Close frame, with a FIN or an RST."""
        transport = self.socket.transport
        if transport is None or transport.is_closing():
            return
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class Link:
    """One user: a connection at a time, for one or a few feeds."""

    def __init__(self, name, feeds, dice, wildness=1.0, steady=False):
        self.name, self.feeds, self.dice = name, feeds, dice
        self.wildness, self.steady = wildness, steady   # how often things happen; whether none do
        self.server = self.wire = None
        self.epoch = None
        self.quiet = self.slow_reader = False
        self.in_snapshot = None            # what happens amid the next one: cut or pause
        self.by_name, self.waiting, self.pongs = {}, {}, set()
        self.next_id = 0
        self.moved = asyncio.Event()       # something came, or the connection changed
        self.counts = {}
        self.failure = None
        self.mutation = None

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, text):
        if self.failure is None:
            self.failure = f"{text}\n  connection {self.name} of {[str(f) for f in self.feeds]}"

    # -- a connection's life

    async def run(self):
        module = websockets()
        while True:
            try:
                await self.connection()
            except (OSError, asyncio.TimeoutError, EOFError, module.WebSocketException):
                self.count("refused")
            except AssertionError as error:  # the acknowledgement did not come before the server died
                self.count("not acknowledged: " + str(error)[:40])
            except Exception as error:
                self.fail(story(error))
                await asyncio.sleep(1)
            for feed in self.feeds:
                feed.lost()
            self.wire = None
            self.moved.set()
            await asyncio.sleep(0.02 + (0 if self.quiet else self.dice.random() * 0.1))

    async def connection(self):
        options = {}
        if self.slow_reader:
            plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            plain.settimeout(5)
            plain.connect((self.server.host, self.server.port))
            plain.setblocking(False)
            options = {"sock": plain}
        wire = await Wire.open(self.server, **options)
        self.by_name, self.waiting = {}, {}
        self.count("connections")
        epoch = wire.ack["data"]["epoch"]
        if self.epoch not in (None, epoch):
            self.fail(f"the epoch was {self.epoch} and is {epoch}")
        self.epoch = epoch
        wire.consume = self.take
        for message in wire.events:
            self.take(message)
        self.wire = wire
        try:
            for feed in self.feeds:
                await self.ask(feed)
            while wire.closed is None:
                await self.act(wire)
        finally:
            wire.cut(False)
            await wire.reader
            self.count(f"closed {wire.closed[0]}")

    async def ask(self, feed):
        self.next_id += 1
        mine = f"r{self.next_id}"
        self.waiting[mine] = feed
        await self.wire.send({"requestId": mine, **feed.request(self.epoch)})

    def again(self, feed):
        """The same subscription anew on this connection; what still comes of the old one is not heard."""
        old = {"channel": "tables"} if feed.spec.table == "tables" else {"subscription": feed.subscription}
        feed.lost()
        return self.replace(feed, self.wire, old)

    async def replace(self, feed, wire, old):
        await wire.send({"type": "unsubscribe", **old})
        if wire is self.wire:
            await self.ask(feed)

    async def sleep(self, wire, limit):
        """Until the connection ends, the time is up, or all shall be quiet."""
        end = asyncio.get_running_loop().time() + limit
        while wire.closed is None and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
            if self.quiet != self.was_quiet:
                break

    async def act(self, wire):
        """Waits a little, then does something that users do."""
        self.was_quiet = self.quiet
        if self.quiet:
            await self.sleep(wire, 1)
            return
        await self.sleep(wire, self.dice.expovariate(1.5 * self.wildness) + 0.03)
        if wire.closed or self.quiet or self.steady:
            return
        what = self.dice.choices(["cut", "reset", "close", "pause", "long pause", "again", "forget", "cut in snapshot",
                                  "pause in snapshot", "flip"], [20, 10, 5, 15, 6, 8, 6, 6, 4, 3])[0]
        self.count(what)
        if what in ("cut", "reset"):
            wire.cut(what == "reset")
        elif what == "close":
            await wire.socket.close()
        elif what in ("pause", "long pause"):
            await self.pause(wire, self.dice.random() * (0.4 if what == "pause" else 2.5))
        elif what == "again":
            feed = self.dice.choice(self.feeds)
            if feed.state in (LIVE, SNAPSHOT):
                await self.again(feed)
        elif what == "flip":
            self.slow_reader = not self.slow_reader
        else:
            self.in_snapshot = what.removesuffix(" in snapshot") if " in " in what else None
            for feed in self.feeds:
                feed.drop()
            wire.cut(False)

    async def pause(self, wire, limit):
        if wire.socket.transport is None:
            return
        wire.socket.transport.pause_reading()
        self.was_quiet = self.quiet
        await self.sleep(wire, limit)
        if wire.closed is None and wire.socket.transport is not None:
            wire.socket.transport.resume_reading()

    # -- what comes

    def take(self, message):
        """Nothing that goes wrong here ends the connection: it is kept for the report."""
        self.moved.set()
        for m in self.mutation(message) if self.mutation else [message]:
            feeds = []
            try:
                feeds = self.feeds_of(m)
                self.handle(m, feeds)
            except AssertionError as error:
                for feed in feeds:
                    feed.fail(story(error))
                if not feeds:
                    self.fail(story(error))
            except Exception as error:
                self.fail(f"{story(error)}\n  message {shorten(m)}")

    def feeds_of(self, message):
        """Whom a message concerns; those given up meanwhile left out."""
        kind = message["type"]
        if "requestId" in message and message["requestId"] in self.waiting:
            return [self.waiting.pop(message["requestId"])]
        if kind in ("table:created", "table:altered", "table:dropped"):
            return [f for f in self.feeds if f.spec.table == "tables" and f.state == LIVE]
        if kind == "changes":
            names = [n for c in message["changes"] for n in c.get("subscriptions", [])]
        elif "subscriptions" in message:
            names = message["subscriptions"]
        elif "subscription" in message:
            names = [message["subscription"]]
        elif kind == "resync":
            return [f for f in self.feeds if "channel" not in message or f.spec.table == message["channel"]]
        else:
            return []
        found = [self.by_name[n] for n in names]
        return [f for i, f in enumerate(found) if f not in found[:i] and f.subscription in names]

    def handle(self, message, feeds):
        kind = message["type"]
        for feed in feeds:
            feed.note(message)
        if kind == "changes":
            check(message["changes"] and message["seq"] == message["changes"][-1]["seq"], "changes: outer seq: %s", shorten(message))
            check(len({c["tx"] for c in message["changes"]}) == 1, "changes of several transactions: %s", shorten(message))
            for change in message["changes"]:
                self.handle_change(change)
        elif kind in CHANGES:
            self.handle_change(message)
        elif kind == "snapshot":
            self.handle_snapshot(message, feeds)
        elif kind == "subscribed":
            for feed in feeds:
                if message["data"].get("subscription"):
                    self.by_name[message["data"]["subscription"]] = feed
                if not feed.failure:
                    feed.subscribed(message["data"])
        elif kind == "resync":
            self.handle_resync(message, feeds)
        elif kind == "pong":
            self.pongs.add(message.get("data", message).get("sentAt"))
        elif kind == "error":
            raise AssertionError(f"error: {message}")
        else:
            check(kind in ("unsubscribed", "notification", "heartbeat"), "unexpected: %s", shorten(message))

    def handle_change(self, message):
        for feed in self.feeds_of(message):
            if not feed.failure:
                try:
                    feed.change(message, self.epoch)
                except AssertionError as error:
                    feed.fail(story(error))

    def handle_snapshot(self, message, feeds):
        for feed in feeds:
            if not feed.failure:
                feed.snapshot(message)
            if self.in_snapshot and not message["last"] and not self.quiet:
                what, self.in_snapshot = self.in_snapshot, None
                self.count(f"{what} within a snapshot")
                if what == "cut":
                    self.wire.cut(self.dice.random() < 0.5)
                else:
                    asyncio.ensure_future(self.pause(self.wire, self.dice.random() * 4))

    def handle_resync(self, message, feeds):
        for feed in feeds:
            # one that is not named concerns all whose `subscribed` came before it
            asked = feed.state == ASKED and not feed.expect_resync
            if feed.failure or feed.state == NOTHING or asked:
                continue
            if feed.resync(message["reason"]) and self.wire:
                asyncio.ensure_future(self.guarded(self.again(feed)))

    async def guarded(self, work):
        try:
            await work
        except (OSError, websockets().WebSocketException, AttributeError):
            pass  # the connection went meanwhile

    # -- coming to rest

    async def reach(self, wanted, limit):
        """Until every feed is live and as far as it should be; then whatever was queued is taken as well."""
        end = asyncio.get_running_loop().time() + seconds(limit)
        ping = None
        while True:
            done = self.wire is not None and all(f.failure or f.reached(wanted.get(f.name, 0)) for f in self.feeds)
            if done and ping in self.pongs:
                return
            if not done:
                ping = None
            elif ping is None:
                self.next_id += 1
                ping = self.next_id
                await self.guarded(self.wire.send({"type": "ping", "sentAt": ping}))
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                self.late(wanted, limit)
                return
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), min(left, 0.2))
            except asyncio.TimeoutError:
                pass

    def late(self, wanted, limit):
        if self.wire is None:
            self.fail(f"no connection after {limit} s: {self.counts}")
        for feed in self.feeds:
            if not feed.failure and not feed.reached(wanted.get(feed.name, 0)):
                feed.fail(f"after {limit} s at {feed.place} ({feed.state}), the last change it should have is {wanted.get(feed.name)}")
        self.fail(f"not at rest after {limit} s")


class Links:
    """A process with many connections."""

    def __init__(self, names, specs, seed, rules, mutations=None):
        self.rules, self.path = rules, None
        self.links, self.tasks = [], []
        for name, several in zip(names, specs):
            dice = random.Random(f"{seed} {name}")
            feeds = [Feed(f"{name}.{i}", spec, rules, dice) for i, spec in enumerate(several)]
            self.links.append(Link(name, feeds, dice))
        for link in self.links:
            link.slow_reader = link.dice.random() < 0.2
            if mutations and link.name in mutations:
                link.mutation = mutations[link.name]
                link.mutation.link = link

    def go(self, server, path):
        """Begins, or goes on with another server; from now on things happen."""
        self.path = path
        for link in self.links:
            link.server, link.quiet = server, False
        if not self.tasks:
            self.tasks = [asyncio.ensure_future(link.run()) for link in self.links]

    def burst(self, kind):
        """All at once begin a snapshot, or come back and have much to catch up."""
        for link in self.links:
            if link.steady:
                continue
            if kind == "snapshot":
                for feed in link.feeds:
                    feed.drop()
            if link.wire:
                link.wire.cut(link.dice.random() < 0.5)

    def rest(self):
        for link in self.links:
            link.quiet = True

    async def settle(self, wanted, seq, limit):
        """Everybody catches up to `seq`; the views are compared with the file. Returns by feed its pieces
        and failure, the connections' failures, and what happened."""
        self.rest()
        await asyncio.gather(*(link.reach(wanted, limit) for link in self.links))
        db, cache, pieces, failures = connect(self.path), {}, {}, {}
        for link in self.links:
            if link.failure:
                failures[link.name] = link.failure
            for feed in link.feeds:
                if not feed.failure:
                    try:
                        feed.compare(db, cache)
                    except AssertionError as error:
                        feed.fail(f"the view differs from the file at seq {seq}: {story(error)}")
                if feed.failure:
                    failures[feed.name] = feed.failure
                pieces[feed.name] = feed.take_pieces(seq)
        db.close()
        return pieces, failures

    def totals(self):
        found = {}
        for counts in [c for link in self.links for c in [link.counts, *(f.counts for f in link.feeds)]]:
            for what, count in counts.items():
                found[what] = found.get(what, 0) + count
        return found
