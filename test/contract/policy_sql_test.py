#!/usr/bin/python3
"""SQL of roles that may not see everything: what they get, what they may write, and what nothing gets round."""
import asyncio
import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Http, case, check, equal, main, seconds  # noqa: E402
from policed import POLICY, Policed, bearer  # noqa: E402

ANN = [[1, "ann", "a1"], [3, "ann", "a2"]]
DENIED, MISSING = "FORBIDDEN", "SQL_ERROR"


def rows(p, sql, *params, **claims):
    answer = p.sql(sql, list(params), **claims)
    equal(answer.status, 200, f"{sql}: {answer}")
    return answer.json["rows"]


def fails(p, sql, code, message=None, **claims):
    answer = p.sql(sql, **claims)
    equal(answer.code, code, f"{sql}: {answer}")
    equal(answer.status, 403 if code == DENIED else 400, sql)
    text = answer.json["error"]["message"]
    check(message is None or message in text, "%s: %s", sql, text)
    return text


# ---- reading ---------------------------------------------------------------------------------

@case("only permitted rows and columns are there")
def reading():
    with Policed() as p:
        for sql, wanted in [
                ("SELECT * FROM notes", ANN), ("SELECT * FROM NOTES AS n", ANN), ("SELECT * FROM main.notes", ANN),
                ("SELECT * FROM (SELECT * FROM notes)", ANN), ("SELECT count(*) FROM notes", [[2]]),
                ("SELECT rowid, _rowid_, oid FROM notes", [[1, 1, 1], [3, 3, 3]]),
                ("SELECT * FROM notes WHERE 1 OR user_id='bob'", ANN), ("SELECT * FROM notes WHERE id IN (1,2,3,4,5,6,7)", ANN),
                ("SELECT * FROM notes WHERE id=2", []), ("SELECT * FROM notes WHERE rowid=2", []),
                ("SELECT * FROM notes WHERE user_id<>'ann'", []), ("SELECT * FROM notes WHERE user_id IS NULL", []),
                ("SELECT * FROM notes NOT INDEXED WHERE user_id='bob'", []), ("SELECT title FROM notes ORDER BY id DESC", [["a2"], ["a1"]]),
                ("SELECT max(id), min(title), group_concat(user_id) FROM notes", [[3, "a1", "ann,ann"]]),
                ("WITH notes AS (SELECT id FROM main.notes) SELECT * FROM notes", [[1], [3]]),
                ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM r WHERE i<9) SELECT title FROM r JOIN notes ON id=i",
                 [["a1"], ["a2"]]),
                ("SELECT id, rank() OVER (ORDER BY id DESC), sum(id) OVER () FROM notes", [[3, 1, 4], [1, 2, 4]]),
                ("SELECT a.id, b.id FROM notes a CROSS JOIN notes b WHERE a.id<b.id", [[1, 3]]),
                ("SELECT p.v, n.title FROM public p LEFT JOIN notes n ON n.id=2", [["p", None]]),
                ("SELECT (SELECT title FROM notes WHERE id=2), EXISTS(SELECT 1 FROM notes WHERE id=2)", [[None, 0]]),
                ("VALUES((SELECT count(*) FROM notes))", [[2]]), ("SELECT 1 /* FROM wages */ -- ;", [[1]]),
                ("SELECT value FROM json_each('[5]'), notes LIMIT 1", [[5]]),
                ("SELECT count(*) FROM wages2", None), ("WITH wages AS (SELECT 7 AS x) SELECT x, (SELECT count(*) FROM wages) FROM wages", [[7, 1]]),
                ("SELECT * FROM teams", [[1, 3, "red", 1]]), ("SELECT name FROM teams WHERE name='RED'", [["red"]])]:
            if wanted is None:
                fails(p, sql, MISSING, "no such table")
            else:
                equal(sorted(rows(p, sql, team=3, level=9), key=repr), sorted(wanted, key=repr), sql)
        equal(rows(p, "SELECT * FROM notes WHERE title=? AND id>?", "a2", 0), [ANN[1]])
        equal(rows(p, "SELECT count(*) FROM notes", sub="nobody's"), [[0]])
        equal(rows(p, "SELECT count(*) FROM notes", sub=None), [[0]])
        equal(rows(p, "SELECT * FROM teams"), [])  # no claim: no row
        equal(rows(p, "SELECT user_id FROM notes", sub="bob"), [["bob"]])
        equal(p.admin("SELECT count(*) FROM notes")["rows"], [[7]])


@case("what is denied answers as what does not exist")
def denied():
    with Policed() as p:
        ways = ["SELECT * FROM {}", "SELECT count(*) FROM {}", "SELECT 1 FROM main.{}", "SELECT 1 FROM temp.{}", "SELECT * FROM notes, {}",
                "SELECT * FROM notes UNION SELECT id, user_id, amount FROM {}", "SELECT (SELECT amount FROM {})",
                "WITH notes AS (SELECT amount FROM main.{}) SELECT * FROM notes", "SELECT * FROM notes WHERE id IN {}",
                "SELECT * FROM notes WHERE EXISTS (SELECT 1 FROM {})", "INSERT INTO {} VALUES (1)", "INSERT INTO {} DEFAULT VALUES",
                "UPDATE {} SET amount=1", "DELETE FROM {}", "REPLACE INTO {} VALUES(1)", "INSERT INTO public SELECT * FROM {}",
                "DELETE FROM notes WHERE id IN (SELECT id FROM {})", "PRAGMA table_info({})", "SELECT * FROM {} INDEXED BY x",
                "EXPLAIN QUERY PLAN SELECT * FROM {}", "EXPLAIN SELECT * FROM {}", "SELECT {}.x", "SELECT * FROM notes WHERE {}.x=1",
                "CREATE INDEX i ON {}(x)", "ALTER TABLE {} ADD COLUMN z", "DROP TABLE {}", "ANALYZE {}", "REINDEX {}",
                "SELECT * FROM pragma_table_info('{}')", "BEGIN; SELECT * FROM {}", "SELECT 1; SELECT * FROM {}",
                "CREATE TABLE z AS SELECT * FROM {}", "CREATE TEMP VIEW v AS SELECT * FROM {}"]
        pairs = [("wages", "xyzzy"), ("all_notes", "xyzzy"), ("WAGES", "XYZZY"), ("[wages]", "[xyzzy]")]
        for way in ways:
            for pair in pairs:
                got = []
                for name in pair:
                    answer = p.sql(way.format(name))
                    body = answer.json.get("error", {"rows": answer.json.get("rows")})
                    got.append(json.dumps(body).replace(name.strip("[]"), "X"))
                equal(got[0], got[1], way)
        for way in ["SELECT {} FROM notes", "SELECT id FROM notes WHERE {}='s1'", "SELECT id FROM notes ORDER BY {}", "SELECT notes.{} FROM notes",
                    "SELECT max({}) FROM notes", "SELECT id FROM notes GROUP BY {}", "UPDATE notes SET {}='x'", "UPDATE notes SET title={}",
                    "INSERT INTO notes({}) VALUES('x')", "DELETE FROM notes WHERE {}='s1'", "SELECT id FROM notes JOIN public USING({})",
                    "SELECT [{}] FROM notes", "SELECT \"{}\" FROM notes", "SELECT * FROM notes WHERE {} LIKE 's%'", "SELECT 1 FROM notes WHERE abs({})"]:
            got = []
            for name in ("secret", "nosuch"):
                answer = p.sql(way.format(name))
                got.append(json.dumps(answer.json.get("error", answer.json.get("rows"))).replace(name, "X"))
            equal(got[0], got[1], way)
            check("s1" not in got[0] or "s1" in way, "%s: %s", way, got[0])


@case("the schema and the server are out of reach")
def out_of_reach():
    with Policed() as p:
        for sql in ["SELECT * FROM sqlite_master", "SELECT sql FROM sqlite_schema", "SELECT * FROM main.sqlite_master", "SELECT * FROM sqlite_temp_master",
                    "SELECT * FROM sqlite_sequence", "SELECT * FROM dbstat", "SELECT * FROM pragma_table_list", "SELECT * FROM pragma_database_list",
                    "SELECT count(*) FROM sqlite_master", "SELECT count(*) FROM sqlite_stmt", "SELECT name FROM pragma_function_list",
                    "SELECT * FROM sqlite_dbpage", "SELECT * FROM rowtap_none", "SELECT count(*) FROM rowtap_none", "INSERT INTO rowtap_none VALUES(1)",
                    "SELECT * FROM bytecode('SELECT 1')", "INSERT INTO sqlite_master VALUES(1,2,3,4,5)", "UPDATE sqlite_master SET sql=''",
                    "DELETE FROM sqlite_schema", "SELECT * FROM rowtap_journal"]:
            answer = p.sql(sql)
            check(answer.status in (400, 403), "%s: %s", sql, answer)
            check("wages" not in answer.body.decode() and "CREATE" not in answer.body.decode(), "%s: %s", sql, answer)
        for sql in ["ATTACH ':memory:' AS x", "ATTACH 'a.db' AS x", "DETACH main", "VACUUM", "VACUUM INTO 'x.db'", "PRAGMA database_list", "PRAGMA table_list",
                    "PRAGMA writable_schema=1", "PRAGMA query_only=0", "PRAGMA foreign_keys=0", "PRAGMA user_version", "PRAGMA trusted_schema=1",
                    "PRAGMA journal_mode=delete", "PRAGMA main.integrity_check", "PRAGMA function_list", "PRAGMA defer_foreign_keys=1",
                    "CREATE TABLE t(x)", "CREATE TEMP TABLE t(x)", "CREATE VIRTUAL TABLE t USING rowtap_mirror(0)", "CREATE VIEW v AS SELECT 1",
                    "CREATE TEMP VIEW notes AS SELECT * FROM main.notes", "CREATE TRIGGER x AFTER INSERT ON notes BEGIN SELECT 1; END",
                    "CREATE TEMP TRIGGER x AFTER INSERT ON public BEGIN SELECT 1; END", "CREATE INDEX i ON public(v)", "DROP TABLE public",
                    "ALTER TABLE public RENAME TO z", "ALTER TABLE public ADD COLUMN z", "ANALYZE", "EXPLAIN SELECT * FROM notes",
                    "SELECT load_extension('x')", "SELECT fts3_tokenizer('x')", "SELECT sqlite_compileoption_get(1)", "SELECT total_changes()",
                    "SELECT readfile('/etc/passwd')", "SELECT sqlite_source_id()", "SELECT writefile('x','y')", "SELECT edit('x')", "SELECT eval('SELECT 1')",
                    "SELECT highlight(notes,0,'a','b') FROM notes", "SELECT * FROM notes WHERE notes MATCH 'x'", "SELECT sqlite_log(1,'x')",
                    "SELECT 1 FROM notes WHERE title REGEXP 'x'"]:
            answer = p.sql(sql)
            check(answer.status in (400, 403), "%s: %s", sql, answer)
        for sql in ["SELECT abs(-9223372036854775808)", "SELECT json('{')", "SELECT title FROM notes WHERE CASE WHEN title='b1' THEN "
                    "abs(-9223372036854775808) ELSE 1 END", "SELECT title FROM notes WHERE CASE WHEN title='a1' THEN json('{') ELSE 1 END"]:
            answer = p.sql(sql)
            equal(answer.status, 200 if "b1" in sql else 400, sql)  # another's row fails no expression
        for name in (x for x in p.admin("SELECT name FROM pragma_function_list")["rows"] for x in x):
            for arguments in ("", "1", "1,2", "1,2,3"):
                answer = p.sql(f'SELECT "{name}"({arguments})')
                check(answer.status in (200, 400, 403), "%s: %s", name, answer)
        equal(p.server.get("/health").status, 200)


@case("a role's SQL tells nothing of what others did on the connection")
def no_residue():
    with Policed() as p:
        rows(p, "INSERT INTO public(v) VALUES('x'),('y')")
        equal(rows(p, "SELECT changes(), last_insert_rowid()", sub="bob"), [[0, 0]])
        equal(p.sql("INSERT INTO public(v) VALUES('z'); SELECT changes(), last_insert_rowid()").json["rows"], [[1, 4]])
        answer = p.sql("SELECT 1; UPDATE public SET v='q' WHERE 0; SELECT changes(), last_insert_rowid()", sub="bob").json
        equal((answer["rows"], answer["lastInsertRowid"]), ([[0, 0]], 0))


# ---- writing ---------------------------------------------------------------------------------

@case("writes keep to columns and rows")
def writing():
    with Policed() as p:
        def table(name="notes"):
            return p.admin(f"SELECT * FROM {name} ORDER BY id")["rows"]
        before = table()
        for sql in ["INSERT INTO notes(user_id,title) VALUES('bob','x')", "INSERT INTO notes(title) VALUES('x')", "INSERT INTO notes DEFAULT VALUES",
                    "INSERT INTO notes(id,user_id,title) VALUES(2,'ann','x')", "INSERT INTO notes VALUES(50,'ann','x')",
                    "INSERT INTO notes(rowid,user_id) VALUES(50,'ann')", "INSERT INTO notes(user_id,title) VALUES('ann','ok'),('bob','x')",
                    "INSERT INTO notes(user_id,title) SELECT CASE id WHEN 3 THEN 'bob' ELSE 'ann' END, 'x' FROM notes",
                    "UPDATE notes SET user_id='bob'", "UPDATE notes SET user_id=NULL WHERE id=3", "UPDATE notes SET id=20 WHERE id=1",
                    "UPDATE notes SET rowid=20 WHERE id=1", "UPDATE notes SET user_id=CASE id WHEN 1 THEN 'ann' ELSE 'bob' END",
                    "UPDATE OR IGNORE notes SET user_id='bob'", "INSERT OR IGNORE INTO notes(user_id) VALUES('bob')",
                    "INSERT OR REPLACE INTO notes(user_id,title) VALUES('ann','x')", "REPLACE INTO notes(user_id) VALUES('ann')",
                    "UPDATE OR REPLACE notes SET title='x'", "UPDATE OR FAIL notes SET user_id='bob'", "UPDATE OR ROLLBACK notes SET user_id='bob'",
                    "INSERT INTO notes(user_id,title) VALUES('ann','r') RETURNING id", "INSERT INTO teams(name) VALUES('x')", "UPDATE teams SET name='x'",
                    "DELETE FROM teams", "BEGIN; UPDATE notes SET title='x'; UPDATE notes SET user_id='bob'; COMMIT",
                    "BEGIN; INSERT INTO public(v) VALUES('kept?'); INSERT INTO notes(user_id) VALUES('bob'); COMMIT"]:
            fails(p, sql, DENIED, team=3, level=9)
            equal(table(), before, sql)
        equal(table("public"), [[1, "p"]])
        for sql in ["UPDATE notes SET title='x' RETURNING id", "DELETE FROM notes RETURNING id", "INSERT INTO notes(user_id) VALUES('ann') ON CONFLICT DO NOTHING",
                    "INSERT INTO notes(user_id) VALUES('ann') ON CONFLICT(id) DO UPDATE SET title='x'", "INSERT INTO notes(secret) VALUES('x')",
                    "UPDATE notes SET secret='x'"]:
            fails(p, sql, MISSING)
            equal(table(), before, sql)
        for sql, changes in [("UPDATE notes SET title='mine'", 2), ("UPDATE notes SET title='no' WHERE id=2", 0), ("DELETE FROM notes WHERE id=2", 0),
                             ("UPDATE notes SET title=title || id WHERE user_id='ann'", 2), ("DELETE FROM notes WHERE title='b1'", 0),
                             ("INSERT INTO notes(user_id,title) VALUES('ann','new'),('ann','newer')", 2),
                             ("INSERT INTO notes AS n (\"TITLE\", [user_id]) SELECT 'copy', user_id FROM notes WHERE id=1", 1),
                             ("WITH x(a) AS (SELECT 'ann') INSERT INTO main.notes (user_id) SELECT a FROM x", 1), ("DELETE FROM notes WHERE id=3", 1)]:
            answer = p.sql(sql)
            equal(answer.status, 200, f"{sql}: {answer}")
            equal(answer.json["changes"], changes, sql)
        equal([r for r in table() if r[1] != "ann"], [r for r in before if r[1] != "ann"], "others' rows")
        equal([r for r in table() if r[1] == "ann"], [[1, "ann", "mine1", "s1"], [8, "ann", "new", None], [9, "ann", "newer", None],
                                                      [10, "ann", "copy", None], [11, "ann", None, None]])
        answer = p.sql("DELETE FROM notes")
        equal(answer.json["changes"], 5)
        equal(table(), [r for r in before if r[1] != "ann"])
        equal(p.sql("INSERT INTO public(v) VALUES('x')", role="writer").status, 200)
        fails(p, "SELECT * FROM public", MISSING, "no such", role="writer")
        fails(p, "SELECT count(*) FROM public", MISSING, "no such table", role="writer")
        fails(p, "UPDATE public SET v='y'", DENIED, role="writer")
        fails(p, "DELETE FROM public", DENIED, role="writer")


RICH = """
CREATE TABLE parent(id INTEGER PRIMARY KEY);
CREATE TABLE items(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, code TEXT UNIQUE, n INT DEFAULT 7 CHECK(n<100), parent INT REFERENCES parent(id),
  hidden TEXT DEFAULT 'h' CHECK(hidden<>'bad'), doubled INT AS (n*2) VIRTUAL);
CREATE TABLE pairs(a TEXT, b INT, owner TEXT, v TEXT, PRIMARY KEY(a,b)) WITHOUT ROWID;
CREATE TABLE words(word TEXT COLLATE NOCASE PRIMARY KEY, owner TEXT, n INT DEFAULT 3) WITHOUT ROWID;
CREATE TABLE log(id INTEGER PRIMARY KEY, what TEXT);
CREATE TABLE loose(owner, v);
CREATE TRIGGER t1 AFTER INSERT ON items BEGIN INSERT INTO log(what) VALUES('insert ' || new.code); END;
CREATE TRIGGER t2 BEFORE UPDATE ON items WHEN new.n=66 BEGIN SELECT RAISE(ABORT, 'not 66'); END;
CREATE TRIGGER t3 BEFORE INSERT ON items WHEN new.n=55 BEGIN SELECT RAISE(IGNORE); END;
INSERT INTO parent VALUES (1);
INSERT INTO items(owner,code,n,parent,hidden) VALUES ('ann','a',1,1,'x'),('bob','b',2,1,'y');
INSERT INTO pairs VALUES ('x',1,'ann','1'),('x',2,'bob','2');
INSERT INTO words VALUES ('Tree','ann',1),('House','bob',2);
INSERT INTO loose VALUES ('ann',1),('bob',2);
"""
OWNED = {"read": True, "write": True, "rows": "owner={sub}"}
RICH_POLICY = {"roles": {"admin": POLICY["roles"]["admin"], "user": {"sql": True, "tables": {
    "items": {"read": ["id", "owner", "code", "n", "parent", "doubled"], "write": ["owner", "code", "n", "parent"], "rows": "owner={sub}"},
    "pairs": OWNED, "words": OWNED, "loose": OWNED}}}}


@case("defaults, constraints, triggers and foreign keys are the file's")
def constraints():
    with Policed(RICH_POLICY, RICH) as p:
        def run_(sql, changes=None):
            answer = p.sql(sql)
            equal(answer.status, 200, f"{sql}: {answer}")
            if changes is not None:
                equal(answer.json["changes"], changes, sql)
            return answer.json
        equal(run_("INSERT INTO items(owner, code) VALUES('ann','c')")["lastInsertRowid"], 3)
        equal(p.admin("SELECT * FROM items WHERE id=3")["rows"], [[3, "ann", "c", 7, None, "h", 14]])
        equal(p.admin("SELECT what FROM log")["rows"][-1], ["insert c"])
        equal(rows(p, "SELECT doubled FROM items WHERE doubled=14"), [[14]])
        for sql, message in [
                ("INSERT INTO items(code) VALUES('z')", "NOT NULL constraint failed"), ("UPDATE items SET n=100", "CHECK constraint failed"),
                ("INSERT INTO items(owner, code) VALUES('ann','b')", "UNIQUE constraint failed"),
                ("INSERT INTO items(owner, code, parent) VALUES('ann','q',9)", "FOREIGN KEY constraint failed"),
                ("UPDATE items SET n=66 WHERE code='a'", "not 66"), ("INSERT OR IGNORE INTO items(owner, code, parent) VALUES('ann','q',9)",
                                                                  "FOREIGN KEY constraint failed"),
                ("UPDATE OR IGNORE items SET n=66 WHERE code='a'", "not 66"), ("INSERT INTO words(owner,word) VALUES('ann','house')", "UNIQUE")]:
            text = fails(p, sql, MISSING, message)
            check("hidden" not in text and "n<100" not in text and "items.code" not in text, "%s: %s", sql, text)
        equal(run_("INSERT OR IGNORE INTO items(owner, code) VALUES('ann','b'),('ann','d')")["changes"], 1)
        run_("INSERT INTO items(owner, code, n) VALUES('ann','ignored',55)")
        equal(p.admin("SELECT count(*) FROM items")["rows"], [[4]])
        fails(p, "UPDATE items SET doubled=1", DENIED)
        fails(p, "INSERT INTO log(what) VALUES('x')", MISSING, "no such table: log")
        run_("INSERT INTO words(word, owner) VALUES('River','ann')", 1)
        equal(rows(p, "SELECT * FROM words WHERE word='RIVER'"), [["River", "ann", 3]])
        run_("UPDATE words SET word='Lake', n=n+1 WHERE word='river'", 1)
        run_("DELETE FROM words WHERE word='tree'", 1)
        run_("DELETE FROM words WHERE word='house'", 0)
        fails(p, "UPDATE words SET owner='bob'", DENIED)
        fails(p, "INSERT INTO words(word,owner) VALUES('x','bob')", DENIED)
        equal(p.admin("SELECT * FROM words ORDER BY word")["rows"], [["House", "bob", 2], ["Lake", "ann", 4]])
        equal(rows(p, "SELECT * FROM pairs WHERE a='x'"), [["x", 1, "ann", "1"]])
        for sql in ("INSERT INTO pairs VALUES('y',1,'ann','z')", "UPDATE pairs SET v='z'", "DELETE FROM pairs"):
            fails(p, sql, MISSING, "may not be modified")
        run_("INSERT INTO loose VALUES('ann',3)", 1)
        run_("UPDATE loose SET v=9 WHERE rowid=1", 1)
        run_("UPDATE loose SET v=9 WHERE rowid=2", 0)
        run_("UPDATE loose SET rowid=77 WHERE v=3", 1)
        equal(p.admin("SELECT rowid, * FROM loose ORDER BY rowid")["rows"], [[1, "ann", 9], [2, "bob", 2], [77, "ann", 3]])
        p.admin("CREATE TABLE public2(id INTEGER PRIMARY KEY)")  # another schema, another mirror
        equal(rows(p, "SELECT count(*) FROM items"), [[3]])
        p.admin("ALTER TABLE items RENAME COLUMN owner TO who")  # the rule no longer fits
        fails(p, "SELECT count(*) FROM items", MISSING, "no such table: items")


@case("errors do not tell of tables that triggers write")
def trigger_errors():
    schema = """CREATE TABLE open(id INTEGER PRIMARY KEY, v TEXT UNIQUE, w INT CHECK(w<5));
      CREATE TABLE audit(code ANY UNIQUE, n ANY CHECK(n<>'secret'), x INT) STRICT; INSERT INTO audit VALUES('taken',1,1);
      CREATE TRIGGER tr AFTER INSERT ON open BEGIN INSERT INTO audit VALUES(new.v, new.v, new.w); END;
      CREATE TRIGGER broken AFTER DELETE ON open BEGIN INSERT INTO nosuch VALUES(1); END; INSERT INTO open VALUES(1,'a',1)"""
    policy = {"roles": {"admin": POLICY["roles"]["admin"], "user": {"sql": True, "tables": {"open": {"read": True, "write": True}}}}}
    with Policed(policy, schema) as p:
        for sql, message in [("INSERT INTO open(v) VALUES('taken')", "UNIQUE constraint failed"), ("INSERT INTO open(v) VALUES('secret')", "CHECK constraint failed"),
                             ("INSERT INTO open(v, w) VALUES('b', 1.5)", "constraint failed"), ("DELETE FROM open", "the table cannot be used in this way"),
                             ("INSERT INTO open(v) VALUES('a')", "UNIQUE constraint failed: open.v"), ("UPDATE open SET w=7", "CHECK constraint failed: w<5"),
                             ("INSERT INTO open VALUES(1,'c',1)", "UNIQUE constraint failed: open.id")]:
            equal(fails(p, sql, MISSING), message, sql)


@case("tables of every kind")
def kinds():
    schema = """CREATE TABLE k(a, b, c, PRIMARY KEY(a, b)) WITHOUT ROWID; CREATE TABLE g(a INT, b AS (a+1), c AS (a*2) STORED);
      CREATE VIRTUAL TABLE f USING fts5(x, y); CREATE VIEW v AS SELECT a, b, a || b AS ab FROM g; CREATE VIEW broken AS SELECT * FROM nosuch;
      CREATE TABLE "odd ""name" ("a b" TEXT, "select" INT, [c"d] INT, rowid TEXT, oid TEXT, _rowid_ TEXT); CREATE TABLE s(a ANY, b INT) STRICT;
      CREATE TABLE wide(""" + ",".join(f"c{i} INT" for i in range(200)) + """);
      INSERT INTO k VALUES(1,2,3); INSERT INTO g VALUES(1),(2); INSERT INTO f VALUES('hello','w'); INSERT INTO "odd ""name" VALUES('t',1,2,'r','o','_');
      INSERT INTO s VALUES('1',1),(1,2); INSERT INTO wide(c0,c70,c199) VALUES(1,70,199),(2,71,200)"""
    every = {"read": True, "write": True}
    tables = {n: every for n in ("k", "g", "f", "v", "broken", 'odd "name', "s", "wide")}
    policy = {"roles": {"admin": POLICY["roles"]["admin"], "user": {"sql": True, "tables": {
        **tables, "wide": {"read": ["c0", "c70", "c199"], "write": True, "rows": "c70={n}"}}},
        "blind": {"sql": True, "tables": {"k": {"write": ["c"]}, "g": {"write": ["a"]}}}, "ruled": {"sql": True, "tables": {"*": {"read": True, "rows": "a={n}"}}}}}
    with Policed(policy, schema) as p:
        for sql, wanted in [("SELECT * FROM k", [[1, 2, 3]]), ("SELECT * FROM g ORDER BY a", [[1, 2, 2], [2, 3, 4]]), ("SELECT * FROM g WHERE b=3", [[2, 3, 4]]),
                            ("SELECT * FROM f", [["hello", "w"]]), ("SELECT * FROM v WHERE ab='23'", [[2, 3, "23"]]), ("SELECT * FROM \"odd \"\"name\"", [["t", 1, 2, "r", "o", "_"]]),
                            ("SELECT typeof(a), b FROM s WHERE a='1'", [["text", 1]]), ("SELECT * FROM s WHERE a=1", [[1, 2]]),
                            ("SELECT c199, c0 FROM wide WHERE c199>5", [[199, 1]]), ("SELECT * FROM wide", [[1, 70, 199]])]:
            equal(rows(p, sql, n=70), wanted, sql)
        for sql in ("SELECT * FROM broken", "SELECT rowid FROM f", "SELECT rowid FROM v", "SELECT rowid FROM k", "SELECT c1 FROM wide"):
            fails(p, sql, MISSING, "no such", n=70)
        for sql in ("INSERT INTO k VALUES(5,6,7)", "UPDATE v SET a=1", "DELETE FROM \"odd \"\"name\""):
            fails(p, sql, MISSING, "may not be modified")
        fails(p, "INSERT INTO f VALUES('a','b')", DENIED)
        for sql in ("INSERT INTO g(a) VALUES(7)", "UPDATE g SET a=8 WHERE a=7", "DELETE FROM g WHERE b=9", "UPDATE wide SET c5=1 WHERE c0=1", "INSERT INTO s VALUES(x'00',5)"):
            answer = p.sql(sql, n=70)
            equal((answer.status, answer.json.get("changes")), (200, 1), f"{sql}: {answer}")
        fails(p, "INSERT INTO g VALUES(1,2,3)", DENIED)
        fails(p, "INSERT INTO s VALUES(1,'x')", MISSING, "cannot store TEXT value in INT column s.b")
        fails(p, "INSERT INTO k(c) VALUES(1)", MISSING, "no such table", role="blind")
        equal(p.sql("INSERT INTO g(a) VALUES(1)", role="blind").status, 200)
        equal(rows(p, "SELECT * FROM g", role="ruled", n=1), [[1, 2, 2], [1, 2, 2]])
        equal(rows(p, "SELECT * FROM v", role="ruled", n=2), [[2, 3, "23"]])
        fails(p, "SELECT * FROM f", MISSING, "no such table: f", role="ruled", n=1)  # the rule does not fit it
        equal(rows(p, "SELECT * FROM g", role="ruled"), [])


@case("what is written is captured, with its author's position")
async def captured():
    with Policed() as p:
        user, admin = await p.client(), await p.client("admin", "root")
        await user.subscribe("notes")
        await admin.subscribe("notes")
        seq = p.sql("INSERT INTO notes(user_id,title) VALUES('ann','x'); UPDATE notes SET title='y' WHERE title='x'").json["seq"]
        for client, columns in ((user, 3), (admin, 4)):
            for event in ("INSERT", "UPDATE"):
                message = await client.next("database_change")
                equal((message["event"], len(message["data"])), (event, columns))
            equal(message["seq"], seq)
            await client.close()


# ---- over the socket -------------------------------------------------------------------------

async def ask(client, sql, **more):
    reply = await client.request("query:start", data={"sql": sql, **more})
    if reply["type"] != "query:started":
        return reply, []
    found = []
    while True:
        message = await client.next(timeout=60)
        if message["type"] == "query:rows":
            found += message["data"]["rows"]
        elif message["type"] != "query:progress":
            return message, found


@case("queries of the socket: pages, requests, cancelling and time-outs")
async def sockets():
    with Policed(options=("--query-timeout", "2")) as p:
        p.admin("INSERT INTO notes(user_id,title) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<20000) "
                "SELECT CASE i%2 WHEN 0 THEN 'ann' ELSE 'bob' END, 't' || i FROM c")
        client = await p.client()
        message, found = await ask(client, "SELECT user_id, title FROM notes")
        equal((message["type"], len(found), {r[0] for r in found}), ("query:complete", 10002, {"ann"}))
        message, _ = await ask(client, "SELECT count(*), max(user_id) FROM notes WHERE title LIKE 't%'")
        equal(message["data"]["results"]["rows"], [[10000, "ann"]])
        message, _ = await ask(client, "SELECT * FROM wages")
        equal((message["type"], message["data"]["error"]["message"]), ("query:error", "no such table: wages"))
        message, _ = await ask(client, "UPDATE notes SET title='w' WHERE id=1")
        equal(message["data"].get("changes"), 1)
        message, _ = await ask(client, "UPDATE notes SET user_id='bob' WHERE id=1")
        equal(message["data"]["error"]["code"], "FORBIDDEN")
        message, _ = await ask(client, "SELECT title FROM notes WHERE id=1; SELECT count(*) FROM notes WHERE user_id='bob'")
        equal(message["data"]["results"]["rows"], [[0]])
        reply = await client.request("request", payload={"action": "sql", "sql": "SELECT count(*) FROM notes"})
        equal(reply["payload"]["rows"], [[10002]])
        reply = await client.request("request", payload={"action": "sql", "sql": "SELECT * FROM wages"})
        check("no such table: wages" in json.dumps(reply), "%s", reply)
        slow = ["SELECT count(*) FROM notes a, notes b, notes c WHERE a.title<>b.title", "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM r) SELECT max(i) FROM r",
                "UPDATE notes SET title=(SELECT count(*) FROM notes a, notes b) WHERE id IN (1,3)"]
        for sql in slow:
            begun = time.monotonic()
            message, _ = await ask(client, sql)
            equal(message["data"]["error"]["code"], "QUERY_CANCELLED", sql)
            check(time.monotonic() - begun < 2 + seconds(5), "%s ran for %.1f s", sql, time.monotonic() - begun)
        for sql in slow[:2]:
            reply = await client.request("query:start", data={"queryId": "q", "sql": sql})
            await asyncio.sleep(0.1)
            begun = time.monotonic()
            await client.send({"type": "query:cancel", "queryId": "q"})
            while (message := await client.next())["type"] == "query:progress":
                pass
            equal(message["data"]["error"]["code"], "QUERY_CANCELLED")
            check(time.monotonic() - begun < seconds(1), "cancelling took %.1f s", time.monotonic() - begun)
        await client.close()


@case("all tables of a statement are seen at one moment")
def one_moment():
    with Policed() as p:
        p.admin("CREATE TABLE a(id INTEGER PRIMARY KEY, v INT)")
        policy = json.loads(json.dumps(POLICY))
        policy["roles"]["user"]["tables"].update({"notes": {"read": True}, "public": {"read": True}})
        with Policed(policy, "CREATE TABLE notes(id INTEGER PRIMARY KEY, v); CREATE TABLE public(id INTEGER PRIMARY KEY, v);"
                             "INSERT INTO notes VALUES(1,0); INSERT INTO public VALUES(1,0)") as q:
            writer = sqlite3.connect(q.server.path, isolation_level=None)
            http, end, looks = Http(q.server), time.monotonic() + 2, 0
            i = 0
            while time.monotonic() < end:
                i += 1
                writer.execute(f"BEGIN IMMEDIATE")
                writer.execute("UPDATE notes SET v=?", [i])
                writer.execute("UPDATE public SET v=?", [i])
                writer.execute("COMMIT")
                answer = http.request("POST", "/api/sql", {"sql": "SELECT n.v, p.v, (SELECT v FROM public) FROM notes n, public p"}, bearer())
                if answer.status == 200:
                    looks += 1
                    equal(len(set(answer.json["rows"][0])), 1, "three looks")
            check(looks > 20, "only %d looks", looks)
            writer.close()


@case("SYNC writes by the tables, with and without SQL")
def sync():
    policy = json.loads(json.dumps(POLICY))
    policy["roles"]["plain"] = {"tables": {"notes": POLICY["roles"]["user"]["tables"]["notes"]}}
    with Policed(policy) as p:
        for role in ("user", "plain"):
            def post(*operations):
                return p.post("/api/realtime", {"type": "SYNC", "operations": list(operations)}, role)
            answer = post({"type": "INSERT", "table": "notes", "data": {"user_id": "ann", "title": role}},
                          {"type": "UPDATE", "table": "notes", "key": {"id": 1}, "data": {"title": role}},
                          {"type": "UPDATE", "table": "notes", "key": {"id": 2}, "data": {"title": role}},
                          {"type": "DELETE", "table": "notes", "key": {"id": 2}})
            equal([r["changes"] for r in answer.json["results"]], [1, 1, 0, 0], str(answer))
            for operation, code in [({"type": "INSERT", "table": "notes", "data": {"user_id": "bob"}}, "FORBIDDEN"),
                                    ({"type": "UPDATE", "table": "notes", "key": {"id": 1}, "data": {"user_id": "bob"}}, "FORBIDDEN"),
                                    ({"type": "UPDATE", "table": "notes", "key": {"id": 1}, "data": {"id": 9}}, "FORBIDDEN"),
                                    ({"type": "UPDATE", "table": "notes", "key": {"secret": "s2"}, "data": {"title": "x"}}, "NOT_FOUND"),
                                    ({"type": "UPDATE", "table": "notes", "key": {"id": 1}, "data": {"secret": "x"}}, "NOT_FOUND"),
                                    ({"type": "INSERT", "table": "wages", "data": {"id": 1}}, "NOT_FOUND"),
                                    ({"type": "DELETE", "table": "sqlite_master", "key": {"name": "x"}}, "NOT_FOUND")]:
                equal(post(operation).code, code, f"{role} {operation}: {post(operation)}")
            answer = post({"sql": "SELECT 1"})
            check((answer.status == 200) == (role == "user") or answer.status == 400, "%s", answer)
        equal(p.admin("SELECT title FROM notes WHERE id=2")["rows"], [["b1"]])


if __name__ == "__main__":
    main()
