#!/usr/bin/python3
"""What becomes of the tables themselves: the messages on channel `tables` and those that subscribers of a
table get, whoever did it; filters and columns that vanish; resuming across it; VACUUM's new rowids."""
import asyncio
import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, RawSocket, Server, case, check, equal, error_code, in_thread, loads, main, note, seconds  # noqa: E402


class Fixture:
    """A server, and two ways to write: over HTTP, and with SQLite's own shell beside it."""

    def __init__(self, *options, schema=""):
        self.options = options
        self.directory = Directory().__enter__()
        self.path = self.directory.file("app.db")
        self.start()
        if schema:
            self.http.sql(schema)

    def start(self):
        self.server = Server(self.path, *self.options)
        self.http = Http(self.server)

    def restart(self):
        self.http.close()
        self.server.stop()
        self.start()

    def own(self, sql):
        self.http.sql(sql)

    def shell(self, sql):
        done = subprocess.run(["sqlite3", "-bail", "-cmd", ".timeout 20000", self.path], input=sql.encode(), capture_output=True,
                              timeout=seconds(30))
        equal((done.returncode, done.stderr.decode()), (0, ""), sql)

    def writers(self):
        return {"the server": self.own, "the shell": self.shell}.items()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.http.close()
        if kind is None:
            self.server.stop()
        self.directory.__exit__()


def column(name, type_="", not_null=False, default=None, key=False, generated=None):
    return {"name": name, "type": type_, "notNull": not_null, "default": default, "primaryKey": key, "generated": generated}


def brief(m):
    """A message in a word or two, for comparing sequences."""
    names = "".join(m.get("subscriptions", []))
    if m["type"] == "database_change":
        return f"{names} {m['event']} {m['table']} {json.dumps(m['data'])}".strip()
    if m["type"] == "changes":
        return [brief(c) for c in m["changes"]]
    if m["type"] == "error":
        return f"error {m['error']['code']} {m['error']['subscription']}"
    if m["type"] == "resync":
        return f"resync {m.get('subscription', '')} {m['reason']}"
    check(m["type"].startswith("table:"), "unexpected: %s", m)
    changes = m["data"]["changes"]
    words = [w for w in (names, m["type"][6:], m["data"]["tableName"]) if w]
    words += [f"from {changes['renamedFrom']}"] if "renamedFrom" in changes else []
    words += [f"+{c}" for c in changes.get("added", [])] + [f"-{c}" for c in changes.get("dropped", [])]
    words += [f"{r['from']}>{r['to']}" for r in changes.get("renamed", [])]
    return " ".join(words)


async def snapshot_rows(client):
    """Of all pages: a small table may come in several on a slow machine."""
    rows, last = [], False
    while not last:
        message = await client.next("snapshot")
        rows, last = rows + message["data"]["rows"], message["last"]
    return rows


async def expect(client, *wanted):
    """These messages and no other, in this order."""
    got = [brief(await client.next()) for _ in wanted]
    equal(got, list(wanted), "messages")
    await client.quiet(0.15)


# ---- the messages ----------------------------------------------------------------------------

@case("created, altered, dropped: the whole of each message, by the server and by another process")
async def whole():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.join("tables")
        base = client.ack["data"]["seq"]
        for number, (who, write) in enumerate(f.writers()):
            async def message(type_, sql):
                await in_thread(write, sql)
                m = await client.next(type_)
                equal(m["data"]["timestamp"], m["timestamp"], "data's timestamp")
                check(m["id"] == f"{client.ack['data']['epoch']}:{m['seq']}" and m["channel"] == "tables", "%s", m)
                equal(m.get("source"), "external" if number else None, "source")
                check("subscriptions" not in m and isinstance(m["tx"], int), "%s", m)
                equal(m["seq"], base + 1, "seq")
                equal(set(m["data"]), {"tableName", "userId", "timestamp", "changes"}, "members of data")
                equal(m["data"]["userId"], None, "userId")
                return {"tableName": m["data"]["tableName"], **m["data"]["changes"]}
            columns = [column("id", "INTEGER", key=True), column("name", "VARCHAR(20)", True, "'it''s'"), column("n", "INT", default="1+1"),
                       column("v", "INT", generated="virtual"), column("s", "INT", generated="stored"), column("odd \"name\"")]
            made = ("CREATE TABLE t(id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'it''s', n INT DEFAULT (1+1),"
                    "v INT GENERATED ALWAYS AS (n+1) VIRTUAL, s INT AS (n+2) STORED, \"odd \"\"name\"\"\")")
            equal(await message("table:created", made), {"tableName": "t", "columns": columns}, who)
            base += 1
            columns.append(column("more", "REAL", True, "0.5"))
            equal(await message("table:altered", "ALTER TABLE t ADD COLUMN more REAL NOT NULL DEFAULT 0.5"),
                  {"tableName": "t", "columns": columns, "added": ["more"], "dropped": [], "renamed": []}, who)
            base += 1
            columns[1] = {**columns[1], "name": "title"}
            equal(await message("table:altered", "ALTER TABLE t RENAME COLUMN name TO title"),
                  {"tableName": "t", "columns": columns, "added": [], "dropped": [], "renamed": [{"from": "name", "to": "title"}]}, who)
            base += 1
            del columns[5]
            equal(await message("table:altered", "ALTER TABLE t DROP COLUMN \"odd \"\"name\"\"\""),
                  {"tableName": "t", "columns": columns, "added": [], "dropped": ["odd \"name\""], "renamed": []}, who)
            base += 1
            equal(await message("table:altered", "ALTER TABLE t RENAME TO u"),
                  {"tableName": "u", "columns": columns, "added": [], "dropped": [], "renamed": [], "renamedFrom": "t"}, who)
            base += 1
            equal(await message("table:dropped", "DROP TABLE u"), {"tableName": "u", "columns": columns}, who)
            base += 1
        await client.quiet()
        await client.close()


@case("what is rolled back, and what concerns no table, is not heard; IF NOT EXISTS either")
async def silence():
    with Fixture(schema="CREATE TABLE t(a)") as f:
        client = await Client.open(f.server)
        await client.join("tables")
        await client.subscribe("t")
        for _, write in f.writers():
            write("BEGIN; CREATE TABLE x(a); ALTER TABLE t ADD COLUMN b; DROP TABLE t; ROLLBACK;")
            write("BEGIN; SAVEPOINT s; DROP TABLE t; ROLLBACK TO s; INSERT INTO t VALUES (1); COMMIT;")
            write("CREATE TABLE IF NOT EXISTS t(z); CREATE INDEX i ON t(a); CREATE VIEW w AS SELECT * FROM t;"
                  "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END; DROP TRIGGER g; DROP VIEW w; DROP INDEX i; ANALYZE;")
        f.http.try_sql("BEGIN; CREATE TABLE y(a); SELECT nope; COMMIT")
        f.http.try_sql(statements=[{"sql": "DROP TABLE t"}, {"sql": "SELECT nope"}])
        await expect(client, 's1 INSERT t {"a": 1}', 's1 INSERT t {"a": 1}')
        await client.close()


@case("several statements in one transaction: created and altered, then rows, then dropped, as they are at its end")
async def together():
    for number in range(2):
        with Fixture(schema="CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE TABLE gone(x); CREATE TABLE swap(old)") as f:
            who, write = list(f.writers())[number]
            plain, batched = await Client.open(f.server), await Client.open(f.server)
            for client, options in (plain, {}), (batched, {"batch": True}):
                await client.join("tables")
                await client.subscribe("*", **options)
            write("BEGIN; INSERT INTO gone VALUES (1); INSERT INTO t VALUES (2); ALTER TABLE t ADD COLUMN b DEFAULT 'x';"
                  "ALTER TABLE t RENAME COLUMN a TO c; ALTER TABLE t RENAME TO u; DROP TABLE gone; CREATE TABLE brief(x);"
                  "INSERT INTO brief VALUES (1); DROP TABLE brief; DROP TABLE swap; CREATE TABLE swap(new); INSERT INTO swap VALUES (3);"
                  "CREATE TABLE copy AS SELECT c * 10 AS n FROM u; COMMIT;")
            rows = ['s1 INSERT swap {"new": 3}', 's1 INSERT copy {"n": 10}', 's1 INSERT copy {"n": 20}', 's1 INSERT u {"c": 2, "b": "x"}']
            if number == 0:
                ddl, last = ["dropped swap", "altered u from t +b a>c", "created copy", "created swap"], ["dropped gone"]
                rows.append('s1 INSERT gone {"x": 1}')
            else:  # of what another process did only the result is seen: a table changed so much is a new one
                ddl, last = ["altered swap old>new", "created copy", "created u"], ["dropped gone", "dropped t"]
                rows.append('s1 INSERT u {"c": 1, "b": "x"}')
            got = [await plain.next() for _ in range(len(ddl) + len(rows) + len(last))]
            equal(len({m["tx"] for m in got}), 1, "transactions")
            equal([m["seq"] for m in got], list(range(got[0]["seq"], got[0]["seq"] + len(got))), "seq")
            got = [brief(m) for m in got]
            equal((got[:len(ddl)], sorted(got[len(ddl):-len(last)]), got[-len(last):]), (ddl, sorted(rows), last), who)
            got = [brief(await batched.next()) for _ in range(len(ddl) + 1 + len(last))]
            equal((got[:len(ddl)], sorted(got[len(ddl)]), got[len(ddl) + 1:]), (ddl, sorted(rows), last), who + ", batch")
            await plain.quiet()
            await batched.quiet()
            await plain.close()
            await batched.close()


@case("CREATE TABLE AS SELECT: its rows are INSERTs after the creation; many of them as well")
async def as_select():
    for number in range(2):
        with Fixture(schema="CREATE TABLE t(a)") as f:
            write = list(f.writers())[number][1]
            client = await Client.open(f.server)
            await client.join("tables")
            await client.subscribe("*")
            await in_thread(write, "CREATE TABLE c AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) "
                            "SELECT i, 'row ' || i AS text FROM n")
            await client.next("table:created")
            for i in range(1, 5001):
                equal((await client.next("database_change"))["data"], {"i": i, "text": f"row {i}"}, "row")
            await client.quiet()
            await client.close()


# ---- subscriptions ---------------------------------------------------------------------------

@case("who subscribes to a table hears of its DDL, and its subscription comes alive again when the table is made anew")
async def alive_again():
    for number in range(2):
        with Fixture(schema="CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE other(x)") as f:
            write = list(f.writers())[number][1]
            client, channel = await Client.open(f.server), await Client.open(f.server)
            await client.subscribe("t", filter="a>=10", events=["insert"])
            await client.subscribe("t", batch=True)
            await client.subscribe("*")
            await client.subscribe("other")
            await channel.join("tables")
            await channel.subscribe("T")
            write("BEGIN; INSERT INTO t VALUES (1, 10); DROP TABLE t; COMMIT;")
            # The rows of a table that another process dropped are not known any more.
            rows = [] if number else ['s1s3 INSERT t {"id": 1, "a": 10}', ['s2 INSERT t {"id": 1, "a": 10}']]
            await expect(client, *rows, "s1s2 dropped t")
            await expect(channel, *([] if number else ['s1 INSERT t {"id": 1, "a": 10}']), "dropped t")
            reply = await client.request("subscribe", table="t")
            equal(error_code(reply), "NOT_FOUND", "subscribing to a dropped table")
            write("CREATE TABLE t(a, more)")
            await expect(client, "s1s2 created t")
            await expect(channel, "created t")
            write("INSERT INTO t VALUES (9, 1), (10, 2);")
            await expect(client, 's3 INSERT t {"a": 9, "more": 1}', 's1s3 INSERT t {"a": 10, "more": 2}',
                         ['s2 INSERT t {"a": 9, "more": 1}', 's2 INSERT t {"a": 10, "more": 2}'])
            await expect(channel, 's1 INSERT t {"a": 9, "more": 1}', 's1 INSERT t {"a": 10, "more": 2}')
            write("DROP TABLE t; CREATE TABLE t(b);")
            # Without the column of its filter the first subscription cannot go on.
            got = [brief(await client.next()) for _ in range(3)]
            equal(sorted(got), ["error INVALID_FILTER s1", "s1s2 dropped t" if number == 0 or "s1s2 dropped t" in got else "s2 dropped t",
                                "s2 created t"], "messages")
            await client.quiet()
            equal(error_code(await client.request("unsubscribe", subscription="s1")), "NOT_FOUND", "the ended one")
            await client.close()
            await channel.close()


@case("a filter or list of columns whose column vanishes or is renamed: an error that names the subscription")
async def vanished():
    for number in range(2):
        with Fixture(schema="CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, c)") as f:
            write = list(f.writers())[number][1]
            client = await Client.open(f.server)
            await client.subscribe("t", filter="a=1")
            await client.subscribe("t", filter=["b=1", "c=1"])
            await client.subscribe("t", columns=["id", "a"])
            await client.subscribe("t", columns=["id", "b"])
            await client.subscribe("t", filter="id=1", columns=["c"])
            write("ALTER TABLE t DROP COLUMN a")
            message = await client.next("error")
            check("s1" in message["error"]["message"] and "table t" in message["error"]["message"] and '"a"' in message["error"]["message"]
                  or " a" in message["error"]["message"], "%s", message)
            equal((message["error"]["code"], message["error"]["subscription"], message["data"]["subscription"]), ("INVALID_FILTER", "s1", "s1"), "error")
            check("requestId" not in message, "%s", message)
            message = await client.next("error")
            equal((message["error"]["code"], message["error"]["subscription"]), ("NOT_FOUND", "s3"), "error about a column")
            await expect(client, "s2s4s5 altered t -a")
            write("ALTER TABLE t RENAME COLUMN b TO bb")
            await expect(client, "error INVALID_FILTER s2", "error NOT_FOUND s4", "s5 altered t b>bb")
            write("INSERT INTO t VALUES (1, 2, 3), (2, 2, 3)")
            await expect(client, 's5 INSERT t {"c": 3}')
            await client.subscribe("t", filter="bb=2", columns=["bb"])
            write("DELETE FROM t WHERE id = 2")
            await expect(client, 's6 DELETE t {"bb": 2}')
            await client.close()


@case("a subscription stays with the table's name, whatever table has it")
async def renamed():
    for number in range(2):
        with Fixture(schema="CREATE TABLE t(a); CREATE TABLE u(a)") as f:
            write = list(f.writers())[number][1]
            client = await Client.open(f.server)
            await client.subscribe("t")
            await client.subscribe("u")
            write("DROP TABLE u")
            await expect(client, "s2 dropped u")
            write("BEGIN; INSERT INTO t VALUES (1); ALTER TABLE t RENAME TO u; COMMIT;")
            await expect(client, "s1s2 altered u from t", 's2 INSERT u {"a": 1}')
            write("INSERT INTO u VALUES (2)")
            await expect(client, 's2 INSERT u {"a": 2}')
            write("CREATE TABLE t(a)")
            await expect(client, "s1 created t")
            write("INSERT INTO t VALUES (3)")
            await expect(client, 's1 INSERT t {"a": 3}')
            write("BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u; INSERT INTO t VALUES (4); COMMIT;")
            if number == 0:
                got = [brief(await client.next()) for _ in range(3)]
                equal((sorted(got[:2]), got[2]), (["s1s2 altered t from u", "s1s2 altered u from t"], 's1 INSERT t {"a": 4}'), "names exchanged")
                await client.quiet()
            else:  # only the result is seen: tables of the same names and columns with other rows
                rows = {"t": {1: 3}, "u": {1: 1, 2: 2}}
                while rows != {"t": {1: 1, 2: 2, 3: 4}, "u": {1: 3}}:
                    m = await client.next("database_change")
                    rows[m["table"]].pop((m.get("oldKey") or m["key"])["rowid"], None)
                    if m["event"] != "DELETE":
                        rows[m["table"]][m["key"]["rowid"]] = m["data"]["a"]
                await client.quiet()
            await client.close()


# ---- the past --------------------------------------------------------------------------------

@case("DDL is kept: resumed from memory, from the journal after a restart, over SSE, and behind a snapshot")
async def past():
    with Fixture("--journal", schema="CREATE TABLE t(id INTEGER PRIMARY KEY, a)") as f:
        client = await Client.open(f.server)
        since, epoch = client.ack["data"]["seq"], client.ack["data"]["epoch"]
        f.own("INSERT INTO t VALUES (1, 1)")
        f.shell("ALTER TABLE t ADD COLUMN b DEFAULT 7")
        f.own("INSERT INTO t VALUES (2, 2, 2); DROP TABLE t")
        f.shell("CREATE TABLE t(id INTEGER PRIMARY KEY, c); INSERT INTO t VALUES (3, 3);")
        f.own("INSERT INTO t VALUES (4, 4)")
        await client.close()
        wanted = ['s1 INSERT t {"id": 1, "a": 1}', "s1 altered t +b", 's1 INSERT t {"id": 2, "a": 2, "b": 2}', "s1 dropped t", "s1 created t",
                  's1 INSERT t {"id": 3, "c": 3}', 's1 INSERT t {"id": 4, "c": 4}']
        for _ in range(2):
            client = await Client.open(f.server)
            await client.subscribe("t", since=since, epoch=epoch)
            got = [await client.next() for _ in wanted]
            equal([brief(m) for m in got], wanted, "resumed")
            equal([m["seq"] for m in got], list(range(since + 1, since + 1 + len(got))), "seq")
            reply = await client.request("subscribe", channel="tables", since=since, epoch=epoch)
            equal(reply["type"], "subscribed", str(reply))
            await expect(client, "altered t +b", "dropped t", "created t")
            await client.close()
            client = await Client.open(f.server)
            await client.subscribe("t", since=f"{epoch}:{since}", batch=True, filter="id>0")
            await expect(client, [wanted[0]], wanted[1], [wanted[2]], wanted[3], wanted[4], [wanted[5]], [wanted[6]])
            await client.close()
            raw = RawSocket(f.server)
            raw.send(f"GET /api/changes?table=t HTTP/1.1\r\nHost: {raw.host}\r\nAccept: text/event-stream\r\nLast-Event-ID: {epoch}:{since}\r\n\r\n".encode())
            check("200" in raw.head(), "no stream")
            events, number = [], since
            while len(events) < len(wanted):
                while b"\n\n" not in raw.buffer:
                    check(raw.fill(), "the stream ended")
                event, raw.buffer = raw.buffer.split(b"\n\n", 1)
                fields = dict(line.split(": ", 1) for line in event.decode().split("\n") if ": " in line and not line.startswith(":"))
                if "event" in fields or "data" not in fields:
                    continue
                number += 1
                equal(fields["id"], f"{epoch}:{number}", "id of an event")
                events.append(brief(loads(fields["data"])))
            raw.close()
            equal(events, wanted, "over SSE")
            f.restart()
        client = await Client.open(f.server)
        await client.subscribe("t", snapshot=True)
        equal([r["data"] for r in await snapshot_rows(client)], [{"id": 3, "c": 3}, {"id": 4, "c": 4}], "rows")
        f.shell("ALTER TABLE t ADD COLUMN d")
        await expect(client, "s1 altered t +d")
        await client.close()


@case("a filter that does not fit the past: the client is told to resynchronise, and is live")
async def past_filter():
    with Fixture(schema="CREATE TABLE t(a); INSERT INTO t VALUES (1)") as f:
        client = await Client.open(f.server)
        f.own("ALTER TABLE t ADD COLUMN b; INSERT INTO t VALUES (2, 2)")
        await client.subscribe("t", since=0, filter="b=2")
        await expect(client, "resync s1 schema_changed")
        f.own("INSERT INTO t VALUES (3, 2)")
        await expect(client, 's1 INSERT t {"a": 3, "b": 2}')
        await client.close()


# ---- VACUUM ----------------------------------------------------------------------------------

KEYLESS = "CREATE TABLE log(text); INSERT INTO log VALUES ('a'), ('b'), ('c'); DELETE FROM log WHERE text = 'a'"


@case("VACUUM where no rowid changes: not a word, and no seq")
async def vacuum_keeps():
    with Fixture("--journal", schema="CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE k(name TEXT PRIMARY KEY, a); CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID;"
                 "CREATE TABLE dense(a); CREATE TABLE i(a); CREATE INDEX ia ON i(a);") as f:
        for table, values in ("t", "(3, 1), (9, 2)"), ("k", "('a', 1), ('b', 2), ('c', 3)"), ("w", "(1), (5)"), ("dense", "(1), (2)"), ("i", "(1), (2), (3)"):
            f.own(f"INSERT INTO {table} VALUES {values}")
        f.own("DELETE FROM k WHERE a = 2; DELETE FROM i WHERE a = 1")
        client = await Client.open(f.server)
        await client.join("tables")
        await client.subscribe("*")
        await client.subscribe("k")
        seq = f.http.sql("SELECT 1")["seq"]
        equal(f.http.sql("VACUUM")["seq"], seq, "seq")
        f.own("INSERT INTO t VALUES (10, 3)")
        await expect(client, 's1 INSERT t {"id": 10, "a": 3}')
        await client.close()


@case("VACUUM that renumbers: resync in its place of the sequence, to those whom it concerns; nobody gets past it")
async def vacuum():
    with Fixture("--journal", schema=KEYLESS + "; CREATE TABLE t(id INTEGER PRIMARY KEY)") as f:
        client, other = await Client.open(f.server), await Client.open(f.server)
        since, epoch = client.ack["data"]["seq"], client.ack["data"]["epoch"]
        await client.subscribe("log", filter="text='c'", events=["update"], batch=True)
        await client.subscribe("*", batch=True)
        await other.subscribe("t")
        await other.join("tables")
        f.own("INSERT INTO log VALUES ('d')")
        await expect(client, ['s2 INSERT log {"text": "d"}'])
        answer = f.http.sql("VACUUM")
        equal(answer["seq"], since + 2, "seq of the answer")
        for name in "s1", "s2":
            m = await client.next("resync")
            body = {"subscription": name, "table": "log", "reason": "rowids_renumbered", "seq": since + 2}
            equal(({k: m[k] for k in body}, m["data"]), (body, body), "resync")
        f.own("UPDATE log SET text = 'C' WHERE text = 'c'; INSERT INTO t VALUES (1)")
        m = await client.next("changes")
        equal([m["changes"][0]["key"], m["changes"][0]["seq"]], [{"rowid": 2}, since + 3], "the new rowid")
        await expect(client, ['s2 INSERT t {"id": 1}'])
        await expect(other, 's1 INSERT t {"id": 1}')
        for _ in range(2):
            late = await Client.open(f.server)
            reply = await late.request("subscribe", table="log", since=since, epoch=epoch)
            equal(reply["data"]["recovered"], True, "recovered")
            await expect(late, 's1 INSERT log {"text": "d"}', "resync s1 rowids_renumbered", 's1 UPDATE log {"text": "C"}')
            await late.subscribe("t", since=since, epoch=epoch)
            await late.subscribe("log", since=since + 2, epoch=epoch)
            await expect(late, 's2 INSERT t {"id": 1}', 's3 UPDATE log {"text": "C"}')
            await late.close()
            await client.close()
            await other.close()
            f.restart()
        # What is read anew holds, and is not lost again.
        late = await Client.open(f.server)
        reply = await late.request("subscribe", table="log", snapshot=True)
        rows = await snapshot_rows(late)
        equal([(r["key"]["rowid"], r["data"]["text"]) for r in rows], [(1, "b"), (2, "C"), (3, "d")], "rows")
        await late.quiet()
        f.own("DELETE FROM log WHERE rowid = 1; VACUUM")
        equal([(await late.next())["type"] for _ in range(2)], ["database_change", "resync"], "again")
        reply = await late.request("subscribe", table="log", snapshot=True)
        equal(reply["data"]["seq"], f.http.sql("SELECT 1")["seq"], "seq of the new snapshot")
        rows = await snapshot_rows(late)
        equal([r["key"]["rowid"] for r in rows], [1, 2], "rows")
        await late.quiet()
        await late.close()


@case("VACUUM renumbers while there is no journal, and without following others: the next snapshot holds")
async def vacuum_snapshot():
    for options in (), ("--no-external",), ("--no-external", "--journal"):
        with Fixture(*options, schema=KEYLESS) as f:
            client = await Client.open(f.server)
            await client.subscribe("log")
            f.own("VACUUM")
            await expect(client, "resync s1 rowids_renumbered")
            await client.subscribe("log", snapshot=True)
            equal([r["key"]["rowid"] for r in await snapshot_rows(client)], [1, 2], "rows")
            await client.quiet()
            await client.close()


@case("VACUUM of another process: the renumbered rows are changes, and no resync")
async def vacuum_by_others():
    with Fixture(schema=KEYLESS + "; CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (5), (7)") as f:
        client = await Client.open(f.server)
        await client.subscribe("*")
        rows = {2: "b", 3: "c"}
        f.shell("VACUUM;")
        f.own("INSERT INTO log VALUES ('end')")
        while "end" not in rows.values():
            m = await client.next("database_change")
            equal(m["table"], "log", str(m))
            if m["event"] != "INSERT":
                del rows[(m.get("oldKey") or m["key"])["rowid"]]
            if m["event"] != "DELETE":
                rows[m["key"]["rowid"]] = m["data"]["text"]
        equal(rows, {1: "b", 2: "c", 3: "end"}, "rows")
        equal(f.http.sql("SELECT rowid, text FROM log")["rows"], [[k, v] for k, v in sorted(rows.items())], "rows in the file")
        await client.quiet()
        await client.close()


@case("VACUUM with a journal, a checkpoint by another process, and a crash: the history goes on")
async def vacuum_and_crash():
    for schema in "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, zeroblob(500000))", KEYLESS:
        with Fixture("--journal", schema=schema) as f:
            epoch = f.server.get("/health").json["database"]["epoch"]
            f.own("VACUUM")
            await asyncio.sleep(0.1)
            f.shell("PRAGMA wal_checkpoint(PASSIVE);")
            seq = f.http.sql("SELECT 1")["seq"]
            f.http.close()
            f.server.kill()
            f.start()
            health = f.server.get("/health").json["database"]
            equal((health["epoch"], health["seq"]), (epoch, seq), "epoch and seq")


def committed_frames(path):
    """By the head of the log's index, which is in the machine's byte order."""
    with open(path + "-shm", "rb") as file:
        return struct.unpack_from("=I", file.read(20), 16)[0]


@case("VACUUM while the server is down, as a kill right after one of its own leaves it: the history goes on")
async def vacuum_missed():
    # most pages are as they were, in the log as in the file, so that they cannot tell how far a checkpoint came
    rows = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, zeroblob(500000)); VACUUM; DELETE FROM t"
    for schema, told in (rows, 0), (KEYLESS, 1):
        with Fixture("--journal", schema=schema) as f:
            epoch, seq = f.server.get("/health").json["database"]["epoch"], f.http.sql("SELECT 1")["seq"]
            keeper = sqlite3.connect(f.path)  # so that the log outlives both
            keeper.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            f.http.close()
            f.server.kill()
            anew = committed_frames(f.path) == 0
            f.shell("VACUUM;")
            f.start()
            # killed in the moment in which it began the log anew: it may be that nobody knows what came between
            if anew and f.server.get("/health").json["database"]["epoch"] != epoch:
                note("killed while the log began anew: a new history")
                keeper.close()
                continue
            end = time.monotonic() + seconds(10)
            while f.server.get("/health").json["database"]["seq"] < seq + told and time.monotonic() < end:
                time.sleep(0.02)
            client = await Client.open(f.server)
            equal((client.ack["data"]["epoch"], client.ack["data"]["seq"]), (epoch, seq + told), "epoch and seq")
            table = "log" if told else "t"
            reply = await client.request("subscribe", table=table, since=seq, epoch=epoch)
            equal(reply["data"]["recovered"], True, "recovered")
            f.own(f"INSERT INTO {table} VALUES ({'NULL' if told else '7, NULL'})")
            await expect(client, *["resync s1 rowids_renumbered"] * told,
                         's1 INSERT log {"text": null}' if told else 's1 INSERT t {"id": 7, "a": null}')
            await client.close()
            keeper.close()


class Copy:
    """The rows of `log` by their rowids, read anew when they were renumbered."""

    def __init__(self, client):
        self.client, self.rows, self.seq, self.last, self.resyncs = client, None, 0, None, 0

    async def read(self):
        await self.client.send({"type": "unsubscribe"})
        await self.client.send({"type": "subscribe", "table": "log", "snapshot": True})

    async def follow(self, reached):
        await self.read()
        while self.last is None or self.rows is None or not reached(self):
            m = await self.client.next()
            if m["type"] == "subscribed":
                self.last, self.rows = m["data"]["subscription"], None
            elif m["type"] == "snapshot" and m["subscription"] == self.last:
                self.rows = {**(self.rows or {}), **{r["key"]["rowid"]: r["data"]["n"] for r in m["data"]["rows"]}}
                self.seq = m["seq"]
            elif m["type"] == "resync" and m["subscription"] == self.last:
                equal(m["reason"], "rowids_renumbered", str(m))
                self.resyncs, self.last = self.resyncs + 1, None
                await self.read()
            elif m["type"] == "database_change" and m["subscriptions"] == [self.last]:
                self.change(m)

    def change(self, m):
        check(m["seq"] > self.seq, "seq %s after %s", m["seq"], self.seq)
        self.seq = m["seq"]
        if m["event"] != "INSERT":
            old = (m.get("oldKey") or m["key"])["rowid"]
            equal(self.rows.pop(old, None), m["old"]["n"], f"the row of {m}")
        if m["event"] != "DELETE":
            check(m["key"]["rowid"] not in self.rows, "there is a row already: %s", m)
            self.rows[m["key"]["rowid"]] = m["data"]["n"]


@case("VACUUM again and again while rows come and go, by several: who reads anew has the rows of the table")
async def vacuum_under_load(args):
    for options in (), ("--journal",), ("--no-external",):
        with Fixture(*options, schema="CREATE TABLE log(n); CREATE TABLE fence(id INTEGER PRIMARY KEY, n)") as f:
            copies = [Copy(await Client.open(f.server)) for _ in range(3)]
            end = [None]
            following = [asyncio.ensure_future(c.follow(lambda c: end[0] and c.seq >= end[0])) for c in copies]
            stop = [False]

            def churn(write, seed, pause):
                dice = random.Random(seed)
                while not stop[0]:
                    write(f"INSERT INTO log VALUES ({dice.randrange(1000)}), ({dice.randrange(1000)});"
                          f"DELETE FROM log WHERE n % 7 = {dice.randrange(7)}; UPDATE log SET n = n + 1 WHERE n % 5 = {dice.randrange(5)};")
                    time.sleep(pause)

            jobs = [in_thread(churn, lambda sql: Http(f.server).sql(sql), 1, 0)]
            if "--no-external" not in options:
                jobs.append(in_thread(churn, f.shell, 2, 0.01))
            jobs = [asyncio.ensure_future(j) for j in jobs]
            for _ in range(10 if args.quick else 40):
                await in_thread(f.own, "VACUUM")
                await asyncio.sleep(0.02)
            stop[0] = True
            await asyncio.gather(*jobs)
            answer = f.http.sql("INSERT INTO log VALUES ('end')")
            end[0] = answer["seq"]
            await asyncio.wait_for(asyncio.gather(*following), seconds(30))
            wanted = dict(f.http.sql("SELECT rowid, n FROM log")["rows"])
            for copy in copies:
                equal(copy.rows, wanted, "rows")
            note(f"{' '.join(options)}: seq {end[0]}, resyncs {[c.resyncs for c in copies]}")
            for copy in copies:
                await copy.client.close()


if __name__ == "__main__":
    main()
