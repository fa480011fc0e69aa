#!/usr/bin/python3
"""The journal under faults: a full disk, commits that fail or are rolled back, kill -9 amid large commits.
What was not committed leaves no trace, what was is there to resume from, and seq has no gap."""
import asyncio
import glob
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, Server, case, check, equal, in_thread, main, note, seconds  # noqa: E402

ROOM = 3 << 20


def limit_files():
    """A disk with little room, which prlimit can enlarge while the server runs."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))


def journal(path):
    """(last seq, changes by first and last seq) of the journal's rows, which must lie end to end."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = db.execute("SELECT first_seq, last_seq FROM rowtap_journal ORDER BY last_seq").fetchall()
    db.close()
    for before, after in zip(rows, rows[1:]):
        equal(after[0], before[1] + 1, "first_seq after %s" % (before,))
    return rows[-1][1] if rows else 0


async def everything(server, upto):
    """All changes of rows from the beginning up to `upto`, heard by a new subscriber; definitions count as seen."""
    client = await Client.open(server)
    rows, definitions = [], []
    client.consume = lambda m: (rows if m["type"] == "database_change" else definitions).append(m)
    for target in ({"channel": "tables"}, {"table": "*"}):
        reply = await client.request("subscribe", **target, since="earliest")
        equal((reply["type"], reply["data"]["recovered"], reply["data"]["seq"]), ("subscribed", True, 0), f"from the earliest: {reply}")
    await client.wait(lambda: len(rows) + len(definitions) >= upto, timeout=60, what=f"{upto} changes, there are {len(rows)} and {len(definitions)}")
    await client.request("ping", sentAt=1)
    await client.close()
    seqs = sorted(m["seq"] for m in rows + definitions)
    equal(seqs, list(range(1, upto + 1)), "seqs from the beginning")
    return rows


def seq_of(server):
    return server.get("/health").json["database"]["seq"]


async def fill(*options):
    with Directory() as directory:
        path = directory.file("full.db")
        server = Server(path, "--journal", *options, prepare=limit_files)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        client = await Client.open(server)
        await client.subscribe("t")
        http, kept, failures = Http(server), [], []
        for number in range(1, 1000):
            answer = await in_thread(http.try_sql, "INSERT INTO t VALUES (?, ?)", [number, "x" * 20000])
            if answer.status == 200:
                kept.append(number)
            else:
                failures.append(answer)
                if len(failures) == 10:
                    break
        equal(len(failures), 10, "failures at the limit")
        for answer in failures:
            text = answer.json["error"]["message"].lower()
            check(answer.status in (400, 500, 503, 507) and ("full" in text or "i/o" in text), "%s", answer)
        equal(seq_of(server), len(kept) + 1, "seq when nothing more fits")
        equal(http.sql("SELECT count(*) FROM t")["rows"], [[len(kept)]], "rows that can be read")
        note(f"{len(kept)} rows fitted; then: {failures[0]}")

        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for number in range(2000, 2020):
            equal(http.sql("INSERT INTO t VALUES (?, ?)", [number, "y"])["seq"], len(kept) + 2, "seq once there is room")
            kept.append(number)
        await client.wait(lambda: len(client.events) >= len(kept), what="events")
        equal([e["key"]["id"] for e in client.events], kept, "events")
        equal([e["seq"] for e in client.events], list(range(2, len(kept) + 2)), "seqs")
        await client.close()
        http.close()
        server.kill()
        equal(journal(path), len(kept) + 1, "the journal's last seq")
        server = Server(path, "--journal", *options)
        equal(seq_of(server), len(kept) + 1, "seq after a restart")
        rows = await everything(server, len(kept) + 1)
        equal([m["key"]["id"] for m in rows], kept, "changes from the journal")
        server.stop()
        sound(path)


def sound(path):
    """Looks at a copy: who opens the file itself and is the last to close it removes the log, and then the server
    cannot know whether that one wrote."""
    with tempfile.TemporaryDirectory() as directory:
        for name in glob.glob(path + "*"):
            if not name.endswith("-shm"):
                shutil.copy(name, directory)
        db = sqlite3.connect(os.path.join(directory, os.path.basename(path)))
        equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
        db.close()


@case("a full disk: the write fails in words, nothing is reported, no trace is left, and with room it goes on")
def full():
    return fill()


@case("a full disk under a rollback-journal database")
def full_rollback():
    return fill("--keep-journal-mode")


@case("what is rolled back, refused at COMMIT or fails leaves no trace in the journal")
async def rolled_back():
    with Directory() as directory:
        path = directory.file("rolled.db")
        server = Server(path, "--journal")
        http = Http(server)
        http.sql("CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE)")
        http.sql("CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)")
        inserted = 0
        for n in range(20):
            for body, wanted, rows in (
                    ({"sql": f"INSERT INTO p VALUES ({n}, {n})"}, 200, 1),
                    ({"sql": f"INSERT INTO c VALUES ({n}, 1000)"}, 400, 0),
                    ({"sql": f"BEGIN; INSERT INTO c VALUES ({n}, 1000); INSERT INTO p VALUES (100 + {n}, 'x'); COMMIT"}, 400, 0),
                    ({"sql": f"BEGIN; INSERT INTO c VALUES ({n}, 1); CREATE TABLE gone(x); ROLLBACK"}, 200, 0),
                    ({"statements": [{"sql": f"INSERT INTO p VALUES (200 + {n}, 'y{n}')"}, {"sql": f"INSERT INTO c VALUES ({n}, 1000)"}]}, 400, 0),
                    ({"sql": f"INSERT OR FAIL INTO p VALUES (300 + {n}, 'z{n}'), (400 + {n}, 'z{n}')"}, 400, 1),
                    ({"sql": f"INSERT OR ROLLBACK INTO p VALUES (500 + {n}, 'w{n}'), (600 + {n}, 'w{n}')"}, 400, 0)):
                answer = http.request("POST", "/api/sql", body)
                equal(answer.status, wanted, f"{body}: {answer}")
                inserted += rows
                equal(seq_of(server), 2 + inserted, f"seq after {body}")
        http.close()
        for kill in (True, False):
            live = [m["key"]["id"] for m in await everything(server, 2 + inserted)]
            equal(sorted(live), sorted([*range(20), *range(300, 320)]), "rows heard")
            server.kill() if kill else server.stop()
            equal(journal(path), 2 + inserted, "the journal's last seq")
            server = Server(path, "--journal", "--history", "0")
        server.stop()
        sound(path)


class LargeWriter(threading.Thread):
    """One transaction of many rows after the other, until the server is gone."""

    def __init__(self, server, rows):
        super().__init__(daemon=True)
        self.server, self.rows, self.answered, self.failure = server, rows, 0, None

    def run(self):
        http = Http(self.server, timeout=60)
        try:
            while True:
                answer = http.request("POST", "/api/sql", {"sql":
                    f"INSERT INTO t(n) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {self.rows}) "
                    "SELECT i FROM c"})
                if answer.status != 200:
                    self.failure = str(answer)
                    break
                self.answered = answer.json["seq"]
        except Exception:  # the server is gone, as intended
            pass
        http.close()


@case("kill -9 amid large commits: the journal and the rows are as far as each other")
async def kill(args):
    size, rounds = 50000, 3 if args.quick else 8
    dice = random.Random(5)
    with Directory() as directory:
        path = directory.file("kill.db")
        server = Server(path, "--journal")
        epoch = server.get("/health").json["database"]["epoch"]
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT)")
        for _ in range(rounds):
            writer = LargeWriter(server, size)
            writer.start()
            await asyncio.sleep(seconds(0.1 + dice.random() * 0.5))
            await in_thread(server.kill)
            writer.join(seconds(30))
            check(not writer.is_alive() and writer.failure is None, "the writer: %s", writer.failure)
            if dice.random() < 0.5:
                sound(path)
            last = journal(path)
            db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            count, = db.execute("SELECT count(*) FROM t").fetchone()
            db.close()
            equal(last, 1 + count, "the journal's last seq, by the rows")
            equal(count % size, 0, "rows of a transaction in part")
            check(last >= writer.answered, "answered seq %s, there is %s", writer.answered, last)
            server = Server(path, "--journal", "--history", "1MiB")
            health = server.get("/health").json["database"]
            equal((health["seq"], health["epoch"]), (last, epoch), "seq and epoch after a restart")
        begun = time.monotonic()
        client, heard = await Client.open(server), []
        client.consume = heard.append
        some = (1, size // 2, size)
        reply = await client.request("subscribe", table="t", filter="n in (%d,%d,%d)" % some, since=1, epoch=epoch)
        equal(reply["data"].get("recovered"), True, "recovered")
        wanted = [start + n for start in range(0, count, size) for n in some]
        await client.wait(lambda: len(heard) >= len(wanted), timeout=60, what=f"{len(wanted)} rows, there are {len(heard)}")
        await client.request("ping", sentAt=1)
        equal([(m["key"]["id"], m["seq"]) for m in heard], [(n, n + 1) for n in wanted], "some rows of each transaction")
        note(f"{rounds} kills; {last} changes gone through again in {time.monotonic() - begun:.1f} s")
        await client.close()
        server.stop(limit=10)
        sound(path)


if __name__ == "__main__":
    main()
