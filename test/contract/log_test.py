#!/usr/bin/env python3
"""What the log of a server says, and what it never says."""
import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BIN, Client, Directory, RawSocket, Server, case, check, environment, equal, in_thread, main, seconds

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (error|warn |info |debug) (.*)")
FIELD = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"]+)')


def read_text(line):
    """A line of the text format as an object."""
    found = LINE.fullmatch(line)
    check(found, "not a line of the log: %r", line)
    fields = list(FIELD.finditer(found[3]))
    record = {f[1]: json.loads(f[2]) if f[2].startswith('"') else f[2] for f in fields}
    record["message"] = found[3][:fields[0].start()] if fields else found[3]
    record["level"] = found[2].strip()
    return record


def lines(server):
    return [l for l in server.stderr().splitlines() if not l.startswith("listening on ")]


def records(server, json_format=False):
    return [json.loads(l) if json_format else read_text(l) for l in lines(server)]


def wait_for(server, message, count=1, json_format=False, **fields):
    """The records with that message and those fields, at least `count` of them."""
    end = time.monotonic() + seconds(10)
    while True:
        found = [r for r in records(server, json_format) if r["message"] == message and
                 all(str(r.get(k)) == str(v) for k, v in fields.items())]
        if len(found) >= count:
            return found
        check(time.monotonic() < end, "no %r %s in:\n%s", message, fields, server.stderr()[-3000:])
        time.sleep(0.02)


def shared(json_format):
    return ["--log-format", "json"] if json_format else []


async def life_of_a_connection(json_format):
    with Directory() as directory, Server(directory.file("a.db"), "--log-level", "debug", *shared(json_format)) as server:
        client = await Client.open(server)
        [opened] = wait_for(server, "connection opened", 1, json_format)
        equal(str(opened["connection"]), client.ack["data"]["connectionId"].lstrip("c"), "its id")
        equal((opened["dialect"], opened["level"]), ("native", "info"), "dialect and level")
        check(re.fullmatch(r"127\.0\.0\.1:\d+", opened["address"]), "%s", opened)
        await client.send({"type": "ping"})
        await client.request("subscribe", table="none")
        await asyncio.sleep(0.1)
        await client.close()
        [closed] = wait_for(server, "connection closed", 1, json_format)
        equal([str(closed[k]) for k in ("connection", "address", "code", "messages")],
              [str(opened["connection"]), opened["address"], "1000", "2"], "the end")
        check(0.1 <= float(closed["duration"]) < 20, "%s", closed)
        wait_for(server, "command refused", 1, json_format, code="NOT_FOUND", connection=opened["connection"])
        [started] = wait_for(server, "started", 1, json_format)
        equal((started["journal_mode"], started["external_writes"], started["database"]),
              ("wal", "yes", directory.file("a.db")), "the start")
        check("--log-level=debug" in started["options"] and "--journal" not in started["options"], "%s", started)


@case("a connection's life, as text")
async def life_text():
    await life_of_a_connection(False)


@case("a connection's life, as JSON: every line is an object")
async def life_json():
    await life_of_a_connection(True)


@case("the start and the end: options given, signal, what was done")
def start_and_end():
    with Directory() as directory:
        log = directory.file("log")
        env = environment({"ROWTAP_MAX_MESSAGE": "64KiB", "ROWTAP_DEMO": "0"})
        with open(log, "wb") as out:
            process = subprocess.Popen([BIN, directory.file("my shop.db"), "--listen", "127.0.0.1:0", "--on-slow", "resync",
                                        "--heartbeat", "2.5"], stderr=out, stdin=subprocess.DEVNULL, env=env)
        try:
            end = time.monotonic() + seconds(10)
            while "listening on" not in open(log).read():
                check(time.monotonic() < end and process.poll() is None, "%s", open(log).read())
                time.sleep(0.02)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            equal(process.wait(seconds(7)), 0, "exit status")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said = [read_text(l) for l in open(log).read().splitlines() if not l.startswith("listening")]
        [started, hup, stopping, work, stopped] = said
        equal(started["options"], "--listen=127.0.0.1:0 --heartbeat=2.5 --max-message=64KiB --on-slow=resync --demo=0", "options")
        equal(started["database"], directory.file("my shop.db"), "database")
        check("nothing to read again" in hup["message"], "%s", hup)
        equal((stopping["message"], stopping["signal"]), ("stopping", "SIGINT"), "the end")
        equal((work["changes"], work["connections"]), ("0", "0"), "what was done")
        check(float(stopped["duration"]) < 5, "%s", stopped)


@case("refused handshakes say why, limits say who")
async def refusals():
    with Directory() as directory, Server(directory.file("a.db"), "--max-connections", "1", "--max-message", "2KiB",
                                          "--max-subscriptions", "2", "--max-body", "4KiB") as server:
        raw = RawSocket(server)
        check("426" in raw.upgrade(Sec_WebSocket_Version="8"), "an old version")
        [refused] = wait_for(server, "handshake refused", status=426)
        check("version" in refused["why"] and refused["path"] == "/ws", "%s", refused)
        raw = RawSocket(server)
        check("403" in raw.upgrade(Origin="http://evil.example"), "a foreign origin")
        [refused] = wait_for(server, "handshake refused", status=403)
        check("evil.example" in refused["why"] and refused["code"] == "FORBIDDEN", "%s", refused)
        client = await Client.open(server)
        raw = RawSocket(server)
        check("503" in raw.upgrade(), "a full server")
        wait_for(server, "server full", path="/ws")
        server.sql("CREATE TABLE t(x)")
        for _ in range(3):
            await client.request("subscribe", table="t")
        mine = client.ack["data"]["connectionId"].lstrip("c")
        wait_for(server, "limit reached", connection=mine, code="LIMIT_EXCEEDED", level="warn")
        await client.send("x" * 3000)
        equal(await client.wait_closed(), 1009, "close code")
        wait_for(server, "message too large", connection=mine, limit=2048)
        wait_for(server, "connection closed", connection=mine, code=1009)
        equal(server.post("/api/sql", {"sql": "x" * 5000}).status, 413, "a large body")
        wait_for(server, "limit reached", status=413, path="/api/sql")


@case("a slow consumer is named")
async def slow_consumer():
    with Directory() as directory, Server(directory.file("a.db"), "--max-queue", "64KiB") as server:
        server.sql("CREATE TABLE t(x)")
        raw = await in_thread(RawSocket, server, 20, 4096)
        await in_thread(raw.upgrade)
        raw.text({"type": "subscribe", "table": "t"})
        for _ in range(400):
            await in_thread(server.sql, "INSERT INTO t VALUES (hex(randomblob(20000)))")
            if "slow consumer" in server.stderr():
                break
        [slow] = wait_for(server, "slow consumer", consequence="closed")
        wait_for(server, "connection opened", connection=slow["connection"], address=slow["address"])
        raw.close()


@case("slow SQL is logged with its time and its shape, other SQL is not")
def slow_queries():
    with Directory() as directory, Server(directory.file("a.db"), "--slow-query", "0.15") as server:
        server.sql('CREATE TABLE users(id INTEGER PRIMARY KEY, "full name" TEXT)')
        server.sql("""WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
            SELECT max(n), 'it''s', "full name", "double quoted", x'00ff', 1.5e3 -- comment
            FROM c, users WHERE id=-7 OR 1""", [10])
        server.sql("""WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
            SELECT max(n), 'it''s', "full name", "double quoted", x'00ff', 1.5e3 -- comment
            FROM c LEFT JOIN users ON id=-7""", [3000000])
        [slow] = wait_for(server, "slow query")
        equal(slow["sql"], "WITH RECURSIVE c(n) AS (SELECT ? UNION ALL SELECT n + ? FROM c WHERE n < ?) "
              "SELECT max(n), ?, \"full name\", \"?\", ?, ? FROM c LEFT JOIN users ON id=-?", "shape")
        equal((slow["level"], slow["rows"]), ("warn", "1"), "level and rows")
        check(0.15 < float(slow["duration"]) < 60, "%s", slow)
        server.sql("INSERT INTO users(\"full name\") WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
                   "WHERE n < 600000) SELECT 'n' || n FROM c")
        [_, slow] = wait_for(server, "slow query", 2)
        equal(slow["changes"], "600000", "changes")
        answer = server.post("/api/sql", {"statements": [{"sql": "SELECT 1"}] * 2 + [{"sql": "SELECT max(n) FROM (WITH RECURSIVE "
                             "c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT n FROM c)"}]})
        equal(answer.status, 200, "statements")
        slow = wait_for(server, "slow query", 3)[2]
        check(slow["sql"].startswith("SELECT ?; SELECT ?; SELECT max(n)"), "%s", slow)


@case("SIGUSR1 and SIGUSR2 change the level")
def level_signals():
    with Directory() as directory, Server(directory.file("a.db"), "--log-level", "warn") as server:
        server.get("/health")
        equal(lines(server), [], "lines at level warn")
        server.signal(signal.SIGUSR1)
        wait_for(server, "log level changed", to="info")
        server.signal(signal.SIGUSR1)
        wait_for(server, "log level changed", to="debug")
        server.signal(signal.SIGUSR1)
        server.get("/health")
        wait_for(server, "request", path="/health", status=200)
        for level, times in (("info", 2), ("warn", 1)):
            server.signal(signal.SIGUSR2)
            wait_for(server, "log level changed", times, to=level)
        before = len(lines(server))
        for _ in range(2):
            server.signal(signal.SIGUSR2)
            time.sleep(0.2)
        server.signal(signal.SIGUSR1)
        server.get("/health")
        time.sleep(0.2)
        equal(len(lines(server)), before, "lines at level error and warn")


SECRETS = ["s3cretToken", "s3cretParam", "s3cretRow", "s3cretLiteral", "s3cretFilter", "s3cretBody", "s3cretMessage", "s3cretBlob"]


@case("at level debug: no token, parameter, literal, filter, row or message in any line")
async def secrets():
    with Directory() as directory, Server(directory.file("a.db"), "--log-level", "debug", "--slow-query", "0.001",
                                          "--max-subscriptions", "3", "--max-queue", "64KiB", "--query-timeout", "2") as server:
        http = server.http()
        auth = {"Authorization": "Bearer s3cretToken", "Cookie": "rowtap_token=s3cretToken"}
        http.request("GET", "/health?token=s3cretToken", headers=auth)
        http.request("GET", "/api/tables/s?token=s3cretToken", headers=auth)
        http.request("GET", "/nothing?access_token=s3cretToken", headers=auth)
        http.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT UNIQUE, y BLOB DEFAULT 's3cretLiteral')")
        blob = {"$base64": base64.b64encode(b"s3cretBlob").decode()}
        http.sql("INSERT INTO t(x, y) VALUES (?, ?)", ["s3cretParam", blob])
        http.sql("INSERT INTO t(x) VALUES (:v)", {"v": "s3cretRow"})
        for sql in ("SELECT * FROM t WHERE x = 's3cretLiteral'", "SELECT \"s3cretLiteral\", x FROM t", "SELECT [x], `y` FROM t",
                    "INSERT INTO t(x) VALUES ('s3cretRow')", "INSERT INTO t(x) VALUES ('s3cretLiteral", "SELECT 's3cretLiteral' FRM t",
                    "/* s3cretLiteral */ SELECT 1 -- s3cretLiteral", "UPDATE t SET x = json('s3cretLiteral')", "SELECT x'733363' || $v(s3cretParam)",
                    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n || 's3cretLiteral') FROM c"):
            http.try_sql(sql)
        http.request("POST", "/api/sql", '{"sql": "SELECT 1", "params": [s3cretBody')
        http.request("POST", "/api/sql", '{"s3cretBody": 1}')
        http.request("POST", "/api/sql", '"s3cretBody"', {"Content-Type": "text/s3cretBody"})
        for raw_head in (b"GET /ws?token=s3cretToken HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cretToken\r\n\r\n",
                         b"GET /ws?token=s3cretToken HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: rowtap_token=s3cretToken\r\nBad Header\r\n\r\n",
                         b"NONSENSE s3cretToken s3cretToken\r\n\r\n", b"s3cretToken" * 3000 + b"\r\n\r\n",
                         b"POST /api/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\ns3cretBody",
                         b"GET /api/changes?table=t&filter=x%3Ds3cretFilter%20&filter=q%3D%27s3cretFilter&token=s3cretToken HTTP/1.1\r\n"
                         b"Host: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"):
            raw = RawSocket(server)
            raw.send(raw_head)
            await asyncio.sleep(0.05)
            raw.close()
        client = await Client.open(server, "/ws?token=s3cretToken", extra_headers=auth)
        await client.send("s3cretMessage")
        await client.send({"type": "s3cretMessage"})
        await client.send({"type": "auth", "token": "s3cretToken"})
        await client.send({"type": "broadcast", "channel": "s", "data": "s3cretMessage"})
        await client.send({"type": "query:start", "data": {"sql": "SELECT 's3cretLiteral', ?", "params": ["s3cretParam"]}})
        await client.send({"type": "request", "requestId": "q", "payload": {"action": "sql", "sql": "SELECT 's3cretLiteral'"}})
        for filter_ in ("x=s3cretFilter", "s3cretFilter=1", "x='s3cretFilter", "x=s3cretFilter"):
            await client.send({"type": "subscribe", "table": "t", "filter": filter_})
        await client.send({"type": "subscribe", "table": "t", "snapshot": True})
        http.sql("UPDATE t SET x = 's3cretRow2' WHERE id = 1")
        http.sql("ALTER TABLE t ADD COLUMN z DEFAULT 's3cretLiteral'")
        await asyncio.sleep(0.3)
        await client.close()
        slow = await in_thread(RawSocket, server, 20, 4096)
        await in_thread(slow.upgrade)
        slow.text({"type": "subscribe", "table": "t"})
        for i in range(200):
            await in_thread(http.sql, "INSERT INTO t(x) VALUES (? || hex(randomblob(20000)))", [f"s3cretRow{i}"])
        slow.close()
        for message in ("slow query", "query started", "query ended", "request", "connection opened", "command refused"):
            wait_for(server, message)
        text = server.stderr()
        for secret in SECRETS:
            for form in (secret, base64.b64encode(secret.encode()).decode()[:-4], secret.encode().hex()):
                at = text.lower().find(form.lower())
                check(at < 0, "%s is in the log: …%s…", secret, text[max(0, at - 300):at + 100])


@case("a log that nobody reads holds nobody up, nor the end of the server")
def unread():
    with Directory() as directory:
        process = subprocess.Popen([BIN, directory.file("a.db"), "--listen", "127.0.0.1:0", "--log-level", "debug"],
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment())
        try:
            first = b""
            while b"listening on" not in first or not first.endswith(b"\n"):
                first += os.read(process.stderr.fileno(), 4096)
            found = re.search(rb"listening on http://([\d.]+):(\d+)", first)
            server = type("Address", (), {"host": found[1].decode(), "port": int(found[2]), "tls": None})
            from harness import Http
            http, begun = Http(server), time.monotonic()
            for _ in range(3000):  # half a megabyte of lines, into a pipe of 64 KiB
                equal(http.request("GET", "/api/ws/status").status, 200, "status")
            taken = time.monotonic() - begun
            check(taken < seconds(20), "3,000 requests took %.1f s", taken)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            equal(process.wait(seconds(7)), 0, "exit status")
            check(time.monotonic() - begun < seconds(5), "the end took %.1f s", time.monotonic() - begun)
            http.close()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stderr.close()


@case("a client cannot flood the log: more of one event is summed up")
def flood():
    with Directory() as directory, Server(directory.file("a.db")) as server:
        for _ in range(400):
            raw = RawSocket(server)
            raw.upgrade(Sec_WebSocket_Version="8")
            raw.close()
        said = [r for r in records(server) if r["message"] == "handshake refused"]
        end = time.monotonic() + seconds(10)
        while True:
            all_ = records(server)
            said = [r for r in all_ if r["message"] == "handshake refused"]
            sums = sum(int(r["suppressed"]) for r in all_ if r.get("event") == "handshake refused")
            if len(said) + sums == 400:
                break
            check(time.monotonic() < end, "%d lines, %d summed up", len(said), sums)
            time.sleep(0.1)


if __name__ == "__main__":
    main()
