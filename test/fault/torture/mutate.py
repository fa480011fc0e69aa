"""Faults played at the client, to show that the torture would find them in the server."""
import copy
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from fault.torture.tables import SPECS  # noqa: E402

AT = 5  # the fault comes with this one of the messages that it fits


def spec(name):
    return next(s for s in SPECS if s.name == name)


def is_change(m):
    return m["type"] == "database_change"


def with_row(m, change):
    m = copy.deepcopy(m)
    change(m["data"])
    return m


def tag(row):
    row["tag"] = "never written"


def real(row):
    row["grp"] = float(row["grp"])


def phantom(m):
    other = copy.deepcopy(m)
    other["seq"] += 0.5
    other["id"] = f"{m['id'].split(':')[0]}:{other['seq']}"
    other["key"] = {"id": -1}
    return [m, other]


def without_one(m):
    """Not the last: who comes back before the next one would get that again."""
    m = copy.deepcopy(m)
    del m["changes"][(len(m["changes"]) - 1) // 2]
    return m


def page(m, change):
    m = copy.deepcopy(m)
    change(m["data"]["rows"])
    return m


class Swap:
    """Holds a change back until the next has gone by."""

    def __init__(self):
        self.held = None

    def __call__(self, m):
        if self.held is None:
            self.held = m
            return []
        held, self.held = self.held, None
        return [m, held] if is_change(m) else [held, m]


# kind: whose messages, which of them, what is done with the message, how many in a row
FAULTS = {
    "lost": ("items", is_change, lambda m: []),
    "lost of a filter": ("items grp = 3", is_change, lambda m: []),
    "lost of all": ("*", is_change, lambda m: []),
    "lost definition": ("tables", lambda m: m["type"].startswith("table:"), lambda m: []),
    "repeated": ("words", is_change, lambda m: [m, m]),
    "made up": ("items", is_change, phantom),
    "altered": ("items", lambda m: is_change(m) and m["event"] != "DELETE", lambda m: [with_row(m, tag)]),
    "real for integer": ("items", lambda m: is_change(m) and m["event"] == "INSERT" and type(m["data"]["grp"]) is int,
                         lambda m: [with_row(m, real)]),
    "no transition": ("items grp = 3", lambda m: "transition" in m, lambda m: [{k: v for k, v in m.items() if k != "transition"}]),
    "lost in a batch": ("items grp=3 batch=true", lambda m: m["type"] == "changes" and len(m["changes"]) > 1,
                        lambda m: [without_one(m)]),
    "lost page": ("big", lambda m: m["type"] == "snapshot" and not m["last"], lambda m: []),
    "lost row": ("loose", lambda m: m["type"] == "snapshot", lambda m: [page(m, lambda rows: rows.pop())]),
    "old rows": ("words", lambda m: m["type"] == "snapshot", lambda m: [page(m, lambda rows: [tag(row["data"]) for row in rows])]),
}
FIRST = ("lost page", "lost row", "old rows", "no transition", "lost in a batch")  # these come with the first that fits
MUTATED = {kind: spec(name) for kind, (name, *_) in FAULTS.items()} | {"exchanged": spec("items"), "gap on return": spec("items")}


class Mutation:
    """Alters one message of a link; link.counts says that it did."""

    def __init__(self, kind):
        self.kind, self.seen, self.done = kind, 0, False
        self.link = None
        self.swap = Swap() if kind == "exchanged" else None
        self.resumed = False

    def __call__(self, m):
        if self.swap:
            return self.exchange(m)
        if self.kind == "gap on return":
            return self.gap(m)
        _, fits, fault = FAULTS[self.kind]
        if self.done or not fits(m):
            return [m]
        self.seen += 1
        if self.seen < (1 if self.kind in FIRST else AT):
            return [m]
        return self.did(fault(m))

    def did(self, messages):
        """From here on the connection stays: to come back would bring again what was lost."""
        self.done = self.link.steady = True
        self.link.count("mutated " + self.kind)
        return messages

    def exchange(self, m):
        self.seen += is_change(m)
        if self.done or self.seen < AT:
            return [m]
        if self.swap.held is None and not is_change(m):
            return [m]
        was_held = self.swap.held is not None
        messages = self.swap(m)
        return self.did(messages) if was_held and is_change(m) else messages

    def gap(self, m):
        """The first change after a return is lost."""
        if m["type"] == "subscribed" and m["data"].get("recovered") and m["data"]["seq"]:
            self.resumed = True
        if self.resumed and is_change(m) and not self.done:
            return self.did([])
        return [m]


def mutation(kind):
    return Mutation(kind)
