#!/usr/bin/python3
"""The proof that no change is lost and none comes twice: parallel writers, 50 subscribers that lose their
connections and stop reading at random, and kill -9 of the server at random points, round after round with
the journal on. After each round every subscriber's view, built from snapshots and changes over all its
connections, equals the file; each had every change it should have had, once and in order; and every write
that was answered is among them.

--seed N repeats one run (as far as its timing lets it), --rounds N and --minutes M make it longer.
"""
import contextlib
import glob
import os
import random
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from fault.torture.feed import Rules  # noqa: E402
from fault.torture.link import Links  # noqa: E402
from fault.torture.mutate import MUTATED, mutation  # noqa: E402
from fault.torture.process import Process, all_of  # noqa: E402
from fault.torture.record import Record, Recorder  # noqa: E402
from fault.torture.tables import FILL, SCHEMA, SPECS  # noqa: E402
from fault.torture.writer import Answered, Writers  # noqa: E402
from harness import SANITIZER, Directory, Http, Server, Skip, case, check, equal, main, note, run, seconds  # noqa: E402

SUBSCRIBERS = 50
PROCESSES = 2
WRITERS = 4
LIMIT = 45  # seconds for everybody to catch up

KILLS = ["now", "now", "transaction", "snapshot", "replay", "twice"]


class Address:
    """Where the server is, for other processes."""

    def __init__(self, server):
        self.host, self.port, self.tls = server.host, server.port, None


def free_port(dice):
    """A port that no outgoing connection takes while the server is down."""
    for _ in range(200):
        port = dice.randint(20000, 30000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no free port")


def casts(dice, count):
    """What each of the subscribers asks for: one or two specs; each spec has somebody."""
    casts_ = [[spec] for spec in SPECS[:count]]
    likely = SPECS + 3 * [s for s in SPECS if s.table == "big"]  # which have snapshots of several pages
    while len(casts_) < count:
        casts_.append([dice.choice(likely)])
    for cast in dice.sample(casts_, count // 5):
        cast.append(dice.choice([s for s in SPECS if s is not cast[0]]))
    return casts_


class Run:
    """A server, its writers, its recorder and its subscribers."""

    def __init__(self, directory, seed, trims=False, options=(), mutations=None, recorder_mutation=None, subscribers=SUBSCRIBERS):
        self.seed, self.dice = seed, random.Random(seed)
        self.path = directory.file("torture.db")
        self.trims, self.more = trims, options
        self.rules = Rules(trims=trims, may_resync=("slow_consumer", "snapshot_timeout"))
        self.port = free_port(random.Random())
        self.server = None
        self.seq, self.epoch = 0, None
        self.expected = {}         # by spec: every change so far
        self.kills, self.answered, self.failures = {}, [], {}
        self.limit = LIMIT
        self.known = set(re.findall(r"--[a-z-]+", run("serve", "--help")[1]))
        mutations = mutations or {}
        self.processes = []
        self.recorder = self.start("recorder", Recorder, seed, self.rules, SPECS, recorder_mutation)
        self.writers = self.start("writers", Writers, WRITERS, seed, 0.012 * seconds(1))
        named = list(zip((f"u{n}" for n in range(subscribers)), casts(self.dice, subscribers)))
        named += [(f"mutated {kind}", [MUTATED[kind]]) for kind in mutations]
        self.specs = {f"{name}.{i}": spec for name, cast in named for i, spec in enumerate(cast)}
        self.subscribers = []
        for p in range(PROCESSES):
            mine = named[p::PROCESSES]
            chosen = {f"mutated {kind}": mutation(kind) for kind in mutations}
            self.subscribers.append(self.start(f"subscribers {p}", Links, [n for n, _ in mine], [c for _, c in mine],
                                               seed, self.rules, chosen))

    def start(self, name, make, *args):
        process = Process(name, make, *args)
        self.processes.append(process)
        return process

    def end(self):
        for process in self.processes:
            process.end()

    # -- the server

    def options(self):
        """They change with each start: the journal's and the memory's part in what is replayed do too."""
        values = {"--history": ["64KiB", "1MiB", "64MiB"], "--max-queue": ["1MiB", "64MiB"], "--snapshots": [1, 2, 4],
                  "--snapshot-timeout": [2, 300], "--on-slow": ["drop", "resync"], "--slow-queue": ["256KiB", "8MiB"],
                  "--slow-time": [1, 60]}
        chosen = {name: self.dice.choice(some) for name, some in values.items()}
        if self.trims:  # the recorder, of all, must never come too late
            chosen.update({"--journal-rows": 2000, "--max-queue": "64MiB", "--slow-queue": "8MiB"})
        return ["--journal", *self.more, *(word for name, value in chosen.items() if name in self.known for word in (name, value))]

    def up(self):
        self.server = Server(self.path, *self.options(), listen=f"127.0.0.1:{self.port}")
        health = self.health()
        check(self.epoch in (None, health["epoch"]), "the epoch was %s and is %s", self.epoch, health["epoch"])
        self.epoch = health["epoch"]
        return health

    def health(self):
        return self.server.get("/health").json["database"]

    def down(self):
        """kill -9; what is left is sound, and the server goes on where its journal ends."""
        check_log(self.server.kill())
        early = self.dice.random() < 0.5
        if early:
            self.check_file()
        journal = journal_end(self.path)
        health = self.up()
        equal(health["seq"], journal, "the server's seq after a restart, and its journal's last")
        if not early:
            equal(self.server.sql("PRAGMA integrity_check")["rows"], [["ok"]], "integrity_check")

    def check_file(self):
        with left_behind(self.path) as copy:
            db = sqlite3.connect(copy)
            equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
            db.close()

    # -- rounds

    def begin(self):
        self.up()
        address = Address(self.server)
        self.recorder.ask("go", address, self.path)
        for sql in SCHEMA + FILL:
            self.server.sql(sql)
        all_of(self.subscribers, "go", address, self.path)

    def go(self):
        address = Address(self.server)
        all_of([self.recorder, *self.subscribers], "go", address, self.path)

    def round(self, kill=True):
        """Writes, a kill amid them, more writes, and all compared."""
        self.writers.ask("begin", Address(self.server))
        time.sleep(seconds(0.5 + self.dice.random() * 0.8))
        if kill:
            self.kill(self.dice.choice(KILLS))
            self.verify()
            self.go()
            self.writers.ask("begin", Address(self.server))
            time.sleep(seconds(0.2 + self.dice.random() * 0.5))
        all_of(self.subscribers, "rest")
        self.verify()
        self.settle()
        self.go()

    def verify(self):
        """The writers end; what they were told is checked as soon as everything is recorded."""
        answered = self.writers.ask("end", timeout=90)
        check(not answered.failures, "%s", "\n".join(answered.failures[:5]))
        self.answered.append(answered)

    def kill(self, kind):
        self.kills[kind] = self.kills.get(kind, 0) + 1
        if kind in ("snapshot", "replay"):
            all_of(self.subscribers, "burst", kind)
            time.sleep(self.dice.random() * seconds(0.15))
        elif kind == "transaction":
            self.large_transaction()
        self.down()
        if kind == "twice":
            time.sleep(self.dice.random() * seconds(0.1))
            self.down()

    def large_transaction(self):
        """Killed while it runs or commits."""
        server = self.server

        def write():
            try:
                Http(server, timeout=10).request("POST", "/api/sql", {"sql":
                    "INSERT INTO bulk(n, tag) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) "
                    "SELECT i % 7, 'large' FROM c"})
            except OSError:
                pass
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        time.sleep(self.dice.random() * seconds(0.03))

    def settle(self):
        self.seq = self.health()["seq"]
        fresh = self.recorder.ask("settle", self.seq, self.limit, timeout=self.limit + 30)
        for name, changes in fresh.items():
            self.expected.setdefault(name, []).extend(changes)
        failures = []
        for answered in self.answered:
            failures += self.recorder.ask("verify", answered)
        self.count(self.answered)
        self.answered = []
        check(not failures, "%s", "\n".join(failures))
        wanted = {name: self.expected[spec.name][-1][0] for name, spec in self.specs.items() if self.expected[spec.name]}
        results = all_of(self.subscribers, "settle", wanted, self.seq, self.limit, timeout=self.limit + 60)
        for pieces, failed in results:
            for name, several in pieces.items():
                wrong = next(filter(None, (self.compare(name, piece) for piece in several)), "")
                if (wrong or name in failed) and name not in self.failures:
                    self.failures[name] = f"{failed.pop(name, name)}\n  {wrong}"
            self.failures.update({name: text for name, text in failed.items() if name not in self.failures})
        equal(self.health()["seq"], self.seq, "seq while nobody writes")

    def compare(self, name, piece):
        """How that which a feed was given between two places differs from what it should have been given."""
        after, upto, got = piece
        wanted = [c for c in self.expected[self.specs[name].name] if after < c[0] <= upto]
        if got == wanted:
            return None
        first = next((i for i, (g, w) in enumerate(zip(got, wanted)) if g != w), min(len(got), len(wanted)))
        return (f"[{self.specs[name].name}] between {after} and {upto}: {len(got)} changes instead of {len(wanted)}; "
                f"from the {first + 1}th on: got {got[first:first + 3]}, wanted {wanted[first:first + 3]}")

    def count(self, answered):
        for one in answered:
            for what in ("count", "errors", "lost"):
                self.kills["writes " + what] = self.kills.get("writes " + what, 0) + getattr(one, what)

    def check_failures(self):
        check(not self.failures, "%s subscribers failed:\n%s", len(self.failures), "\n".join(list(self.failures.values())[:5]))

    def report(self):
        totals = {}
        for found in all_of(self.subscribers, "totals"):
            for what, count in found.items():
                totals[what] = totals.get(what, 0) + count
        note(f"seq {self.seq}; {self.kills}")
        note(f"subscribers: {dict(sorted(totals.items()))}")
        note(f"recorder: {self.recorder.ask('totals')}")
        return totals


def check_log(text):
    found = SANITIZER.search(text)
    check(not found, "sanitizer report:\n%s", text[-6000:])


@contextlib.contextmanager
def left_behind(path):
    """A copy of what a killed server left. Whoever opens the file itself, and is the last to close it, removes the
    log: then the server cannot know any more whether that one wrote, and begins a new history."""
    with tempfile.TemporaryDirectory() as directory:
        for name in glob.glob(path + "*"):
            if not name.endswith("-shm"):
                shutil.copy(name, directory)
        yield os.path.join(directory, os.path.basename(path))


def journal_end(path):
    """The seq of the journal's last change."""
    with left_behind(path) as copy:
        db = sqlite3.connect(copy)
        last = db.execute("SELECT max(last_seq) FROM rowtap_journal").fetchone()[0] or 0
        db.close()
        return last


def keep(path, seed):
    """The files of a failed run, where the test does not remove them."""
    folder = tempfile.mkdtemp(prefix=f"rowtap-torture-{seed}-")
    for name in glob.glob(path + "*"):
        shutil.copy(name, folder)
    return folder


def torture(seed, rounds, until=None, trims=False, options=()):
    note(f"seed {seed}, {rounds} rounds{', the journal is trimmed' if trims else ''}; repeat with --seed {seed} --rounds {rounds}")
    with Directory() as directory:
        it = Run(directory, seed, trims, options)
        number = 0
        try:
            it.begin()
            while number < rounds or (until and time.monotonic() < until):
                number += 1
                it.round()
                it.check_failures()
            it.report()
            it.end()
            it.server.stop(limit=10)
            it.check_file()
        except BaseException:
            note(f"FAILED in round {number}; run it again with --seed {seed} --rounds {rounds}; "
                 f"the files are kept in {keep(it.path, seed)}")
            raise
        finally:
            it.end()


class Options:
    def __call__(self, parser):
        parser.add_argument("--seed", type=int, help="of the runs, instead of 3 and a random one")
        parser.add_argument("--rounds", type=int, help="kills of the server per run")
        parser.add_argument("--minutes", type=float, help="go on for so long")


def lengths(args):
    rounds = args.rounds or (3 if args.quick else 9)
    return rounds, time.monotonic() + args.minutes * 60 if args.minutes else None


@case("torture, a fixed seed: everything is kept")
def fixed(args):
    torture(args.seed if args.seed is not None else 3, *lengths(args))


@case("torture, a random seed: the journal is trimmed all the time")
def fresh(args):
    if args.quick:
        raise Skip("not with --quick")
    torture(args.seed if args.seed is not None else int.from_bytes(os.urandom(3), "big"), *lengths(args), trims=True)


@case("torture in a rollback-journal database")
def rollback_journal(args):
    if args.quick:
        raise Skip("not with --quick")
    rounds, until = lengths(args)
    torture(args.seed if args.seed is not None else 5, max(2, rounds // 4), until, options=["--keep-journal-mode"])


@case("the torture finds a change lost, repeated, exchanged, made up or altered at a subscriber")
def mutated(args):
    with Directory() as directory:
        it = Run(directory, 7, mutations=list(MUTATED), subscribers=10)
        try:
            it.begin()
            for _ in range(2):
                it.round(kill=False)
            totals = it.report()
            missing = [kind for kind in MUTATED if not totals.get("mutated " + kind)]
            check(not missing, "mutations that never happened: %s", missing)
            equal(sorted(it.failures), sorted(f"mutated {kind}.0" for kind in MUTATED), "subscribers found to be wrong")
            it.end()
            it.server.stop(limit=10)
        finally:
            it.end()


@case("the torture finds a change lost at the recorder, and an answer that is not true")
def mutated_recorder(args):
    with Directory() as directory:
        it = Run(directory, 8, recorder_mutation=mutation("lost of all"), subscribers=2)
        it.limit = 1
        try:
            it.begin()
            it.round(kill=False)
        except AssertionError as error:
            check("never came" in str(error), "%s", error)
        else:
            raise AssertionError("not found")
        finally:
            it.end()
    record, answered = Record(), Answered()
    record.tokens, record.token_at = {"a": {1}, "b": {2}}, {1: "a", 2: "b"}
    answered.there, answered.absent, answered.together, answered.places = ["c"], ["a"], [["a", "b"], ["b", "d"]], [(3, None), (1, "b")]
    equal(len(record.verify(answered)), 7, "untrue answers found")


if __name__ == "__main__":
    main(Options())
