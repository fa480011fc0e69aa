#!/usr/bin/python3
"""kill -9 amid the writes of several writers, several rounds: the file is sound afterwards, every
acknowledged write is there, and a transaction is there whole or not at all."""
import os
import random
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, Server, case, check, equal, in_thread, main, note, seconds  # noqa: E402


class Writer(threading.Thread):
    """Writes until the connection breaks; remembers what was acknowledged."""

    def __init__(self, server, number, first):
        super().__init__()
        self.server, self.number, self.next = server, number, first
        self.rows, self.pairs = [], []
        self.stop = False
        self.failure = None

    def run(self):
        http = Http(self.server, timeout=10)
        try:
            while not self.stop:
                self.next += 1
                if self.next % 3:
                    http.sql("INSERT INTO log(writer, n) VALUES (?, ?)", [self.number, self.next])
                    self.rows.append((self.number, self.next))
                else:
                    http.sql(statements=[
                        {"sql": "INSERT INTO a VALUES (?, ?)", "params": [self.number, self.next]},
                        {"sql": "INSERT INTO b VALUES (?, ?)", "params": [self.number, self.next]}])
                    self.pairs.append((self.number, self.next))
        except AssertionError as error:
            self.failure = error
        except Exception:  # the server is gone, as intended
            pass
        http.close()


def check_file(path, acknowledged, pairs):
    db = sqlite3.connect(path)
    equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
    rows = set(db.execute("SELECT writer, n FROM log"))
    a, b = set(db.execute("SELECT writer, n FROM a")), set(db.execute("SELECT writer, n FROM b"))
    db.close()
    check(acknowledged <= rows, "acknowledged but lost: %s", sorted(acknowledged - rows)[:10])
    check(pairs <= a, "acknowledged but lost: %s", sorted(pairs - a)[:10])
    equal(a, b, "halves of transactions")
    return len(rows) + len(a)


def rounds(count, *options):
    dice = random.Random(3)
    with Directory() as directory:
        path = directory.file("kill.db")
        acknowledged, pairs = set(), set()
        for number in range(count):
            server = Server(path, *options)
            server.sql("CREATE TABLE IF NOT EXISTS log(writer INT, n INT, PRIMARY KEY(writer, n)) WITHOUT ROWID;"
                       "CREATE TABLE IF NOT EXISTS a(writer INT, n INT); CREATE TABLE IF NOT EXISTS b(writer INT, n INT)")
            equal(server.sql("PRAGMA integrity_check")["rows"], [["ok"]], "integrity_check after the restart")
            writers = [Writer(server, w, number * 1000000) for w in range(5)]
            for writer in writers:
                writer.start()
            end = time.monotonic() + seconds(20)  # a disk may be slow
            while sum(len(writer.rows) for writer in writers) <= 12 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.2 + dice.random() * 0.5 + (seconds(1) - 1) * 0.2)
            server.kill()
            for writer in writers:
                writer.stop = True
                writer.join(seconds(30))
                check(writer.failure is None, "%s", writer.failure)
                acknowledged.update(writer.rows)
                pairs.update(writer.pairs)
            if number % 2:
                check_file(path, acknowledged, pairs)  # by plain SQLite, which also recovers the WAL
        total = check_file(path, acknowledged, pairs)
        note(f"{count} rounds, {len(acknowledged) + len(pairs)} acknowledged of {total} written")
        check(len(acknowledged) > 10 * count, "too few writes to mean anything: %d", len(acknowledged))
        server = Server(path)
        equal(server.sql("SELECT count(*) FROM log")["rows"][0][0] >= len(acknowledged), True, "rows through the server")
        server.stop()


@case("kill -9 amid writes: integrity_check ok, every acknowledged write is there")
def wal(args):
    rounds(3 if args.quick else 8)


@case("kill -9 amid writes in a rollback-journal database")
def rollback_journal(args):
    rounds(2 if args.quick else 4, "--keep-journal-mode")


@case("what a subscriber was told is in the file after kill -9")
async def subscriber():
    with Directory() as directory:
        path = directory.file("told.db")
        server = Server(path)
        server.sql("CREATE TABLE log(writer INT, n INT); CREATE TABLE a(writer INT, n INT); CREATE TABLE b(writer INT, n INT)")
        client = await Client.open(server)
        await client.subscribe("log")
        writers = [Writer(server, w, 0) for w in range(4)]
        for writer in writers:
            writer.start()
        await client.wait(lambda: len(client.events) > 100, what="100 events")
        await in_thread(server.kill)
        for writer in writers:
            writer.join(seconds(30))
        await client.wait_closed()
        told = {(e["data"]["writer"], e["data"]["n"]) for e in client.events}
        db = sqlite3.connect(path)
        rows = set(db.execute("SELECT writer, n FROM log"))
        db.close()
        check(told <= rows, "told but not in the file: %s", sorted(told - rows)[:10])


if __name__ == "__main__":
    main()
