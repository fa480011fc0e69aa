#!/usr/bin/python3
"""Policies: what a role may see and do by every way in, and that nothing else of the database shows, be it in
answers, in errors or in the difference between two errors."""
import asyncio
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, case, check, equal, error_code, main, run, seconds  # noqa: E402
from policed import POLICY, RESTRICTED, SECRET, Policed, token, write  # noqa: E402


def view(message):
    """What a change tells, without what differs from run to run."""
    return {k: message[k] for k in ("event", "key", "oldKey", "data", "old", "transition") if k in message}


CHANGES = """
INSERT INTO notes VALUES (10,'ann','t','s'),(11,'bob','t','s');
UPDATE notes SET secret='changed' WHERE id IN (10,11);
UPDATE notes SET title='u', secret='z' WHERE id IN (10,11);
UPDATE notes SET user_id='ann' WHERE id=11;
UPDATE notes SET user_id='bob', title='gone', secret='q' WHERE id=10;
UPDATE notes SET title='far' WHERE id=10;
UPDATE notes SET id=12, user_id='bob' WHERE id=11;
DELETE FROM notes WHERE id=10;
UPDATE notes SET id=13, user_id='ann', title='back' WHERE id=12;
UPDATE notes SET id=14 WHERE id=13;
DELETE FROM notes WHERE id=14;
INSERT INTO wages VALUES (10,'ann',1);
UPDATE notes SET user_id=NULL WHERE id=3;
UPDATE notes SET user_id='ann' WHERE id=3;
"""


def note_of(id_, title):
    return {"id": id_, "user_id": "ann", "title": title}


# What ann hears of CHANGES, whatever the way.
HEARD = [
    {"event": "INSERT", "key": {"id": 10}, "data": note_of(10, "t")},
    {"event": "UPDATE", "key": {"id": 10}, "data": note_of(10, "u"), "old": note_of(10, "t")},
    {"event": "INSERT", "key": {"id": 11}, "data": note_of(11, "u")},
    {"event": "DELETE", "key": {"id": 10}, "data": {"id": 10}, "old": {"id": 10}},
    {"event": "DELETE", "key": {"id": 11}, "data": {"id": 11}, "old": {"id": 11}},
    {"event": "INSERT", "key": {"id": 13}, "data": note_of(13, "back")},
    {"event": "UPDATE", "key": {"id": 14}, "oldKey": {"id": 13}, "data": note_of(14, "back"), "old": note_of(13, "back")},
    {"event": "DELETE", "key": {"id": 14}, "data": note_of(14, "back"), "old": note_of(14, "back")},
    {"event": "DELETE", "key": {"id": 3}, "data": {"id": 3}, "old": {"id": 3}},
    {"event": "INSERT", "key": {"id": 3}, "data": note_of(3, "a2")},
]


# ---- the start and SIGHUP --------------------------------------------------------------------

@case("a policy is checked at the start")
def checked_at_the_start():
    with Directory() as d:
        secret = write(d.file("secret"), SECRET.decode())
        code, out, err = run("serve", d.file("a.db"), "--listen", "127.0.0.1:0", "--policy", d.file("none"))
        equal((code, out), (2, ""))
        check("--policy" in err and "--jwt-secret-file" in err, err)
        bad = [("none.json", None, "No such file"),
               ("broken.json", '{"roles":\n{', "line 2"),
               ("member.json", '{"roles":{"user":{\n\n"tabels":{}}}}', "line 3: roles.user.tabels: unknown member"),
               ("rule.json", '{"roles":{"user":{"tables":{"t":{"rows":"a={"}}}}}', "roles.user.tables.t.rows")]
        for name, text, message in bad:
            path = write(d.file(name), text) if text else d.file(name)
            code, out, err = run("serve", d.file("a.db"), "--listen", "127.0.0.1:0", "--jwt-secret-file", secret, "--policy", path)
            equal((code, out), (1, ""), name)
            check(message in err and path in err, "%s: %s", name, err)
            check("listening" not in err, err)


@case("what does not fit the database is told at the start")
def compared_at_the_start():
    policy = {"roles": {"admin": POLICY["roles"]["admin"],
                        "user": {"tables": {"nosuch": {"read": True}, "notes": {"read": ["id", "titel"]}}}}}
    with Policed(policy) as p:
        p.wait_log("roles.user.tables.nosuch: there is no table of this name")
        write(p.policy_path, policy)
        p.hang_up()
        p.wait_log("roles.user.tables.notes.read[1]: the table notes has no column")


@case("a changed policy holds at once, a bad one never")
async def reread():
    with Policed() as p:
        ann, admin = await p.client(), await p.client("admin", "root")
        await ann.subscribe("notes")
        await ann.join("room:1")
        await admin.subscribe("notes")
        for bad, message in [('{"roles":{\n"user":{"sqll":true}}}', "line 2: roles.user.sqll"), ("", "line"),
                             ('{"roles":{"user":{"tables":{"notes":{"rows":"user_id={sub"}}}}}', "notes.rows")]:
            write(p.policy_path, bad)
            seen = p.server.stderr().count("so the one from before stays in use")
            p.hang_up()
            p.wait_log("so the one from before stays in use", seen + 1)
            check(p.policy_path in p.server.stderr() and message in p.server.stderr(), p.server.stderr()[-500:])
        p.admin("INSERT INTO notes VALUES (20,'ann','x','y'),(21,'bob','x','y')")
        equal(view(await ann.next("database_change")), {"event": "INSERT", "key": {"id": 20}, "data": note_of(20, "x")})
        changed = json.loads(json.dumps(POLICY))
        changed["roles"]["user"]["tables"]["notes"]["read"] = ["id", "title"]
        write(p.policy_path, changed)
        p.hang_up()
        equal(await ann.wait_closed(), 1012)
        check("policy was changed" in ann.closed[1], ann.closed)
        equal([error_code(e) for e in ann.events], ["FORBIDDEN"])
        again = await p.client()
        await again.subscribe("notes")
        p.admin("INSERT INTO notes VALUES (22,'ann','x','y')")
        equal(view(await again.next("database_change")), {"event": "INSERT", "key": {"id": 22}, "data": {"id": 22, "title": "x"}})
        for _ in range(3):
            await admin.next("database_change")
        check(admin.closed is None, "an admin's rights are the same")
        columns = [c["name"] for t in p.get("/api/tables").json["tables"] if t["name"] == "notes" for c in t["columns"]]
        equal(columns, ["id", "title"])
        del changed["roles"]["user"]
        write(p.policy_path, changed)
        p.hang_up()
        equal(await again.wait_closed(), 1012)
        p.hang_up()  # nothing has changed
        p.wait_log("policy read", 3)
        await admin.subscribe("wages")
        check(admin.closed is None)
        await admin.close()


@case("streams and polls of a role that changes end")
def reread_streams():
    with Policed() as p:
        raw = p.events("table=notes")
        check(raw.head().startswith("HTTP/1.1 200"))
        write(p.policy_path, {"roles": {"admin": POLICY["roles"]["admin"]}})
        p.hang_up()
        end = time.monotonic() + seconds(10)
        while raw.fill():
            check(time.monotonic() < end, "the stream goes on")
        answer = p.get("/api/changes?table=notes")
        equal((answer.status, answer.code), (404, "NOT_FOUND"))


# ---- rows and columns ------------------------------------------------------------------------

async def collect(client, count):
    changes = []
    while len(changes) < count:
        message = await client.next("database_change", "changes", "snapshot")
        changes += message.get("changes", [message]) if message["type"] != "snapshot" else []
    await client.quiet()
    return [view(c) for c in changes]


@case("live, together and from the past a reader sees the same")
async def every_stream():
    with Policed() as p:
        position = p.admin("SELECT 1")["seq"]
        live, together, late = await p.client(), await p.client(), await p.client()
        epoch = live.ack["data"]["epoch"]
        await live.subscribe("Notes")
        await together.subscribe("notes", batch=True)
        stream = p.events("table=notes")
        check(stream.head().startswith("HTTP/1.1 200"))
        p.admin(CHANGES)
        equal(await collect(live, len(HEARD)), HEARD, "live")
        equal(await collect(together, len(HEARD)), HEARD, "batch")
        await late.subscribe("notes", since=position, epoch=epoch)
        equal(await collect(late, len(HEARD)), HEARD, "since")
        poll = p.get(f"/api/changes?table=notes&since={epoch}:{position}")
        equal([view(c) for c in poll.json], HEARD, "long poll")
        again = p.events("table=notes", last=f"{epoch}:{position}")
        check(again.head().startswith("HTTP/1.1 200"))
        for name, raw in (("SSE", stream), ("Last-Event-ID", again)):
            data = []
            while len(data) < len(HEARD):
                check(b"\n" in raw.buffer or raw.fill(), "the stream ended")
                line, _, raw.buffer = raw.buffer.partition(b"\n") if b"\n" in raw.buffer else (b"", b"", raw.buffer)
                if line.startswith(b"data:") and b"database_change" in line:
                    data.append(view(json.loads(line[5:])))
            equal(data, HEARD, name)
            raw.socket.close()
        for client in (live, together, late):
            await client.close()


@case("a snapshot has the permitted rows and columns")
async def snapshots():
    with Policed() as p:
        for claims, table, wanted in [
                ({}, "notes", [note_of(1, "a1"), note_of(3, "a2")]),
                ({"sub": "bob"}, "notes", [{"id": 2, "user_id": "bob", "title": "b1"}]),
                ({"sub": "Ann"}, "notes", [{"id": 5, "user_id": "Ann", "title": "A"}]),
                ({"sub": "{sub}"}, "notes", [{"id": 7, "user_id": "{sub}", "title": "brace"}]),
                ({"sub": "ann' or 1=1 --"}, "notes", []), ({"sub": "null"}, "notes", []), ({"sub": None}, "notes", []),
                ({"sub": "ann", "team": 3, "level": 2}, "teams", [{"id": 1, "team": 3, "name": "red", "level": 1}]),
                ({"team": "3", "level": "2"}, "teams", [{"id": 1, "team": 3, "name": "red", "level": 1}]),
                ({"team": "3,4", "level": 9}, "teams", []), ({"team": "3) or (1=1", "level": 9}, "teams", []),
                ({"team": 4, "level": 1}, "teams", []), ({"team": [3, 4], "level": 9}, "teams", []),
                ({"team": None, "level": 9}, "teams", []), ({"team": 3}, "teams", []), ({"level": 9}, "teams", []),
                ({}, "public", [{"id": 1, "v": "p"}])]:
            client = await p.client(**claims)
            await client.subscribe(table, snapshot=True)
            message = await client.next("snapshot")
            equal([r["data"] for r in message["data"]["rows"]], wanted, f"{claims} {table}")
            equal([r["key"] for r in message["data"]["rows"]], [{"id": r["id"]} for r in wanted])
            equal(message["last"], True)
            await client.close()


@case("no filter widens a rule")
async def filters():
    with Policed() as p:
        tries = ["user_id='bob'", "user_id!='ann'", "user_id<>''", "user_id in ('bob','ann')", "id=11", "id>0",
                 "id in (10,11)", "rowid=11", "title is not null", "user_id is not null", "user_id is null",
                 "user_id>=''", "user_id='ann' or 1=1", "user_id='ann'' or user_id=''bob'", "user_id={sub}",
                 "user_id='{sub}'", "\"user_id\"='bob'", "USER_ID='bob'", "title=t", ["user_id='bob'", "user_id='ann'"],
                 "user_id x'626f62'", "user_id=x'626f62'", "user_id='ANN'", "title='t' -- "]
        clients = []
        for text in tries:
            client = await p.client()
            reply = await client.request("subscribe", table="notes", filter=text, snapshot=True)
            if reply["type"] == "subscribed":
                clients.append((text, client, client))
            else:
                equal(error_code(reply), "INVALID_FILTER", f"{text}: {reply}")
                check("secret" not in json.dumps(reply), "%s: %s", text, reply)
                await client.close()
        check(len(clients) > 15, "only %d were good filters", len(clients))
        p.admin(CHANGES)
        for text, client, _ in clients:
            await asyncio.sleep(0.02)
            for message in client.events:
                check("bob" not in json.dumps(message) and "secret" not in json.dumps(message), "%s: %s", text, message)
                for row in message["data"].get("rows", []) if message["type"] == "snapshot" else []:
                    equal(row["data"]["user_id"], "ann", text)
            await client.close()


# ---- what is denied is not there -------------------------------------------------------------

def without(text, *names):
    for name in names:
        text = text.replace(name, "X")
    return text


@case("a denied table or column answers as one that does not exist")
async def denied_is_missing():
    with Policed() as p:
        clients = [await p.client(role, team=3, level=9) for role in RESTRICTED]
        ways = [{"table": "{}"}, {"table": "{}", "snapshot": True}, {"table": "{}", "since": 0}, {"table": "{}", "since": "earliest"},
                {"table": "{}", "filter": "id=1"}, {"table": "{}", "filter": "nonsense"}, {"table": "{}", "columns": ["id"]},
                {"table": "{}", "batch": True}, {"table": "{}", "events": ["INSERT"]}]
        names = [("wages", "xyz"), ("WAGES", "XYZ"), ("all_notes", "xyz_notes"), ("sqlite_master", "sqlite_xaster"),
                 ("sqlite_schema", "sqlite_schemb"), ("sqlite_sequence", "sqlite_sequencf"), ("rowtap_journal", "rowtap_journam")]

        def scrub(message, *words):
            message = {k: v for k, v in message.items() if k not in ("id", "timestamp", "requestId")}
            return without(json.dumps(message, sort_keys=True), *words)

        for client in clients:
            for denied, missing in names:
                if client.role == "reader" and denied == "all_notes":
                    continue
                for way in ways:
                    replies = []
                    for name in (denied, missing):
                        reply = await client.request("subscribe", **{**way, "table": name})
                        equal(error_code(reply), "NOT_FOUND", f"{client.role} {way} {name}: {reply}")
                        replies.append(scrub(reply, name))
                    equal(replies[0], replies[1], f"{client.role} {way}")
                reply = [scrub(await client.request("request", payload={"action": "table", "table": n}), n) for n in (denied, missing)]
                equal(reply[0], reply[1], f"{client.role} action table")
                for path in ("/api/tables/{}", "/api/changes?table={}", "/api/changes?table={}&since=earliest"):
                    answers = [p.get(path.format(n), client.role, team=3, level=9) for n in (denied, missing)]
                    equal(answers[0].status, 404, path)
                    equal(*[without(a.body.decode(), n) for a, n in zip(answers, (denied, missing))], path)
        user = clients[0]
        for way in ({"filter": "{}=1"}, {"filter": "{} is null"}, {"filter": "\"{}\"='x'"}, {"columns": ["id", "{}"]},
                    {"filter": "{} in (1,2)"}, {"filter": "{}"}, {"filter": ["id=1", "{}!=1"]}):
            replies = []
            for name in ("secret", "nosuch", "SECRET"):
                filled = json.loads(json.dumps(way).replace("{}", name))
                replies.append(scrub(await user.request("subscribe", table="notes", **filled), name))
            equal(replies[1], replies[0], f"{way}")
            equal(replies[2], replies[0], f"{way}")
        for client in clients:
            await client.quiet(0)
            await client.close()


@case("lists have what may be known")
async def lists():
    with Policed() as p:
        for role, tables in [("user", ["notes", "public", "teams"]), ("reader", ["all_notes", "public"]), ("writer", []),
                             ("empty", []), ("nobody", []), (None, []),
                             ("admin", ["all_notes", "notes", "public", "teams", "wages"])]:
            client = await p.client(role)
            listed = p.get("/api/tables", role).json["tables"]
            equal([t["name"] for t in listed], tables, role)
            reply = await client.request("request", payload={"action": "tables"})
            equal(reply["payload"]["tables"], listed, f"action tables of {role}")
            if role == "user":
                equal([c["name"] for c in listed[0]["columns"]], ["id", "user_id", "title"])
                equal(p.get("/api/tables/notes", role).json, listed[0])
            equal(client.ack["data"]["channels"], ["notifications"] if role in ("user", "admin") else [])
            await client.close()


@case("changes of tables are told to who may read them")
async def ddl():
    with Policed() as p:
        user, admin = await p.client(), await p.client("admin", "root")
        for client in (user, admin):
            await client.join("tables")
        p.admin("CREATE TABLE hidden(x); ALTER TABLE wages ADD COLUMN y; ALTER TABLE notes ADD COLUMN more_secret; DROP TABLE hidden;"
                "ALTER TABLE public ADD COLUMN w; ALTER TABLE public RENAME TO gone; CREATE TABLE public(id INTEGER PRIMARY KEY, z)")
        equal([(await admin.next())["data"]["tableName"] for _ in range(7)],
              ["hidden", "wages", "notes", "hidden", "public", "gone", "public"])
        equal([(m := await user.next())["type"] + " " + m["data"]["tableName"] for _ in range(2)],
              ["table:altered public", "table:created public"])
        await user.quiet()
        late = await p.client()
        reply = await late.request("subscribe", channel="tables", since="earliest")
        equal(reply["type"], "subscribed")
        await asyncio.sleep(0.3)
        text = json.dumps(late.events)
        check("public" in text, "the past is empty")
        for word in ("hidden", "wages", "secret", "gone"):
            check(word not in text, "%s: %s", word, text)
        for client in (user, admin, late):
            await client.close()


@case("a table that is renamed over the border")
async def renamed():
    with Policed() as p:
        user = await p.client()
        await user.subscribe("public")
        p.admin("ALTER TABLE public RENAME TO hidden")
        p.admin("INSERT INTO hidden VALUES (5,'x')")
        await user.quiet()
        p.admin("ALTER TABLE wages RENAME TO public")
        p.admin("INSERT INTO public VALUES (6,'ann',7)")
        message = await user.next("database_change", "table:altered", "table:created")
        while message["type"] != "database_change":
            check("hidden" not in json.dumps(message) and "wages" not in json.dumps(message), "%s", message)
            message = await user.next("database_change", "table:altered", "table:created")
        equal(message["data"], {"id": 6, "user_id": "ann", "amount": 7})
        late = await p.client()
        await late.subscribe("public", since="earliest")
        await asyncio.sleep(0.3)
        check("hidden" not in json.dumps(late.events), "%s", late.events)
        for client in (user, late):
            await client.close()


# ---- channels and people ---------------------------------------------------------------------

@case("channels")
async def channels():
    with Policed() as p:
        user, admin, reader = await p.client(), await p.client("admin", "root"), await p.client("reader", "rea")
        for channel, allowed in [("room:1", True), ("room:", True), ("room", False), ("rooms:1", False), ("ROOM:1", False),
                                 ("queries", True), ("other", False)]:
            reply = await user.request("subscribe", channel=channel)
            equal(reply["type"] == "subscribed", allowed, f"{channel}: {reply}")
            if not allowed:
                equal(error_code(reply), "FORBIDDEN")
        for channel in ("room:1", "notifications", "tables", "queries", "collaboration"):
            equal(error_code(await reader.request("subscribe", channel=channel)), "FORBIDDEN", channel)
        equal(error_code(await reader.request("broadcast", channel="room:1", data=1)), "FORBIDDEN")
        equal(error_code(await user.request("broadcast", channel="notifications", data=1)), "FORBIDDEN")
        equal(error_code(await reader.request("user:cursor", data={"table": "public", "row": 1})), "FORBIDDEN")
        equal((await admin.request("broadcast", channel="room:1", data={"x": 1}))["delivered"], 1)
        equal((await user.next("broadcast"))["data"], {"x": 1})
        for body, role, status in [({"message": "hi"}, "user", 403), ({"channel": "room:1", "type": "t"}, "user", 200),
                                   ({"channel": "room:1", "type": "t"}, "reader", 403), ({"message": "hi"}, "nobody", 403),
                                   ({"message": "hi"}, None, 403), ({"message": "hi"}, "admin", 200)]:
            answer = p.post("/api/ws/broadcast", body, role)
            equal(answer.status, status, f"{body} {role}: {answer}")
            if status == 200:
                equal(answer.json["delivered"], 1 if "channel" in body else 2)
        await reader.quiet()
        for client in (user, admin, reader):
            await client.close()


@case("others' queries and connections")
async def others():
    with Policed() as p:
        user, admin = await p.client(), await p.client("admin", "root")
        for client in (user, admin):
            await client.join("queries")
        await admin.request("query:start", data={"sql": "SELECT amount FROM wages"})
        while (await admin.next())["type"] != "query:complete":
            pass
        await user.quiet()
        clients = p.get("/api/realtime/stats").json
        equal([c["userId"] for c in clients["clients"]], ["ann"])
        equal(clients["clientCount"], 2)
        reply = await user.request("request", payload={"action": "stats"})
        equal([c["userId"] for c in reply["payload"]["clients"]], ["ann"])
        equal(sorted(c["userId"] for c in p.get("/api/realtime/stats", "admin", "root").json["clients"]), ["ann", "root"])
        equal(p.get("/api/realtime/stats", sub=None).json["clients"], [])
        for role in (None, "nobody"):
            for path in ("/metrics", "/api/realtime/stats"):
                answer = p.get(path, role)
                equal((answer.status, answer.code), (403, "FORBIDDEN"), path)
        equal(p.get("/metrics", "empty").status, 200)
        equal(p.server.get("/health").status, 200)
        for client in (user, admin):
            await client.close()


# ---- SQL -------------------------------------------------------------------------------------

@case("roles without SQL run none")
async def no_sql():
    with Policed() as p:
        for role in ("reader", "empty", "nobody", None):
            client = await p.client(role)
            for answer in (p.sql("SELECT 1", role=role), p.post("/api/sql", {"statements": [{"sql": "SELECT 1"}]}, role)):
                equal((answer.status, answer.code), (403, "FORBIDDEN"), role)
            answer = p.post("/api/realtime", {"type": "SYNC", "operations": [{"type": "INSERT", "table": "public", "data": {"v": 1}}]}, role)
            check(answer.code in ("FORBIDDEN", "NOT_FOUND"), "%s: %s", role, answer)
            equal(error_code(await client.request("query:start", data={"sql": "SELECT 1"})), "FORBIDDEN")
            reply = await client.request("request", payload={"action": "sql", "sql": "SELECT 1"})
            check("FORBIDDEN" in json.dumps(reply), "%s", reply)
            await client.close()
        equal(p.admin("SELECT count(*) FROM public")["rows"], [[1]])


@case("a renewed token keeps its rights, another's is refused")
async def renewal():
    with Policed() as p:
        client = await p.client(ttl=60)
        await client.subscribe("notes")
        reply = await client.request("auth", token=token(ttl=600))
        check(reply["data"]["success"], "%s", reply)
        for other in (token("admin"), token(sub="bob"), token(team=3), token(None)):
            reply = await client.request("auth", token=other)
            check(not reply["data"]["success"], "%s", reply)
        p.admin(CHANGES)
        equal(await collect(client, len(HEARD)), HEARD)
        await client.close()


@case("* is for who may read everything")
async def every_table():
    with Policed() as p:
        for role in RESTRICTED:
            client = await p.client(role)
            equal(error_code(await client.request("subscribe", table="*")), "FORBIDDEN", role)
            equal(p.get("/api/changes?table=*&since=earliest", role).status, 403, role)
            await client.close()
        admin = await p.client("admin", "root")
        await admin.subscribe("*")
        p.admin("INSERT INTO wages VALUES (30,'x',1)")
        equal((await admin.next("database_change"))["data"], {"id": 30, "user_id": "x", "amount": 1})
        await admin.close()


if __name__ == "__main__":
    main()
