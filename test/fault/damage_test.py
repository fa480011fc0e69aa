#!/usr/bin/python3
"""Pages that are damaged under a running server, in the database or in the log, and a schema that lies. The next
commit of another process that touches them cannot be decoded: it is logged, counted and announced, nothing wrong is
reported, and the server goes on."""
import os
import random
import sqlite3
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Server, case, check, equal, in_thread, main, note  # noqa: E402

PAGE = 4096


def others(path, *statements):
    """Another program: opens the file, writes, one commit per statement, and leaves."""
    db = sqlite3.connect(path, isolation_level=None, timeout=20)
    try:
        for statement in statements:
            db.execute(*statement if isinstance(statement, tuple) else (statement,))
    finally:
        db.close()


def root_of(path, table):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    root, = db.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (table,)).fetchone()
    db.close()
    return root


def make(path):
    """Five short rows and one that needs overflow pages, all in the file; nothing in the log."""
    others(path, f"PRAGMA page_size={PAGE}", "PRAGMA journal_mode=WAL",
           "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "CREATE TABLE u(id INTEGER PRIMARY KEY, v)",
           "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d'),(5,'e'),(6,zeroblob(9000))", "INSERT INTO u VALUES (1,'a')",
           "PRAGMA wal_checkpoint(TRUNCATE)")


# What is done to the page of table t: only to its last cell, which an update of row 1 does not look at.

def last_pointer(page):
    return 8 + 2 * (struct.unpack(">H", page[3:5])[0] - 1)


def last_cell(page):
    at = last_pointer(page)
    return struct.unpack(">H", page[at:at + 2])[0]


def pointer_outside(page):
    struct.pack_into(">H", page, last_pointer(page), 0xffff)


def pointer_into_header(page):
    struct.pack_into(">H", page, last_pointer(page), 3)


def pointer_at_end(page):
    struct.pack_into(">H", page, last_pointer(page), PAGE - 1)


def size_without_end(page):
    at = last_cell(page)
    page[at:at + 9] = b"\xff" * 9


def key_not_in_order(page):
    page[last_cell(page) + 2] = 2  # the size takes two bytes, then comes the rowid


STRUCTURE = [pointer_outside, pointer_into_header, pointer_at_end, size_without_end, key_not_in_order]


def damage_file(path, root, how):
    with open(path, "r+b") as file:
        file.seek((root - 1) * PAGE)
        page = bytearray(file.read(PAGE))
        how(page)
        file.seek((root - 1) * PAGE)
        file.write(page)


def damage_log(path, root, how):
    """The last frame of that page."""
    with open(path + "-wal", "r+b") as file:
        data = file.read()
        step = 24 + PAGE
        frames = [at for at in range(32, len(data) - step + 1, step)
                  if data[at + 8:at + 16] == data[16:24] and struct.unpack(">I", data[at:at + 4])[0] == root]
        page = bytearray(data[frames[-1] + 24:frames[-1] + step])
        how(page)
        file.seek(frames[-1] + 24)
        file.write(page)


def gaps(server):
    return server.get("/api/websocket/health").json["captureGaps"]


def only(messages, *types):
    return [m for m in messages if m["type"] in types]


async def announced(server, client, before):
    """A resync with its reason, one more in the counter, a line in the log, no rows."""
    await client.wait(lambda: only(client.events, "resync"), what="resync")
    resync = only(client.events, "resync")[0]
    equal((resync.get("data") or resync).get("reason"), "capture_gap", f"reason of {resync}")
    equal(only(client.events, "database_change"), [], "rows that cannot be known")
    check(await in_thread(gaps, server) > before, "the gap was not counted")
    check(server.said("cannot be decoded"), "the gap was not logged")
    client.events.clear()


async def goes_on(server, client, path, number):
    """The other table is as well as before, for others and for the server itself."""
    await in_thread(others, path, ("INSERT INTO u VALUES (?, 'x')", (number,)))
    await in_thread(server.sql, "INSERT INTO u VALUES (?, 'y')", [number + 1])
    await client.wait(lambda: len(only(client.events, "database_change")) >= 2, what="two changes of the other table")
    changes = only(client.events, "database_change")
    equal([(m["table"], m["event"], m["data"], m.get("source")) for m in changes],
          [("u", "INSERT", {"id": number, "v": "x"}, "external"), ("u", "INSERT", {"id": number + 1, "v": "y"}, None)], "changes")
    client.events.clear()


async def damaged_page(how, damage):
    with Directory() as directory:
        path = directory.file("damaged.db")
        make(path)
        root = root_of(path, "t")
        with Server(path) as server:
            client = await Client.open(server)
            for table in "t", "u":
                await client.subscribe(table)
            if damage is damage_log:
                await in_thread(others, path, "UPDATE t SET v='A' WHERE id=1")
                await client.wait(lambda: client.events, what="a change before the damage")
                equal(client.events.pop(0)["data"], {"id": 1, "v": "A"}, "before the damage")
            before = await in_thread(gaps, server)
            equal(before, 0, "gaps before the damage")
            damage(path, root, how)
            await in_thread(others, path, "UPDATE t SET v='B' WHERE id=1")
            await announced(server, client, before)
            await goes_on(server, client, path, 10)
            await client.close()


@case("a page damaged in the database: a gap, and nothing wrong is reported")
async def in_file():
    for how in STRUCTURE:
        note(how.__name__)
        await damaged_page(how, damage_file)


@case("a page damaged in the log: a gap, and nothing wrong is reported")
async def in_log():
    for how in STRUCTURE:
        note(how.__name__)
        await damaged_page(how, damage_log)


@case("an overflow chain that leads nowhere: a gap when its page changes")
async def chain():
    with Directory() as directory:
        path = directory.file("chain.db")
        make(path)
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("DELETE FROM t WHERE id < 6")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        root = root_of(path, "t")

        def no_next(page):
            at = last_cell(page)
            local = (9004 - 489) % 4092 + 489 if (9004 - 489) % 4092 + 489 <= 4061 else 489
            page[at + 3 + local:at + 7 + local] = b"\x00\x00\x7f\xff"

        with Server(path) as server:
            client = await Client.open(server)
            for table in "t", "u":
                await client.subscribe(table)
            damage_file(path, root, no_next)
            before = await in_thread(gaps, server)
            await in_thread(others, path, "INSERT INTO t VALUES (7, 'new')")
            await announced(server, client, before)
            await goes_on(server, client, path, 10)
            await client.close()


@case("a schema whose root pages lie: never a crash, and true again when it is repaired")
async def schema(args):
    dice = random.Random(3)
    with Directory() as directory:
        path = directory.file("schema.db")
        make(path)
        others(path, "CREATE INDEX i ON u(v)")
        roots = {name: root_of(path, name) for name in ("t", "u", "i")}
        choices = [*roots.values(), 0, 7, 99999, 2**31 - 1]

        def write_schema(new):
            db = sqlite3.connect(path, isolation_level=None, timeout=20)
            version, = db.execute("PRAGMA schema_version").fetchone()
            db.execute("PRAGMA writable_schema=ON")
            db.execute("BEGIN IMMEDIATE")
            for name, root in new.items():
                db.execute("UPDATE sqlite_schema SET rootpage=? WHERE name=?", (root, name))
            db.execute(f"PRAGMA schema_version={version + 1}")
            db.execute("COMMIT")
            db.close()

        with Server(path) as server:
            for number in range(4 if args.quick else 20):
                client = await Client.open(server)
                await client.subscribe("t")
                lie = {name: dice.choice(choices) for name in dice.sample(list(roots), dice.randint(1, 2))}
                await in_thread(write_schema, lie)
                for statement in ("INSERT INTO u(v) VALUES ('lost')", "UPDATE t SET v='Z' WHERE id=1"):
                    try:
                        await in_thread(others, path, statement)
                    except sqlite3.DatabaseError:
                        pass  # SQLite itself may see that
                equal((await client.request("ping", sentAt=1))["type"], "pong", f"alive with {lie}")
                await in_thread(write_schema, roots)
                marker = {"id": 2, "v": f"repaired {number}"}

                def seen():
                    return any(m["type"] == "resync" or m.get("data") == marker for m in client.events)
                await in_thread(others, path, ("UPDATE t SET v=:v WHERE id=:id", marker))
                await client.wait(seen, what=f"the change or a resync after {lie}")
                note(f"{lie}: {await in_thread(gaps, server)} gaps so far")
                if any(m["type"] == "resync" for m in client.events):
                    await client.close()
                    client = await Client.open(server)
                    await client.subscribe("t")
                await in_thread(others, path, "UPDATE t SET v='as ever' WHERE id=3", "UPDATE t SET v='again' WHERE id=3")
                await client.wait(lambda: any((m.get("data") or {}).get("v") == "again" for m in client.events), what=f"a change after {lie}")
                rows = server.sql("SELECT * FROM t WHERE id < 4 ORDER BY id")["rows"]
                equal(rows[1:], [[2, marker["v"]], [3, "again"]], "rows")
                await client.close()


if __name__ == "__main__":
    main()
