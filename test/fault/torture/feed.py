"""A subscriber as a user would write one: a view from a snapshot and the changes after it, carried over
from connection to connection by `since`.

It notes what it was given, as pieces: (after, upto, [(seq, event, transition, digest)…]) says that every
change it should have with after < seq <= upto is in the list.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.replica import View, compare_rows, contents, shapes  # noqa: E402
from fault.torture.tables import digest  # noqa: E402
from harness import check, same, shorten  # noqa: E402

NOTHING, ASKED, SNAPSHOT, LIVE = "nothing", "asked", "snapshot", "live"
FATAL = ("history_lost", "schema_changed", "epoch_changed", "future", "snapshot_timeout", "snapshot_failed")


class Rules:
    """What the server may do in this run."""

    def __init__(self, trims=False, earliest=True, snapshots=True, may_resync=()):
        self.trims = trims                # the journal does not keep everything
        self.earliest, self.snapshots = earliest, snapshots
        self.may_resync = set(may_resync) | ({"history_lost"} if trims else set())


class Feed:
    def __init__(self, name, spec, rules, dice):
        self.name, self.spec, self.rules, self.dice = name, spec, rules, dice
        self.subscription = None          # the server's name for it on this connection
        self.state, self.place, self.view = NOTHING, None, None
        self.asked, self.expect_resync, self.wants_snapshot = None, False, False
        self.pieces, self.piece = [], None
        self.failure = None
        self.counts = {}
        self.last = []                    # the newest messages, in short, for a failure's report

    def __str__(self):
        return f"{self.name} [{self.spec.name}] {self.state}, at {self.place}, last messages {self.last}"

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, text):
        if self.failure is None:
            self.failure = f"{text}\n  subscriber {self}"

    # -- asking

    def request(self, epoch):
        """The subscribe message: a first time from a snapshot or from the very beginning, then from the place."""
        target = self.spec.target()
        self.subscription, self.state = None, ASKED
        self.expect_resync = False
        snapshots = self.spec.is_view and self.rules.snapshots
        if self.place is None:
            early = self.rules.earliest and not self.rules.trims and (not snapshots or self.dice.random() < 0.15)
            check(early or snapshots or not self.spec.is_view, "no way to begin")
            self.asked = "earliest" if early else "snapshot" if snapshots else "live"
            more = {"earliest": {"since": "earliest"}, "snapshot": {"snapshot": True}, "live": {}}[self.asked]
        else:
            self.asked = "since"
            more = self.dice.choice([{"since": self.place, "epoch": epoch}, {"since": f"{epoch}:{self.place}"}])
            if snapshots and self.dice.random() < 0.5:
                more["snapshot"] = True
        self.wants_snapshot = "snapshot" in more
        return {"type": "subscribe", **target, **more}

    def lost(self):
        """The connection is gone, or the subscription was given up."""
        self.subscription = None
        if self.state == SNAPSHOT:
            self.count("snapshot cut off")
            self.place = None
        self.state = NOTHING

    def forget(self):
        """What he had is lost."""
        self.close_piece(self.place)
        self.place = self.view = None
        self.state = NOTHING

    def drop(self):
        """A user who throws away what he had, and whatever still comes."""
        if self.state == LIVE and self.spec.is_view:
            self.forget()
            self.subscription = None

    # -- pieces

    def open_piece(self, after):
        self.piece = (after, None, [])

    def close_piece(self, upto):
        if self.piece:
            self.pieces.append((self.piece[0], upto, self.piece[2]))
            self.piece = None

    def take_pieces(self, upto):
        """All up to here; the next piece begins here."""
        self.close_piece(upto)
        self.open_piece(upto)
        pieces, self.pieces = self.pieces, []
        return pieces

    # -- hearing

    def subscribed(self, data):
        check(self.state == ASKED, "subscribed while %s", self.state)
        self.subscription = data.get("subscription")
        seq, recovered = data["seq"], data.get("recovered")
        self.count("asked " + self.asked)
        if self.asked == "since" and recovered:
            check(seq == self.place, "resumed at %s instead of %s", seq, self.place)
            self.state = LIVE
            return
        if self.asked == "earliest" and recovered:
            check(seq == 0, "'earliest' begins at %s, though everything is kept", seq)
            self.start(0)
            return
        if self.asked in ("since", "earliest"):
            check(recovered is False, "recovered is %s", recovered)
            check("history_lost" in self.rules.may_resync, "not recovered from %s: %s", self.place, data)
            self.forget()
            self.expect_resync = True
            self.state = SNAPSHOT if self.wants_snapshot else ASKED
        else:
            check(recovered is None, "recovered is %s", recovered)
            self.state = SNAPSHOT if self.asked == "snapshot" else LIVE
        if self.state == SNAPSHOT:
            self.place, self.view = seq, self.new_view()
        elif self.state == LIVE:
            self.start(seq)

    def new_view(self):
        return View(self.subscription, self.spec.table, self.spec.filters, self.spec.where) if self.spec.is_view else None

    def start(self, seq):
        self.view, self.place, self.state = self.new_view(), seq, LIVE
        self.open_piece(seq)

    def snapshot(self, message):
        """One page of rows."""
        check(self.state == SNAPSHOT, "snapshot message while %s", self.state)
        check(not self.expect_resync, "snapshot before the resync")
        check(message["seq"] == self.place, "a snapshot of %s within one of %s", message["seq"], self.place)
        check(message["table"] == self.spec.table, "snapshot of %s", message["table"])
        for row in message["data"]["rows"]:
            key = same(row["key"])
            check(key not in self.view.rows, "row %s twice in the snapshot", row["key"])
            self.view.rows[key] = row["data"]
        if message["last"]:
            self.count("snapshots")
            self.view.seq, self.state = self.place, LIVE
            self.open_piece(self.place)

    def change(self, message, epoch):
        check(self.state == LIVE, "a change while %s: %s", self.state, shorten(message, 200))
        seq = message["seq"]
        check(seq > self.place, "seq %s after %s", seq, self.place)
        check(message["id"] == f"{epoch}:{seq}", "id %s of seq %s, epoch %s", message["id"], seq, epoch)
        if self.view:
            self.view.apply(message)
        self.place = seq
        event = message.get("event", message["type"])
        self.piece[2].append((seq, event, message.get("transition"), digest(message, self.spec.columns)))

    def resync(self, reason):
        """True when the subscription must be made anew: from the place, or from nothing where that is lost."""
        self.count("resync " + reason)
        check(reason in self.rules.may_resync, "resync %s", reason)
        if self.expect_resync and reason in FATAL:
            self.expect_resync = False
            return self.state != SNAPSHOT
        if reason in FATAL and self.state == LIVE:
            self.forget()
        return True

    def note(self, message):
        """Keeps a message's outline for a report."""
        parts = [message["type"]] + [f"{n}={message[n]}" for n in ("seq", "event", "transition", "last", "reason") if n in message]
        self.last = self.last[-4:] + [" ".join(parts)]

    # -- comparing

    def reached(self, seq):
        return self.state == LIVE and self.place >= seq

    def compare(self, db, cache):
        """The view equals what SELECT with the same filter finds."""
        if not self.spec.is_view:
            return
        key = (self.spec.table, self.spec.where)
        if key not in cache:
            shape = shapes(db)[self.spec.table]
            cache[key] = contents(db, shape, self.spec.where), shape
        wanted, shape = cache[key]
        names = self.spec.columns
        added = {c[1]: added_value(db, c) for c in shape.columns if c[1].startswith("x") and len(c[1]) > 1}
        rows = {k: {n: v for n, v in row.items() if n in names} if names else row for k, (_, row) in wanted.items()}
        got = {k: row if names else {**added, **row} for k, row in self.view.rows.items()}
        compare_rows(got, {k: (None, row) for k, row in rows.items()}, set(), self.spec.name)


def added_value(db, column):
    """What ADD COLUMN gave to the rows that a view has from before it."""
    return None if column[4] is None else float(column[4])
