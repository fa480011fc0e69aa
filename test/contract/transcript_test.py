#!/usr/bin/python3
"""What a user types, and what the answers must be: the command line, HTTP, SQL rules, values, every
error code and status once."""
import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (BIN, Client, Directory, Http, RawSocket, Server, case, check, environment, equal, error_code,  # noqa: E402
                     in_thread, main, run, same, seconds)

USERS = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, age INTEGER)"


class Fixture:
    """A server on an empty file, with an HTTP connection."""

    def __init__(self, *options, schema=USERS):
        self.directory = Directory().__enter__()
        self.server = Server(self.directory.file("app.db"), *options)
        self.http = Http(self.server)
        if schema:
            self.http.sql(schema)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.http.close()
        if kind is None:
            self.server.stop()
        self.directory.__exit__()

    def refused(self, code, status, sql=None, params=None, statements=None):
        """The request fails with this code and status; returns the error."""
        answer = self.http.try_sql(sql, params, statements)
        equal((answer.status, answer.code), (status, code), f"{sql or statements} -> {answer}\n")
        error = answer.json["error"]
        check(len(error["message"]) > 5, "no message: %s", answer)
        return error


# ---- the four lines of the README ------------------------------------------------------------

class Watch:
    """`rowtap watch …` in a second terminal."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([BIN, "watch", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        self.out = self.err = ""

    def read(self):
        """Takes what there is."""
        for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr)):
            while select.select([pipe], [], [], 0)[0]:
                data = os.read(pipe.fileno(), 65536)
                if not data:
                    break
                setattr(self, name, getattr(self, name) + data.decode(errors="replace"))

    def wait(self, pattern, stream="out", timeout=20):
        end = time.monotonic() + seconds(timeout)
        while time.monotonic() < end:
            self.read()
            found = re.search(pattern, getattr(self, stream))
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"watch never wrote {pattern!r}; stdout: {self.out!r} stderr: {self.err!r}")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(seconds(5))
        equal(code, 0, "exit status of watch after ^C")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)


@case("README: serve, watch, sql, curl /health")
def four_lines():
    with Fixture() as f:
        url = f.server.url
        watch = Watch("users", "--url", url, "--filter", "age>=18")
        try:
            watch.wait("watching users", "err")
            code, out, err = run("sql", "--url", url, "INSERT INTO users(name, age) VALUES ('Ada', 36), ('Kid', 7)")
            equal(code, 0, err)
            check("2 rows changed" in out + err, "sql said %r %r", out, err)
            watch.wait("Ada")
            code, out, err = run("sql", "--url", url, "UPDATE users SET age = 18 WHERE name = 'Kid'")
            equal(code, 0, err)
            watch.wait("UPDATE users id=2")
            watch.interrupt()
        finally:
            watch.kill()
        code, out, err = run("sql", "--url", url, "SELECT name FROM users ORDER BY id")
        equal(code, 0, err)
        check(re.search(r"name.*Ada.*Kid", out, re.S), "table: %r", out)
        done = subprocess.run(["curl", "-sS", "--max-time", "10", url + "/health"], capture_output=True, text=True)
        health = json.loads(done.stdout)
        equal(health["status"], "ok", "status")
        equal(health["database"]["journalMode"], "wal", "journal mode")
        check(isinstance(health["connectedClients"], int) and health["uptime"] >= 0 and health["version"], "%s", health)
        equal(set(health["database"]) >= {"path", "journalMode", "externalWrites", "seq", "epoch"}, True, str(health))
        code, out, err = run("health", "--url", url)
        equal(code, 0, "rowtap health: " + err)


@case("watch --format json prints each message on a line as it came; several filters are ANDed")
def watch_json():
    with Fixture() as f:
        watch = Watch("users", "--url", f.server.url, "--filter", "age>=18", "--filter", "name!=Bob", "--format", "json")
        try:
            watch.wait("watching", "err")
            f.http.sql("INSERT INTO users VALUES (1, 'Kid', 3), (2, 'Bob', 30), (3, 'Ada', 36)")
            watch.wait(r"\n")
            message = json.loads(watch.out.splitlines()[0])
            equal((message["type"], message["event"], message["data"]),
                  ("database_change", "INSERT", {"id": 3, "name": "Ada", "age": 36}), "message")
            watch.interrupt()
        finally:
            watch.kill()


@case("watch: unknown table and bad filter end with exit 1 and the server's message")
def watch_errors():
    with Fixture() as f:
        for arguments, word in ((["nope"], "nope"), (["users", "--filter", "agee>1"], "agee")):
            code, _, err = run("watch", "--url", f.server.url, *arguments)
            equal(code, 1, err)
            check(word in err, "stderr %r does not name %s", err, word)


@case("command line: usage errors exit 2, failures exit 1, messages on stderr")
def usage():
    code, _, err = run("serve", "x.db", "--no-such-option")
    equal(code, 2, err)
    check("no-such-option" in err, "%r", err)
    code, _, err = run("sql", "--url", "http://127.0.0.1:1", "SELECT 1")
    equal(code, 1, err)
    check("127.0.0.1:1" in err, "%r", err)
    code, out, _ = run("version")
    equal(code, 0, out)
    code, out, _ = run("help")
    check(code == 0 and "serve" in out and "watch" in out, "%r", out)
    code, _, err = run("health", "--url", "http://127.0.0.1:1")
    equal(code, 1, err)
    code, _, err = run("health", "--nope")
    equal(code, 2, err)


@case("sql: parameters, json and csv, scripts on standard input, SQL errors")
def sql_verb():
    with Fixture() as f:
        url = f.server.url
        code, out, err = run("sql", "--url", url, "INSERT INTO users(name, age) VALUES (?, ?) RETURNING id", "Ada", "36")
        equal(code, 0, err)
        code, out, err = run("sql", "--url", url, stdin=b"INSERT INTO users VALUES (2, 'a;b', 1);\n-- c\n"
                             b"CREATE TRIGGER t AFTER DELETE ON users BEGIN SELECT 1; SELECT 2; END;\n"
                             b"SELECT id, name FROM users WHERE id = 2")
        equal(code, 0, err)
        code, out, err = run("sql", "--url", url, "--format", "json", "SELECT name, age FROM users WHERE id = 1")
        check("Ada" in json.dumps(json.loads(out)), "json: %r", out)
        code, out, err = run("sql", "--url", url, "--format", "csv", "SELECT id, name FROM users ORDER BY id")
        equal(out.split(), ["id,name", "1,Ada", "2,a;b"], "csv")
        code, out, err = run("sql", "--url", url, "SELEC 1")
        equal(code, 1, err)
        check("syntax error" in err, "%r", err)


@case("every serve option is also an environment variable; DATABASE alone serves")
def environment_options():
    with Directory() as directory:
        server = Server(directory.file("a.db"), env={"ROWTAP_MAX_BODY": "2000"})
        equal(server.post("/api/sql", {"sql": "SELECT '" + "x" * 3000 + "'"}).status, 413, "status past ROWTAP_MAX_BODY")
        server.stop()
        log = directory.file("log")
        with open(log, "wb") as err:
            process = subprocess.Popen([BIN, directory.file("b.db")], stderr=err, stdout=err, stdin=subprocess.DEVNULL,
                                       env=environment({"ROWTAP_LISTEN": "127.0.0.1:0"}))
        try:
            end = time.monotonic() + seconds(15)
            while time.monotonic() < end and "listening on http://127.0.0.1:" not in open(log).read():
                time.sleep(0.05)
            check("listening on http://127.0.0.1:" in open(log).read(), "%s", open(log).read())
            process.send_signal(signal.SIGINT)
            equal(process.wait(seconds(7)), 0, "exit status after SIGINT")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@case("SIGTERM: clients are closed with 1012, exit 0 within 5 s, a running statement does not hold it up")
async def shutdown():
    with Directory() as directory:
        server = Server(directory.file("a.db"))
        client = await Client.open(server)
        endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
        slow = asyncio.ensure_future(in_thread(server.post, "/api/sql", {"sql": endless}))
        await asyncio.sleep(0.3)
        await in_thread(server.stop)
        equal(await client.wait_closed(), 1012, "close code")
        try:
            answer = await slow
            check(answer.status in (408, 503), "%s", answer)
        except OSError:
            pass


# ---- /api/sql: rules -------------------------------------------------------------------------

@case("a SELECT's answer and an INSERT's answer have the members of the contract")
def sql_answers():
    with Fixture() as f:
        answer = f.http.sql("INSERT INTO users(name, age) VALUES ('Ada', 36), ('Bob', 40)")
        equal({k: answer[k] for k in ("columns", "rows", "changes", "lastInsertRowid")},
              {"columns": [], "rows": [], "changes": 2, "lastInsertRowid": 2}, "INSERT")
        seq = answer["seq"]
        check(isinstance(answer["durationMs"], float), "durationMs %r", answer["durationMs"])
        answer = f.http.sql("SELECT id, name FROM users ORDER BY id")
        equal((answer["columns"], answer["rows"], answer["changes"]), (["id", "name"], [[1, "Ada"], [2, "Bob"]], 0), "SELECT")
        equal(answer["seq"], seq, "seq of a SELECT")
        equal(f.http.sql("SELECT 1 WHERE 0")["rows"], [], "no rows")
        equal(f.http.sql("DELETE FROM users WHERE id = 2")["lastInsertRowid"], 0, "last rowid of another request")
        equal(f.http.sql("INSERT INTO users VALUES (9, 'R', 1) RETURNING id, name")["rows"], [[9, "R"]], "RETURNING")
        equal(f.http.sql("DELETE FROM users")["changes"], 2, "DELETE without WHERE")


@case("a script: each statement commits by itself, the first error stops it and says how far it came")
async def script():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.subscribe("users")
        answer = f.http.sql("INSERT INTO users VALUES (1, 'a', 1); INSERT INTO users VALUES (2, 'b', 2); SELECT count(*) AS n FROM users;")
        equal((answer["columns"], answer["rows"]), (["n"], [[2]]), "the last statement's answer")
        one, two = await client.next("database_change"), await client.next("database_change")
        check(one["tx"] < two["tx"] and one["seq"] + 1 == two["seq"] == answer["seq"], "%s %s", one, two)
        error = f.refused("SQL_ERROR", 400, "INSERT INTO users VALUES (3, 'c', 3); INSERT INTO users VALUES (1, 'd', 4); INSERT INTO users VALUES (5, 'e', 5)")
        equal(error["statement"], 1, "index of the failed statement")
        equal((await client.next("database_change"))["seq"], error["seq"], "seq of what was kept")
        check(error["sqliteCode"] == 1555, "extended code: %s", error)
        equal(f.http.sql("SELECT group_concat(id) FROM users")["rows"], [["1,2,3"]], "rows kept")
        error = f.refused("SQL_ERROR", 400, "SELECT 1; SELEC 2")
        check("SELEC" in error["message"] and isinstance(error["offset"], int), "%s", error)
        await client.quiet()
        await client.close()


@case("BEGIN … COMMIT in a script is one transaction; left open it is rolled back and a 400")
async def transactions():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.subscribe("users")
        f.http.sql("BEGIN; INSERT INTO users VALUES (1, 'a', 1); SAVEPOINT s; INSERT INTO users VALUES (2, 'b', 2);"
                   "ROLLBACK TO s; INSERT INTO users VALUES (3, 'c', 3); COMMIT")
        events = [await client.next() for _ in range(2)]
        equal([e["key"] for e in events], [{"id": 1}, {"id": 3}], "keys")
        equal(events[0]["tx"], events[1]["tx"], "tx")
        error = f.refused("SQL_ERROR", 400, "BEGIN; INSERT INTO users VALUES (4, 'd', 4)")
        check("COMMIT" in error["message"] or "open" in error["message"], "%s", error)
        check(error.get("seq") is None, "nothing was committed: %s", error)
        f.refused("SQL_ERROR", 400, "COMMIT")
        f.refused("SQL_ERROR", 400, "BEGIN; BEGIN; COMMIT")
        f.http.sql("BEGIN; DELETE FROM users; ROLLBACK")
        equal(f.http.sql("SELECT count(*) FROM users")["rows"], [[2]], "rows")
        f.refused("SQL_ERROR", 400, "SAVEPOINT a; DELETE FROM users")
        await client.quiet()
        await client.close()


@case("statements: one transaction, all or nothing; BEGIN, COMMIT and ROLLBACK in it are refused")
async def statements():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.subscribe("users")
        answer = f.http.sql(statements=[
            {"sql": "INSERT INTO users VALUES (?, ?, ?)", "params": [1, "a", 1]},
            {"sql": "UPDATE users SET age = :age", "params": {"age": 5}}, {"sql": "SELECT age FROM users"}])
        equal([r["changes"] for r in answer["results"][:2]], [1, 1], "changes")
        equal((answer["results"][2]["columns"], answer["results"][2]["rows"]), (["age"], [[5]]), "the SELECT sees the change")
        events = [await client.next() for _ in range(2)]
        equal((events[0]["tx"], events[1]["seq"]), (events[1]["tx"], answer["seq"]), "tx and seq")
        error = f.refused("SQL_ERROR", 400, statements=[{"sql": "INSERT INTO users VALUES (2, 'b', 2)"}, {"sql": "INSERT INTO users VALUES (1, 'c', 3)"}])
        equal((error["statement"], error.get("seq")), (1, None), "index, nothing kept")
        for word in ("BEGIN", "COMMIT", "ROLLBACK", "END"):
            f.refused("FORBIDDEN", 403, statements=[{"sql": "INSERT INTO users VALUES (7, 'x', 1)"}, {"sql": word}])
        equal(f.http.sql("SELECT count(*) FROM users")["rows"], [[1]], "rows")
        await client.quiet()
        await client.close()


@case("OR FAIL keeps what SQLite keeps, its rows are reported, and the error carries seq")
async def or_fail():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.subscribe("users")
        f.http.sql("INSERT INTO users VALUES (3, 'c', 3)")
        await client.next()
        error = f.refused("SQL_ERROR", 400, "INSERT OR FAIL INTO users VALUES (1, 'a', 1), (2, 'b', 2), (3, 'x', 0), (4, 'd', 4)")
        events = [await client.next(), await client.next()]
        equal([e["key"]["id"] for e in events], [1, 2], "kept rows")
        equal(error["seq"], events[1]["seq"], "seq")
        error = f.refused("SQL_ERROR", 400, "INSERT INTO users VALUES (5, 'a', 1), (3, 'b', 2)")
        check(error.get("seq") is None, "nothing kept: %s", error)
        f.refused("SQL_ERROR", 400, "INSERT OR ROLLBACK INTO users VALUES (6, 'a', 1), (3, 'b', 2)")
        equal(f.http.sql("SELECT group_concat(id) FROM users")["rows"], [["1,2,3"]], "rows")
        await client.quiet()
        await client.close()


@case("one request's ROLLBACK never touches another's work")
async def rollbacks_beside_writers():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.subscribe("users")

        def writer(base):
            http = Http(f.server)
            kept = []
            for i in range(40):
                if i % 3 == 0:
                    http.try_sql(f"INSERT OR ROLLBACK INTO users VALUES ({base + i}, 'gone', 1), ({base + i}, 'twice', 1)")
                elif i % 3 == 1:
                    http.sql(f"BEGIN; INSERT INTO users VALUES ({base + i}, 'gone', 1); ROLLBACK")
                else:
                    http.sql(f"INSERT INTO users VALUES ({base + i}, 'kept', 1)")
                    kept.append(base + i)
            http.close()
            return kept

        lists = await asyncio.gather(*(in_thread(writer, 1000 * n) for n in range(1, 7)))
        kept = sorted(i for one in lists for i in one)
        await client.wait(lambda: len(client.events) >= len(kept), what="all events")
        equal(sorted(e["key"]["id"] for e in client.events), kept, "events")
        equal(len({e["tx"] for e in client.events}), len(kept), "transactions")
        equal(sorted(r[0] for r in f.http.sql("SELECT id FROM users")["rows"]), kept, "rows")
        await client.close()


@case("deferred foreign keys are checked at each request's commit")
def deferred_keys():
    with Fixture(schema="CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(pid REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)") as f:
        f.refused("SQL_ERROR", 400, "INSERT INTO c VALUES (1)")
        f.refused("SQL_ERROR", 400, statements=[{"sql": "INSERT INTO c VALUES (1)"}])
        f.http.sql(statements=[{"sql": "INSERT INTO c VALUES (1)"}, {"sql": "INSERT INTO p VALUES (1)"}])
        equal(f.http.sql("PRAGMA foreign_keys")["rows"], [[1]], "foreign keys are on")


@case("parameters: by position and by name, missing and surplus ones are errors")
def parameters():
    with Fixture() as f:
        equal(f.http.sql("SELECT ?, ?2, ?1", [1, "b"])["rows"], [[1, "b", 1]], "positions")
        equal(f.http.sql("SELECT :a, @b, $c", {"a": 1, "b": "x", "c": None})["rows"], [[1, "x", None]], "names")
        equal(f.http.sql("SELECT :a", {":a": 1})["rows"], [[1]], "a name with its sign")
        for sql, params in (("SELECT ?", []), ("SELECT ?", [1, 2]), ("SELECT 1", [1]), ("SELECT :a", {}), ("SELECT :a", {"b": 1}),
                            ("SELECT :a", {"a": 1, "b": 2}), ("SELECT ?", [[1]]), ("SELECT ?", [{"x": 1}]),
                            ("SELECT ?", [{"$base64": "*"}]), ("SELECT ?", 5), ("SELECT ?", "x")):
            answer = f.http.try_sql(sql, params)
            check(answer.status == 400 and answer.code in ("INVALID_FORMAT", "SQL_ERROR"), "%s %s: %s", sql, params, answer)


@case("values: integers to 2^63-1, reals with a point, infinities, blobs both ways, odd text")
async def values():
    with Fixture(schema="CREATE TABLE v(id INTEGER PRIMARY KEY, x)") as f:
        client = await Client.open(f.server)
        await client.subscribe("v")
        kinds = [  # SQL, JSON text in the answer, typeof
            ("9223372036854775807", "9223372036854775807", "integer"), ("-9223372036854775808", "-9223372036854775808", "integer"),
            ("1.0", "1.0", "real"), ("1e300", None, "real"), ("0.1", "0.1", "real"), ("-0.0", None, "real"),
            ("9e999", "9e999", "real"), ("-9e999", "-9e999", "real"), ("x''", '{"$base64":""}', "blob"),
            ("x'00ff10'", '{"$base64":"AP8Q"}', "blob"), ("'a' || char(0) || 'b'", '"a\\u0000b"', "text"),
            ("CAST(x'61ff62' AS TEXT)", None, "text"), ("NULL", "null", "null"), ("'\"\\/'", None, "text"), ("''", '""', "text")]
        for number, (sql, text, kind) in enumerate(kinds, 1):
            answer = f.http.try_sql(f"INSERT INTO v VALUES ({number}, {sql}) RETURNING x, typeof(x)")
            equal(answer.status, 200, str(answer))
            value, found = answer.json["rows"][0]
            equal(found, kind, f"typeof {sql}")
            event = await client.next("database_change")
            equal(same(event["data"]["x"]), same(value), f"{sql} in the event and in the answer")
            if text:
                check(f"[[{text},".encode() in answer.body.replace(b" ", b""), "%s is written %s", sql, answer.body)
            back = f.http.sql("SELECT x IS ?, typeof(?2) FROM v WHERE id = ?3", [value, value, number])
            if kind != "text" or "CAST" not in sql:
                equal(back["rows"], [[1, kind]], f"{sql} sent back as a parameter")
        equal(f.http.sql("SELECT x FROM v WHERE id = 12")["rows"], [["a\ufffdb"]], "invalid UTF-8")
        raw = f.http.request("POST", "/api/sql", '{"sql":"SELECT typeof(?),typeof(?),typeof(?),typeof(?),?","params":[1,1.0,true,9e999,99999999999999999999]}')
        equal(raw.json["rows"][0][:4], ["integer", "real", "integer", "real"], str(raw))
        await client.close()


@case("no request can write what other processes would trip over: FORBIDDEN")
def forbidden():
    with Fixture() as f:
        allowed = []
        for sql in ("ATTACH 'x.db' AS x", "DETACH main", "CREATE TEMP TABLE t(x)", "CREATE TABLE temp.t(x)", "VACUUM INTO 'copy.db'",
                    "PRAGMA journal_mode = DELETE", "PRAGMA writable_schema = ON", "PRAGMA foreign_keys = OFF", "PRAGMA locking_mode = EXCLUSIVE",
                    "PRAGMA max_page_count = 1", "PRAGMA query_only = 1", "PRAGMA synchronous = OFF",
                    "CREATE TABLE rowtap_x(y)", "CREATE TEMP TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END"):
            answer = f.http.try_sql(sql)
            if (answer.status, answer.code) != (403, "FORBIDDEN"):
                allowed.append(f"{sql} -> {answer}")
        equal(allowed, [], "what should have been FORBIDDEN")
        f.http.sql("VACUUM")
        check(f.http.sql("PRAGMA table_info(users)")["rows"], "PRAGMA table_info")
        equal(f.http.sql("PRAGMA integrity_check")["rows"], [["ok"]], "integrity_check")


# ---- statuses --------------------------------------------------------------------------------

@case("HTTP statuses 400 403 404 405 408 413 415 426 503 with JSON errors")
def statuses():
    with Fixture("--query-timeout", "1", "--max-body", "100000", "--max-connections", "1") as f:
        def expect(status, answer):
            equal(answer.status, status, str(answer))
            if answer.body:
                check(answer.json["error"]["code"] and answer.json["error"]["message"], "%s", answer)
                check(answer.headers["Content-Type"].startswith("application/json"), "%s", answer.headers)
            return answer
        request = f.http.request
        expect(400, request("POST", "/api/sql", "{"))
        expect(400, request("POST", "/api/sql", {"sql": ""}))
        expect(403, request("POST", "/api/sql", {"sql": "SELECT 1"}, {"Origin": "http://evil.example"}))
        expect(403, request("GET", "/health", None, {"Host": "evil.example"}))
        expect(404, request("GET", "/nope"))
        expect(404, request("GET", "/api/tables/nope"))
        answer = expect(405, request("GET", "/api/sql"))
        check("POST" in answer.headers["Allow"], "Allow: %s", answer.headers["Allow"])
        expect(405, request("DELETE", "/health"))
        expect(408, request("POST", "/api/sql", {"sql": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"}))
        expect(413, request("POST", "/api/sql", {"sql": "SELECT '" + "x" * 200000 + "'"}))
        f.http.close()
        expect(415, request("POST", "/api/sql", '{"sql":"SELECT 1"}', {"Content-Type": "text/plain"}))
        expect(415, request("POST", "/api/sql", "sql=1", {"Content-Type": "application/x-www-form-urlencoded"}))
        equal(request("POST", "/api/sql", '{"sql":"SELECT 1"}', {"Content-Type": "application/json; charset=utf-8"}).status, 200, "charset")
        raw = RawSocket(f.server)
        head = raw.upgrade(Sec_WebSocket_Version="8")
        check(" 426 " in head and "Sec-WebSocket-Version: 13" in head, "%s", head)
        raw.close()
        first = RawSocket(f.server)
        check(" 101 " in first.upgrade(), "no upgrade")
        second = RawSocket(f.server)
        head = second.upgrade()
        check(" 503 " in head, "past --max-connections: %s", head)
        second.close()
        first.close()


@case("health and tables: members of the contract; HEAD; no CORS for strangers")
def information():
    with Fixture() as f:
        health = f.http.request("GET", "/api/websocket/health").json
        for member in ("status", "activeConnections", "healthyConnections", "unhealthyConnections", "averageLatency"):
            check(member in health, "%s is missing: %s", member, health)
        equal(set(f.http.request("GET", "/api/ws/status").json), {"connectedClients", "uptime"}, "status")
        text = json.dumps(f.http.request("GET", "/api/tables").json)
        check("users" in text and "sqlite_" not in text and "rowtap_" not in text, "%s", text)
        one = f.http.request("GET", "/api/tables/users").json
        check("age" in json.dumps(one), "%s", one)
        head = f.http.request("HEAD", "/health")
        equal((head.status, head.body), (200, b""), "HEAD")
        check(f.http.request("GET", "/health", None, {"Origin": "http://evil.example"}).headers.get("Access-Control-Allow-Origin") is None, "CORS")
        same_origin = f.http.request("POST", "/api/sql", {"sql": "SELECT 1"}, {"Origin": f.server.url})
        equal(same_origin.status, 200, str(same_origin))


@case("--origin lets a page of another origin in, and answers its preflight")
def origins():
    with Fixture("--origin", "https://app.example") as f:
        origin = {"Origin": "https://app.example"}
        answer = f.http.request("POST", "/api/sql", {"sql": "SELECT 1"}, origin)
        equal((answer.status, answer.headers.get("Access-Control-Allow-Origin")), (200, "https://app.example"), str(answer))
        answer = f.http.request("OPTIONS", "/api/sql", None, {**origin, "Access-Control-Request-Method": "POST",
                                                              "Access-Control-Request-Headers": "content-type"})
        check(answer.status in (200, 204) and answer.headers.get("Access-Control-Allow-Origin"), "preflight %s %s", answer, answer.headers)
        for origin, wanted in (("https://app.example", " 101 "), ("https://evil.example", " 403 "), (f.server.url, " 101 "), ("null", " 403 ")):
            raw = RawSocket(f.server)
            head = raw.upgrade(Origin=origin)
            check(wanted in head, "Origin %s: %s", origin, head)
            raw.close()


# ---- WebSocket -------------------------------------------------------------------------------

@case("connection:ack, ping, heartbeat, requestId, unknown types and bad JSON leave the connection open")
async def messages():
    with Fixture() as f:
        client = await Client.open(f.server)
        data = client.ack["data"]
        for member in ("connectionId", "userId", "version", "epoch", "seq", "heartbeatInterval", "maxMessageSize"):
            check(member in data, "%s is missing: %s", member, data)
        equal(data["channels"], ["notifications"], "channels")
        check(client.ack["id"] and isinstance(client.ack["timestamp"], int), "%s", client.ack)
        pong = await client.request("ping", sentAt=1234)
        equal((pong["type"], pong.get("sentAt", pong.get("data", {}).get("sentAt"))), ("pong", 1234), str(pong))
        equal((await client.request("heartbeat"))["type"], "heartbeat", "heartbeat")
        equal(error_code(await client.request("no:such:type")), "UNKNOWN_TYPE", "code")
        for text in ("{", "[]", "17", '"x"', "", "{}", '{"type":5}', '{"type":null}', "{" * 3000, '{"type":"ping"}}', b"\x00\x01"):
            await client.send(text)
            event = await client.next("error")
            check(error_code(event) in ("INVALID_FORMAT", "UNKNOWN_TYPE"), "%r: %s", text, event)
        await client.send({"type": "ping", "requestId": 17})
        await client.wait(lambda: 17 in client.replies, what="reply to requestId 17")
        await client.send({"type": "ping", "id": "mine"})
        await client.wait(lambda: "mine" in client.replies, what="reply to id")
        await client.close()


@case("subscribe: arguments at the top, under data or payload; every error code of its own")
async def subscribe():
    with Fixture() as f:
        f.http.sql("CREATE VIEW adults AS SELECT * FROM users WHERE age > 17")
        client = await Client.open(f.server)
        for where in ("data", "payload"):
            reply = await client.request("subscribe", **{where: {"table": "users", "filter": "age>1"}})
            equal(reply["type"], "subscribed", str(reply))
        reply = await client.request("subscribe", table="USERS")
        equal((reply["data"]["table"], reply["data"]["seq"]), ("users", f.http.sql("SELECT 1")["seq"]), "table, seq")
        for arguments, code in (
                ({"table": "nope"}, "NOT_FOUND"), ({"table": "sqlite_master"}, "NOT_FOUND"), ({"table": "rowtap_x"}, "NOT_FOUND"),
                ({"table": "adults"}, "NOT_FOUND"), ({"table": "users", "filter": ""}, "INVALID_FILTER"),
                ({"table": "users", "filter": "nope=1"}, "INVALID_FILTER"), ({"table": "users", "filter": "age"}, "INVALID_FILTER"),
                ({"table": "users", "filter": "age in (1,2"}, "INVALID_FILTER"), ({"table": "users", "filter": "name='x"}, "INVALID_FILTER"),
                ({"table": "users", "filter": "name='x' or 1"}, "INVALID_FILTER"), ({"table": "users", "filter": ["age>1", "zz=1"]}, "INVALID_FILTER"),
                ({"table": "users", "filter": [""]}, "INVALID_FILTER"), ({"table": "*", "filter": "age=1"}, "INVALID_FILTER"),
                ({"table": 5}, "INVALID_FORMAT"), ({}, "INVALID_FORMAT"), ({"table": "users", "events": ["MERGE"]}, "INVALID_FORMAT"),
                ({"table": "users", "events": 5}, "INVALID_FORMAT"), ({"table": "users", "filter": [5]}, ("INVALID_FORMAT", "INVALID_FILTER")),
                ({"channel": "no spaces"}, "INVALID_FORMAT"), ({"channel": "x" * 129}, "INVALID_FORMAT"), ({"channel": ""}, "INVALID_FORMAT")):
            reply = await client.request("subscribe", **arguments)
            check(error_code(reply) in (code if isinstance(code, tuple) else (code,)), "%s: wanted %s, got %s", arguments, code, reply)
        reply = await client.request("unsubscribe", subscription="s999")
        equal(error_code(reply), "NOT_FOUND", str(reply))
        await client.close()


@case("past --max-subscriptions: LIMIT_EXCEEDED, the connection stays")
async def limits():
    with Fixture("--max-subscriptions", "3") as f:
        client = await Client.open(f.server)
        names = [await client.subscribe("users", filter=f"age>{i}") for i in range(3)]
        equal(error_code(await client.request("subscribe", table="users")), "LIMIT_EXCEEDED", "fourth")
        equal((await client.request("unsubscribe", subscription=names[0]))["type"], "unsubscribed", "unsubscribe")
        await client.subscribe("users")
        await client.close()


@case("statement errors of every code over HTTP: SQL_ERROR TOO_LARGE QUERY_CANCELLED INVALID_FORMAT NOT_FOUND FORBIDDEN")
def codes():
    with Fixture("--query-timeout", "1", "--max-result", "50000", "--max-transaction", "300000") as f:
        f.refused("SQL_ERROR", 400, "SELECT * FROM nope")
        f.refused("INVALID_FORMAT", 400, "  -- nothing")
        f.refused("TOO_LARGE", 413, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) SELECT n FROM c")
        error = f.refused("TOO_LARGE", 413, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) "
                          "INSERT INTO users SELECT n, 'name ' || n, n FROM c")
        check("--max-transaction" in error["message"], "%s", error)
        equal(f.http.sql("SELECT count(*) FROM users")["rows"], [[0]], "nothing stays of it")
        error = f.refused("QUERY_CANCELLED", 408, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c")
        check("--query-timeout" in error["message"], "%s", error)
        f.refused("QUERY_CANCELLED", 408, "UPDATE users SET age = (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c) "
                  "WHERE 1; SELECT 1") if f.http.sql("INSERT INTO users VALUES (1, 'a', 1)") else None
        equal(f.http.sql("SELECT age FROM users")["rows"], [[1]], "an interrupted write is undone")
        answer = f.http.request("GET", "/api/tables/nope")
        equal((answer.status, answer.code), (404, "NOT_FOUND"), str(answer))
        for body in ('{"sql":5}', '{"params":[]}', "[]", '{"sql":"SELECT 1","statements":[]}', '{"statements":[]}', '{"statements":[5]}',
                     '{"statements":{"sql":"SELECT 1"}}', '{"sql":"SELECT 1","paramz":[]}', '{"sql":"SELECT 1"} x'):
            answer = f.http.request("POST", "/api/sql", body)
            equal((answer.status, answer.code), (400, "INVALID_FORMAT"), f"{body} -> {answer}\n")


@case("events, transitions, oldKey, several subscriptions in one message, self:false is accepted")
async def events():
    with Fixture() as f:
        client = await Client.open(f.server)
        adults = await client.subscribe("users", filter="age>=18")
        deletes = await client.subscribe("users", events=["DELETE"])
        everyone = await client.subscribe("users", events="insert,update")
        f.http.sql("INSERT INTO users VALUES (1, 'Ada', 36)")
        event = await client.next("database_change")
        equal((event["event"], sorted(event["subscriptions"]), event["key"], event["data"], "old" in event),
              ("INSERT", sorted([adults, everyone]), {"id": 1}, {"id": 1, "name": "Ada", "age": 36}, False), "INSERT")
        f.http.sql("UPDATE users SET age = 17")
        two = [await client.next("database_change"), await client.next("database_change")]
        equal({(e["subscriptions"][0], e.get("transition")) for e in two}, {(adults, "leave"), (everyone, None)}, "UPDATE out of the view")
        equal(two[0]["old"], {"id": 1, "name": "Ada", "age": 36}, "old")
        equal(two[0]["seq"], two[1]["seq"], "one seq")
        f.http.sql("UPDATE users SET id = 2, age = 18")
        two = [await client.next("database_change"), await client.next("database_change")]
        equal({(e["subscriptions"][0], e.get("transition")) for e in two}, {(adults, "enter"), (everyone, None)}, "UPDATE into the view")
        equal((two[0]["key"], two[0]["oldKey"]), ({"id": 2}, {"id": 1}), "keys")
        f.http.sql("DELETE FROM users")
        event = await client.next("database_change")
        equal((event["event"], sorted(event["subscriptions"]), event["data"], event["old"]),
              ("DELETE", sorted([adults, deletes]), {"id": 2, "name": "Ada", "age": 18}, {"id": 2, "name": "Ada", "age": 18}), "DELETE")
        await client.request("unsubscribe", subscription=adults)
        await client.request("unsubscribe", subscription=everyone)
        f.http.sql("INSERT INTO users VALUES (5, 'x', 50)")
        f.http.sql("UPDATE users SET age = 50")
        await client.quiet()
        await client.close()


@case("channel tables: created, altered, renamed, dropped; a subscription follows its name")
async def ddl():
    with Fixture() as f:
        client = await Client.open(f.server)
        await client.join("tables")
        users = await client.subscribe("users")
        f.http.sql("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT NOT NULL DEFAULT '', n AS (id + 1))")
        event = await client.next("table:created")
        equal(event["data"]["tableName"], "notes", "name")
        columns = {c["name"]: c for c in event["data"]["changes"]["columns"]}
        equal((columns["body"]["type"], bool(columns["body"]["notNull"]), columns["body"]["default"], bool(columns["id"]["primaryKey"]),
               bool(columns["n"]["generated"]), bool(columns["body"]["generated"])), ("TEXT", True, "''", True, True, False), "columns")
        f.http.sql("ALTER TABLE users ADD COLUMN city TEXT DEFAULT 'Ulm'")
        equal((await client.next("table:altered"))["data"]["changes"]["columns"][-1]["default"], "'Ulm'", "new column")
        f.http.sql("ALTER TABLE users RENAME COLUMN name TO label")
        equal((await client.next("table:altered"))["data"]["changes"]["renamed"], [{"from": "name", "to": "label"}], "renamed")
        f.http.sql("INSERT INTO users(id) VALUES (1)")
        event = await client.next("database_change")
        equal((event["data"], event["subscriptions"]), ({"id": 1, "label": None, "age": None, "city": "Ulm"}, [users]), "row")
        f.http.sql("BEGIN; DELETE FROM users; DROP TABLE users; ROLLBACK; CREATE INDEX i ON users(age)")
        f.http.sql("ALTER TABLE users RENAME TO people")
        event = await client.next("table:altered")
        equal((event["data"]["tableName"], event["data"]["changes"]["renamedFrom"]), ("people", "users"), "rename")
        f.http.sql("INSERT INTO people(id) VALUES (2)")
        f.http.sql("CREATE TABLE users AS SELECT 7 AS id")
        await client.next("table:created")
        event = await client.next("database_change")
        equal((event["event"], event["table"], event["data"], event["key"], event["subscriptions"]),
              ("INSERT", "users", {"id": 7}, {"rowid": 1}, [users]), "a new table of the name")
        f.http.sql("DROP TABLE notes")
        equal((await client.next("table:dropped"))["data"]["tableName"], "notes", "dropped")
        await client.quiet()
        await client.close()


@case("subscribed means live: every commit after its seq arrives")
async def live():
    with Fixture() as f:
        writing = asyncio.ensure_future(in_thread(
            lambda: [f.http.sql(f"INSERT INTO users(name) VALUES ('{i}')")["seq"] for i in range(150)]))
        clients = []
        while not writing.done():
            client = await Client.open(f.server)
            reply = await client.request("subscribe", table="users")
            clients.append((client, reply["data"]["seq"]))
            await asyncio.sleep(0.02)
        last = (await writing)[-1]
        for client, seq in clients:
            await client.wait(lambda c=client, s=seq: len(c.events) >= last - s, what=f"events {seq + 1} to {last}")
            equal([e["seq"] for e in client.events], list(range(seq + 1, last + 1)), "seq")
            await client.close()


if __name__ == "__main__":
    main()
