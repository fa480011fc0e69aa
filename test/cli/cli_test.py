#!/usr/bin/python3
"""The verbs against a real server: scripts of any size, output forms, reconnecting, the benchmark."""
import base64
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (BIN, SANITIZER, Directory, Server, case, check, environment, equal, main, run,  # noqa: E402
                     seconds)

DUMP_HEAD = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"


def sql(server, *arguments, stdin=None, status=0):
    """(stdout, stderr) of `rowtap sql`."""
    code, out, err = run("sql", "--url", server.url, *arguments, stdin=None if stdin is None else stdin.encode(),
                         timeout=120)
    equal(code, status, f"exit status; stderr {err[-500:]!r}")
    return out, err


def count(server, table="t"):
    return server.sql(f"select count(*) from {table}")["rows"][0][0]


@case("parameters are numbers, NULL, blobs or text as documented")
def parameters():
    with Directory() as d, Server(d.file("a.db")) as server:
        out, _ = sql(server, "--format", "csv", "select typeof(?1), typeof(?2), typeof(?3), typeof(?4), typeof(?5), ?6, ?7",
                     "42", "-1.5", "null", "x'00ff'", "'42'", "007", "9223372036854775807")
        equal(out.split("\r\n")[1], "integer,real,null,blob,text,007,9223372036854775807")


@case("output: table, JSON and CSV")
def formats():
    with Directory() as d, Server(d.file("a.db")) as server:
        query = "select 1 as id, 'a,\"b' as name, null as n, 9e999 as r, x'0aff' as b, 1.0 as id"
        out, _ = sql(server, query)
        equal(out.splitlines()[2], " 1  a,\"b  NULL  Inf  x'0aff'  1.0")
        check(out.splitlines()[3].startswith("(1 row, "))
        out, _ = sql(server, "--format", "json", query)
        equal(out, '[{"id":1,"name":"a,\\"b","n":null,"r":9e999,"b":{"$base64":"Cv8="},"id:2":1.0}]\n')
        out, _ = sql(server, query, "--format=csv")
        equal(out, "id,name,n,r,b,id\r\n1,\"a,\"\"b\",,Inf,x'0aff',1.0\r\n")
        out, _ = sql(server, "--format", "json", "create table t(a); insert into t values (1), (2)")
        equal({k: v for k, v in json.loads(out).items()}, {"changes": 2, "lastInsertRowid": 2, "seq": 3})
        out, _ = sql(server, "--format", "csv", "delete from t")
        equal(out, "")


@case("a script from standard input stops at its first error and says where")
def script_error():
    with Directory() as d, Server(d.file("a.db")) as server:
        script = "create table t(a);\ninsert into t values (1);\n\ninsert into\n  nosuch values (2);\ninsert into t values (3);\n"
        out, err = sql(server, stdin=script, status=1)
        equal(out, "")
        check("no such table: nosuch" in err and "line " in err and "committed, up to seq 2" in err, "stderr: %s", err)
        equal(count(server), 1)


def dump(rows, width, last="COMMIT;\n", ahead=1):
    """A dump whose rows refer to the row `ahead` of them."""
    yield DUMP_HEAD
    yield "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES t, a TEXT);\n"
    for i in range(1, rows + 1):
        parent = i + ahead if 1 <= i + ahead <= rows else "NULL"
        yield f"INSERT INTO t VALUES({i},{parent},'it''s; -- {i}\n{'x' * width}');\n"
    yield "DELETE FROM sqlite_sequence;\nINSERT INTO sqlite_sequence VALUES('t',%d);\n" % rows
    yield "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = 'END;' WHERE id = -1; SELECT 1; END;\n"
    yield last


@case("what sqlite3 .dump writes is loaded whole")
def small_dump():
    with Directory() as d, Server(d.file("a.db")) as server:
        sql(server, stdin="".join(dump(1000, 20)))
        equal(count(server), 1000)
        equal(len(server.sql("select name from sqlite_schema where type = 'trigger'")["rows"]), 1)
        _, err = sql(server, stdin="".join(dump(1000, 20)), status=1)
        check("table t already exists" in err and "line 3" in err, "stderr: %s", err)


@case("a small dump with an error leaves nothing behind")
def small_dump_is_atomic():
    with Directory() as d, Server(d.file("a.db")) as server:
        _, err = sql(server, stdin="".join(dump(10, 20, "nonsense;\nCOMMIT;\n")), status=1)
        check("syntax error" in err and "line 27" in err, "stderr: %s", err)
        equal(server.sql("select count(*) from sqlite_schema where name = 't'")["rows"], [[0]])


@case("a dump larger than one request may be is loaded in pieces, and says so")
def large_dump():
    with Directory() as d, Server(d.file("a.db")) as server:
        _, err = sql(server, stdin="".join(dump(600, 40000, ahead=-1)))
        check("committed in" in err and "pieces" in err, "stderr: %s", err)
        equal(count(server), 600)


@case("a large dump whose rows refer to later ones needs one transaction, and the message says how")
def large_dump_ahead():
    with Directory() as d:
        text = "".join(dump(600, 40000))
        with Server(d.file("a.db")) as server:
            _, err = sql(server, stdin=text, status=1)
            check("FOREIGN KEY constraint failed" in err and "--max-body 24MiB" in err, "stderr: %s", err)
        with Server(d.file("b.db"), "--max-body", "24MiB") as server:
            _, err = sql(server, stdin=text)
            check("pieces" not in err, "stderr: %s", err)
            equal(count(server), 600)


@case("a dump that ends with ROLLBACK is not loaded")
def broken_dump():
    with Directory() as d, Server(d.file("a.db")) as server:
        _, err = sql(server, stdin="".join(dump(10, 20, "ROLLBACK; -- due to errors\n")), status=1)
        check("line 27" in err and "ROLLBACK" in err, "stderr: %s", err)
        equal(server.sql("select count(*) from sqlite_schema where name = 't'")["rows"], [[0]])


@case("a long script is cut between transactions, never inside one")
def long_script():
    with Directory() as d, Server(d.file("a.db"), "--max-body", "12MB") as server:
        block = "BEGIN; insert into t values (1); insert into t values ('%s');\n%s COMMIT;\n"
        good = block % ("x" * 3000000, "")
        bad = block % ("x" * 3000000, "insert into nosuch values (1);")
        script = "create table t(a);\n" + good * 3 + "insert into t values (7);\n" + bad + good
        _, err = sql(server, stdin=script, status=1)
        check("no such table: nosuch" in err and "line 10" in err, "stderr: %s", err[-600:])
        equal(count(server), 7)


@case("a transaction too large for one request is refused, or committed in pieces on request")
def large_transaction():
    with Directory() as d, Server(d.file("a.db")) as server:
        script = "create table t(a);\nbegin;\n" + ("insert into t values ('%s');\n" % ("x" * 1000000)) * 18 + "commit;\n"
        _, err = sql(server, stdin=script, status=1)
        check("line 2" in err and "--max-body" in err and "--pieces" in err, "stderr: %s", err)
        equal(count(server), 0)
        _, err = sql(server, "--pieces", stdin=script.split("\n", 1)[1])
        check("in pieces" in err)
        equal(count(server), 18)


@case("a result that is too large is not taken for a request that is")
def large_result():
    with Directory() as d, Server(d.file("a.db"), "--max-result", "10000") as server:
        query = "with recursive r(n) as (select 1 union all select n + 1 from r limit 10000) select n from r"
        for arguments, stdin in (([query], None), ([], query)):
            _, err = sql(server, *arguments, stdin=stdin, status=1)
            check("the result is larger" in err and "LIMIT" in err and "max-body" not in err, "stderr: %s", err)


@case("text that is not UTF-8 is refused, and nothing is sent")
def bad_text():
    with Directory() as d, Server(d.file("a.db")) as server:
        code, _, err = run("sql", "--url", server.url, stdin=b"create table t(a);\ninsert into t values ('\xff');")
        equal(code, 1)
        check("not valid UTF-8" in err)
        equal(server.sql("select count(*) from sqlite_schema where name = 't'")["rows"], [[0]])


@case("a closed pipe ends quietly, a full disk with a message")
def closed_pipe():
    with Directory() as d, Server(d.file("a.db")) as server:
        query = "with recursive r(n) as (select 1 union all select n + 1 from r limit 200000) select n from r"
        read, write = os.pipe()
        child = subprocess.Popen([BIN, "sql", "--url", server.url, query], stdout=write, stderr=subprocess.PIPE,
                                 stdin=subprocess.DEVNULL, env=environment())
        os.close(write)
        os.read(read, 10)
        os.close(read)
        err = child.communicate(timeout=seconds(60))[1].decode()
        equal((child.returncode, err), (0, ""), "exit status and stderr")
        with open("/dev/full", "wb") as full:
            child = subprocess.run([BIN, "sql", "--url", server.url, "select 1"], stdout=full, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, env=environment(), timeout=seconds(30))
        equal(child.returncode, 1)
        check(b"cannot write the output" in child.stderr)


@case("wrong usage names what is wrong and exits 2")
def usage():
    for arguments, message in (
            (["sql", "--fromat", "json", "select 1"], "did you mean --format?"),
            (["watch", "a", "b"], "too many arguments"),
            (["bench", "--writers", "0"], "between 1 and"),
            (["health", "--url"], "--url wants a value"),
            (["help", "nosuch"], 'no verb "nosuch"')):
        code, out, err = run(*arguments)
        equal((code, out), (2, ""), f"exit status and stdout of {arguments}")
        check(message in err, "%s: %s", arguments, err)


@case("help and version")
def helps():
    code, out, _ = run("help")
    equal(code, 0)
    for verb in ("serve", "sql", "watch", "tail", "health", "status", "bench"):
        check(f"\n  {verb}" in out, "help does not name %s", verb)
    for verb in ("sql", "watch", "tail", "health", "status", "bench", "help", "version"):
        code, of_help, _ = run("help", verb)
        equal(code, 0)
        check(of_help.startswith(f"usage: rowtap {verb}"))
        equal(run(verb, "--help")[:2], (0, of_help))
    code, out, _ = run("version")
    check(code == 0 and out.startswith("rowtap "))


@case("health and status: 0 when well, 1 when nobody answers or somebody else does")
def health():
    with Directory() as d, Server(d.file("a.db")) as server:
        for verb in ("health", "status"):
            code, out, _ = run(verb, "--url", server.url)
            equal(code, 0)
            check("ok" in out.splitlines()[0])
            code, out, _ = run(verb, "--url", server.url, "--format", "json")
            equal((code, json.loads(out)["status"]), (0, "ok"))
        url = server.url
    with Directory() as d, Server(d.file("a.db"), "--journal", "--journal-rows", "10", "--history", "0") as server:
        server.sql("create table t(a)")
        for i in range(30):
            server.sql(f"insert into t values ({i})")
        _, out, _ = run("health", "--url", server.url, "--format", "json")
        health = json.loads(out)
        equal(health["history"], {"bytes": 0, "firstSeq": 32})
        check(15 < health["journal"]["firstSeq"] <= 22, "journal: %s", health["journal"])
        _, out, _ = run("health", "--url", server.url)
        check(re.search(rf"\nJournal: *\n  First seq: +{health['journal']['firstSeq']}\n", out), "stdout: %s", out)
    code, _, err = run("health", "--url", url)
    equal(code, 1)
    check("connection refused" in err and "--url" in err, "stderr: %s", err)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://127.0.0.1:%d" % silent.getsockname()[1]
        begun = time.monotonic()
        code, _, err = run("health", "--url", url, "--timeout", "0.5")
        equal(code, 1)
        check("no answer" in err and time.monotonic() - begun < seconds(5), "stderr: %s", err)
        # ROWTAP_URL is the default; a proxy of the environment is not asked about this machine.
        code, _, err = run("health", "--timeout", "0.3", env={"ROWTAP_URL": url, "http_proxy": "http://127.0.0.1:1"})
        check("no answer from " + url in err, "stderr: %s", err)


class Watch:
    def __init__(self, directory, *arguments):
        self.out_path, self.err_path = directory.file("watch.out"), directory.file("watch.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen([BIN, "watch", *arguments], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=err, env=environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def wait(self, wanted, path, times=1):
        end = time.monotonic() + seconds(25)
        while time.monotonic() < end:
            if self.text(path).count(wanted) >= times:
                return
            time.sleep(0.03)
        raise AssertionError(f"never saw {wanted!r} in {self.text(path)!r}; stderr {self.text(self.err_path)!r}")

    def end(self, number):
        self.process.send_signal(number)
        status = self.process.wait(seconds(5))
        check(not SANITIZER.search(self.text(self.err_path)), "sanitizer report:\n%s", self.text(self.err_path))
        return status


@case("watch connects again after a restart, says so, and ends cleanly")
def reconnect():
    with Directory() as d:
        server = Server(d.file("a.db"))
        server.sql("create table t(id integer primary key, a)")
        with Watch(d, "t", "--url", server.url) as watch:
            watch.wait("watching t at " + server.url, watch.err_path)
            server.sql("insert into t values (1, 'first')")
            watch.wait("+ INSERT t id=1  a='first'", watch.out_path)
            listen = f"{server.host}:{server.port}"
            server.stop()
            watch.wait("connection lost", watch.err_path)
            watch.wait("retrying in", watch.err_path, 2)
            with Server(d.file("a.db"), listen=listen) as again:
                watch.wait("connected again", watch.err_path)
                again.sql("insert into t values (2, 'second')")
                watch.wait("+ INSERT t id=2  a='second'", watch.out_path)
                equal(watch.text(watch.out_path).count("first"), 1)
                equal(watch.end(signal.SIGINT), 0)


class Cut:
    """A way to the server that can be cut and opened again."""

    def __init__(self, server):
        self.server, self.pairs, self.open = server, [], True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.create_connection((self.server.host, self.server.port))
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    @staticmethod
    def carry(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass

    def cut(self):
        self.open = False
        for pair in self.pairs:
            for end in pair:
                end.shutdown(socket.SHUT_RDWR)
                end.close()
        self.pairs.clear()


@case("watch goes on where it was when the connection was lost, and starts in the past")
def resume():
    with Directory() as d, Server(d.file("a.db")) as server:
        server.sql("create table t(id integer primary key); insert into t values (1), (2), (3)")
        way = Cut(server)
        with Watch(d, "--url", way.url, "--since", "2") as watch:
            watch.wait("INSERT t id=3", watch.out_path)
            for i in range(3):
                way.cut()
                server.sql(f"insert into t values ({10 + i}); create table u{i}(a)")
                way.open = True
                watch.wait("connected again; nothing was missed", watch.err_path, i + 1)
                watch.wait(f"table:created u{i}", watch.out_path)
            lines = [line[13:] for line in watch.text(watch.out_path).splitlines()]
            equal(sorted(lines), sorted(["+ INSERT t id=2", "+ INSERT t id=3"] + [f"+ INSERT t id={10 + i}" for i in range(3)]
                                        + [f"+ table:created u{i}(a)" for i in range(3)]))
            equal(watch.end(signal.SIGINT), 0)
        way.listener.close()


@case("watch --snapshot prints the rows, then changes, and the rows again only where changes were lost")
def snapshot():
    with Directory() as d, Server(d.file("a.db")) as server:
        server.sql("create table t(id integer primary key, a)")
        server.sql("insert into t values (1, 'one'), (2, 'two'), (3, null)")
        way = Cut(server)
        with Watch(d, "t", "--url", way.url, "--snapshot", "--filter", "a is not null") as watch:
            watch.wait("= ROW t id=2  a='two'", watch.out_path)
            server.sql("insert into t values (4, 'four')")
            watch.wait("+ INSERT t id=4  a='four'", watch.out_path)
            way.cut()
            server.sql("update t set a = 'uno' where id = 1")
            way.open = True
            watch.wait("connected again; nothing was missed", watch.err_path)
            watch.wait("UPDATE t id=1", watch.out_path)
            way.cut()
            server.stop()
            # Without a journal a restart loses the history.
            with Server(d.file("a.db")) as again:
                again.sql("delete from t where id = 2")
                way.server = again
                way.open = True
                watch.wait("changes in between were lost: the server's history began anew (epoch_changed); here are all rows",
                           watch.err_path)
                watch.wait("= ROW t id=4  a='four'", watch.out_path)
                again.sql("delete from t where id = 4")
                watch.wait("- DELETE t id=4", watch.out_path)
                lines = [line[13:] for line in watch.text(watch.out_path).splitlines()]
                equal([line for line in lines if line.startswith("= ROW")],
                      ["= ROW t id=1  a='one'", "= ROW t id=2  a='two'", "= ROW t id=1  a='uno'",
                       "= ROW t id=4  a='four'"])
                equal(watch.end(signal.SIGINT), 0)
        code, _, err = run("watch", "--snapshot", "--url", way.url)
        equal(code, 2)
        check("--snapshot reads the rows of one table" in err, "stderr: %s", err)


@case("watch --since with what cannot be had says why, and --snapshot then reads the rows")
def since_lost():
    with Directory() as d, Server(d.file("a.db")) as server:
        server.sql("create table t(id integer primary key); insert into t values (1), (2)")
        for since, why in (("other:1", "the server's history began anew (epoch_changed)"),
                           ("1000", "the server has not come so far yet (future)")):
            with Watch(d, "t", "--url", server.url, "--since", since) as watch:
                watch.wait(f"the changes since {since} cannot be had: {why}\n", watch.err_path)
                watch.wait(f"! resync: changes are missing here: {why}\n", watch.out_path)
                equal(watch.end(signal.SIGINT), 0)
            with Watch(d, "t", "--url", server.url, "--since", since, "--snapshot", "--format", "json") as watch:
                watch.wait(f"cannot be had: {why}; here are all rows\n", watch.err_path)
                watch.wait('"last":true', watch.out_path)
                equal([json.loads(line)["type"] for line in watch.text(watch.out_path).splitlines()], ["resync", "snapshot"])
                equal(watch.end(signal.SIGINT), 0)
        with Watch(d, "t", "--url", server.url, "--since", "2", "--snapshot") as watch:
            watch.wait("INSERT t id=2", watch.out_path)
            check("ROW" not in watch.text(watch.out_path), "the rows were read, though the past can be had")
            equal(watch.end(signal.SIGINT), 0)


class Play:
    """A server that says what the test tells it, to one client after the other."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        """The next client's `subscribe`."""
        self.listener.settimeout(seconds(25))
        self.socket = self.listener.accept()[0]
        self.socket.settimeout(seconds(25))
        self.file = self.socket.makefile("rb")
        key = ""
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            key = value if name.lower() == "sec-websocket-key" else key
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        self.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")
        self.say(type="connection:ack", data={"epoch": "e", "seq": 5, "heartbeatInterval": 30000})
        head = self.file.read(2)
        length = head[1] & 127
        length = int.from_bytes(self.file.read(2), "big") if length == 126 else length
        mask = self.file.read(4)
        return json.loads(bytes(b ^ mask[i % 4] for i, b in enumerate(self.file.read(length))))

    def say(self, **message):
        text = json.dumps(message).encode()
        self.socket.sendall((bytes([0x81, len(text)]) if len(text) < 126 else b"\x81\x7e" + len(text).to_bytes(2, "big")) + text)

    def subscribed(self, seq, **more):
        self.say(type="subscribed", requestId="rows", data={"subscription": "s1", "table": "t", "seq": seq, **more})

    def rows(self, *ids, last=True):
        self.say(type="snapshot", subscription="s1", table="t", seq=5, last=last,
                 data={"rows": [{"key": {"id": i}, "data": {"id": i}} for i in ids]})


@case("watch --snapshot takes an unfinished snapshot again, and resumes where it was too slow")
def unfinished():
    play = Play()
    with Directory() as d, Watch(d, "t", "--url", play.url, "--snapshot") as watch:
        equal(play.accept(), {"type": "subscribe", "requestId": "rows", "table": "t", "snapshot": True})
        play.subscribed(5)
        play.rows(1, 2, last=False)
        play.say(type="resync", subscription="s1", reason="snapshot_timeout")
        watch.wait("the rows have to be read anew: reading the rows took longer than the server's --snapshot-timeout "
                   "(snapshot_timeout); retrying in", watch.err_path)
        watch.wait("! resync: rows are missing here", watch.out_path)
        check("since" not in play.accept(), "an unfinished snapshot cannot be resumed")
        play.subscribed(5)
        play.rows(1, 2, last=False)
        play.rows(3)
        play.say(type="database_change", seq=7, tx=2, table="t", event="INSERT", key={"id": 4}, data={"id": 4})
        play.say(type="resync", reason="slow_consumer", seq=90)
        watch.wait("the server did not wait for what is read here too slowly; retrying in", watch.err_path)
        subscribe = play.accept()
        equal((subscribe["since"], subscribe["epoch"], subscribe["snapshot"]), (7, "e", True))
        play.subscribed(7, recovered=True)
        watch.wait("connected again; nothing was missed", watch.err_path)
        equal(watch.text(watch.out_path).count("resync"), 1, "what can be had again is not missing")
        play.say(type="resync", subscription="s1", reason="history_lost")
        watch.wait("the rows have to be read anew: the server does not keep them for so long (history_lost)", watch.err_path)
        check("since" not in play.accept(), "what was lost cannot be had again")
        equal(watch.end(signal.SIGINT), 0)
    play.listener.close()


@case("watch says where the server could not read what another program wrote")
def gap():
    words = "the server could not read what another program wrote (capture_gap)"
    play = Play()
    with Directory() as d, Watch(d, "t", "--url", play.url) as watch:
        play.accept()
        play.subscribed(5)
        play.say(type="resync", reason="capture_gap", seq=9)
        watch.wait(f"changes were lost: {words}\n", watch.err_path)
        watch.wait(f"! resync: changes are missing here: {words}\n", watch.out_path)
        play.socket.shutdown(socket.SHUT_RDWR)
        subscribe = play.accept()
        equal((subscribe["since"], subscribe["epoch"]), (9, "e"))
        equal(watch.end(signal.SIGINT), 0)
    with Directory() as d, Watch(d, "t", "--url", play.url, "--snapshot") as watch:
        play.accept()
        play.subscribed(5)
        play.rows(1)
        play.say(type="resync", reason="capture_gap", seq=9)
        watch.wait(f"the rows have to be read anew: {words}", watch.err_path)
        check("since" not in play.accept(), "what was lost cannot be had again")
        equal(watch.end(signal.SIGINT), 0)
    play.listener.close()


@case("sql --wait says how many have been sent the changes")
def wait():
    with Directory() as d, Server(d.file("a.db")) as server:
        server.sql("create table t(id integer primary key)")
        equal(sql(server, "--wait", "insert into t values (1)")[1], "delivered to 0 subscribers\n")
        with Watch(d, "t", "--url", server.url) as watch:
            watch.wait("watching t", watch.err_path)
            out, err = sql(server, "--wait", "insert into t values (2)")
            equal((out[:13], err), ("1 row changed", "delivered to 1 subscriber\n"))
            equal(sql(server, "--wait", "--format", "csv", stdin="insert into t values (8); select 1 as a;"),
                  ("a\r\n1\r\n", "delivered to 1 subscriber\n"))
            equal(sql(server, "--wait", "nonsense", status=1)[1].count("delivered"), 0)
            equal(watch.end(signal.SIGINT), 0)


@case("watch without TABLE shows all tables and what becomes of them; SIGTERM ends it")
def everything():
    with Directory() as d, Server(d.file("a.db")) as server:
        with Watch(d, "--url", server.url.replace("http", "ws")) as watch:
            watch.wait("watching all tables", watch.err_path)
            server.sql("create table t(id integer primary key, a text); insert into t values (1, 'x' || char(27, 10));"
                       "update t set a = null; alter table t rename to u; delete from u; drop table u")
            watch.wait("table:dropped u", watch.out_path)
            lines = [line[13:] for line in watch.text(watch.out_path).splitlines()]
            equal(lines, ["+ table:created t(id INTEGER, a TEXT)", "+ INSERT t id=1  a='x\\u001b\\n'",
                          "~ UPDATE t id=1  a='x\\u001b\\n'→NULL", "~ table:altered u(id INTEGER, a TEXT)  renamed from t",
                          "- DELETE u id=1  a=NULL", "- table:dropped u(id INTEGER, a TEXT)"])
            equal(watch.end(signal.SIGTERM), 0)


@case("watch does not try again what cannot succeed")
def refused():
    with Directory() as d, Server(d.file("a.db")) as server:
        for arguments, message in ((["nosuch"], "no such table"), (["--filter", "a=1"], "table"),
                                   (["--url", server.url + "/nowhere"], "")):
            code, out, err = run("watch", "--url", server.url, *arguments)
            equal((code, out), (1, ""), "exit status and stdout")
            check(message in err and len(err.splitlines()) == 1, "stderr: %s", err)


@case("bench measures, checks what arrived, and leaves nothing behind")
def bench():
    with Directory() as d, Server(d.file("a.db")) as server:
        code, out, err = run("bench", "--url", server.url, "--seconds", "1", "--subscribers", "20", "--writers", "3",
                             "--rows-per-request", "2", "--format", "json", timeout=60)
        equal((code, err), (0, ""), "exit status and stderr")
        result = json.loads(out)
        equal(result["onceAndInOrder"], True)
        equal(result["deliveries"], result["rows"] * 20)
        check(result["rows"] > 0 and 0 < result["latencyMs"]["p50"] <= result["latencyMs"]["max"])
        equal(server.sql("select count(*) from sqlite_schema where name = 'bench'")["rows"], [[0]])
        server.sql("create table bench(mine)")
        code, _, err = run("bench", "--url", server.url, "--seconds", "1")
        equal(code, 1)
        check("already exists" in err, "stderr: %s", err)
        equal(server.sql("select count(*) from bench")["rows"], [[0]])
        code, out, err = run("bench", "--url", server.url, "--seconds", "0.3", "--table", 'odd "name"', "--keep", timeout=60)
        equal((code, err), (0, ""))
        check("once and in order: yes" in out)
        check(count(server, '"odd ""name"""') > 0)


@case("bench reads what is past: changes and snapshots, from memory and from the journal")
def bench_past():
    for options in ([], ["--history", "0", "--journal"]):
        with Directory() as d, Server(d.file("a.db"), *options) as server:
            for kind, extra in (("--resume", 1), ("--snapshot", 1), ("--resume", 2)):
                code, out, err = run("bench", "--url", server.url, kind, "3000", "--subscribers", "3", "--keep",
                                     "--format", "json", timeout=60)
                equal((code, err), (0, ""), f"exit status and stderr of {kind}")
                result = json.loads(out)
                # each --resume adds the row that it waits for
                equal((result["least"], result["most"]), (3000 + extra, 3000 + extra), f"rows with {kind}")
                check(result["perSecond"] > 0)
            equal(count(server, "bench"), 3002)
            server.sql("drop table bench")
            code, out, err = run("bench", "--url", server.url, "--snapshot", "10")
            equal((code, err), (0, ""))
            check(out.startswith("snapshot: 1 subscribers, 10 rows each"), "stdout: %s", out)
            equal(server.sql("select count(*) from sqlite_schema where name = 'bench'")["rows"], [[0]])


@case("bench says when nothing of the past is kept, and what cannot be measured together")
def bench_past_refused():
    with Directory() as d, Server(d.file("a.db"), "--history", "0") as server:
        code, out, err = run("bench", "--url", server.url, "--resume", "10")
        equal((code, out), (1, ""))
        check("keeps none of the past" in err, "stderr: %s", err)
        code, _, err = run("bench", "--url", server.url, "--resume", "10", "--snapshot", "10")
        equal(code, 2)
        check("only one of" in err, "stderr: %s", err)
        code, _, err = run("bench", "--url", server.url, "nosuch")
        equal(code, 2)
        check('no test "nosuch"' in err, "stderr: %s", err)
        code, _, err = run("bench", "--url", server.url, "filters", "--subscribers", "10", "--subscriptions", "15")
        equal(code, 1)
        check("multiple of --subscribers" in err, "stderr: %s", err)


def results(out):
    return [json.loads(line) for line in out.splitlines()]


@case("bench gives subscribers rows of their own, and checks that no others come")
def bench_filters():
    with Directory() as d, Server(d.file("a.db")) as server:
        for options, share in ((["--filter", "equal"], 1), (["--filter", "range", "--subscriptions", "100"], 1),
                               (["--filter", "in", "--subscriptions", "40", "--matching", "4"], 0.1)):
            code, out, err = run("bench", "filters", "--url", server.url, "--subscribers", "20", "--seconds", "0.5",
                                 *options, "--format", "json", timeout=60)
            equal((code, err), (0, ""), f"exit status and stderr with {options}")
            result = json.loads(out)
            equal((result["onceAndInOrder"], result["filter"]), (True, options[1]))
            check(abs(result["deliveries"] - result["rows"] * share) <= 4 * 4, "%d deliveries of %d rows",
                  result["deliveries"], result["rows"])
        equal(server.sql("select count(*) from sqlite_schema where name = 'bench'")["rows"], [[0]])


@case("bench notices a row that is not one of its own")
def bench_notices():
    with Directory() as d, Server(d.file("a.db")) as server:
        child = subprocess.Popen([BIN, "bench", "--url", server.url, "--seconds", "60", "--rate", "20"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment())
        end = time.monotonic() + seconds(20)
        while time.monotonic() < end and not (
                server.sql("select count(*) from sqlite_schema where name='bench'")["rows"][0][0] and count(server, "bench")):
            time.sleep(0.05)
        # a count that the writer passes again
        server.sql("insert into bench(k, payload, at) select max(k) + 1, '', 0 from bench")
        out, err = child.communicate(timeout=seconds(30))
        equal(child.returncode, 1)
        check(b"once and in order: no" in out, "stdout: %s", out)
        check(b"gap or out of order" in err, "stderr: %s", err)
        equal(server.sql("select count(*) from sqlite_schema where name = 'bench'")["rows"], [[0]])


@case("bench measures reads and connections, in steps, and beside earlier results")
def bench_others():
    with Directory() as d, Server(d.file("a.db")) as server:
        def one(*options, text=b""):
            code, out, err = run("bench", "--url", server.url, "--seconds", "0.3", *options, stdin=text, timeout=60)
            equal((code, err.replace("ready\n", "")), (0, ""), f"exit status and stderr of {options}")
            return out
        reads, = results(one("reads", "--readers", "3", "--writers", "1", "--format", "json"))
        check(reads["readsPerSecond"] > 0 and reads["writesPerSecond"] > 0 and reads["onceAndInOrder"])
        connect, = results(one("connect", "--subscribers", "50", "--format", "json"))
        check(connect["connectionsPerSecond"] > 0 and connect["onceAndInOrder"])
        steps = one("fanout", "--subscribers", "5", "--steps", "--format", "json", text=b"\n\n")
        first, second = results(steps)
        for step in (first, second):
            equal(step["deliveries"], step["rows"] * 5)
        with open(d.file("before"), "w") as file:
            file.write(steps)
        again, = results(one("fanout", "--subscribers", "5", "--compare", d.file("before"), "--format", "json"))
        check(abs(again["ratios"]["writesPerSecond"] * first["writesPerSecond"] / again["writesPerSecond"] - 1) < 0.02)
        check("of before)" in one("fanout", "--subscribers", "5", "--compare", d.file("before")))
        check("nothing to compare with" in one("fanout", "--subscribers", "4", "--compare", d.file("before")))
        equal([r["writers"] for r in results(one("writes", "--rows-per-request", "2", "--format", "json"))],
              [1, 2, 4, 8, 16, 32, 64])


@case("bench writes at a rate, or without subscribers")
def bench_rate():
    with Directory() as d, Server(d.file("a.db")) as server:
        code, out, err = run("bench", "--url", server.url, "--rate", "100", "--writers", "2", "--seconds", "1",
                             "--subscribers", "1", "--payload", "200", "--format", "json", timeout=60)
        equal((code, err), (0, ""))
        result = json.loads(out)
        check(50 <= result["requests"] <= 102, "%d requests in a second at 100 per second", result["requests"])
        check(0 < result["answerMs"]["p50"] <= result["answerMs"]["max"])
        code, out, err = run("bench", "--url", server.url, "--writes-only", "--seconds", "0.3")
        equal((code, err), (0, ""))
        check("0 subscribers" in out and "deliveries" not in out, "stdout: %s", out)


@case("bench --spin measures the same")
def bench_spin():
    with Directory() as d, Server(d.file("a.db")) as server:
        def one(*options, text=b""):
            code, out, err = run("bench", "--spin", "--url", server.url, "--seconds", "0.3", *options, "--format", "json",
                                 stdin=text, timeout=60)
            equal((code, err.replace("ready\n", "")), (0, ""), f"exit status and stderr of {options}")
            return results(out)
        for options in (["latency", "--subscribers", "3"], ["fanout", "--subscribers", "30", "--writers", "3"],
                        ["latency", "--subscribers", "2", "--requests", "5"]):
            result, = one(*options)
            equal((result["onceAndInOrder"], result["spin"]), (True, 1))
            equal(result["deliveries"], result["rows"] * result["subscribers"])
        equal(result["rows"], 5)
        equal([step["deliveries"] for step in one("fanout", "--subscribers", "2", "--requests", "7", "--steps", text=b"\n\n")],
              [14, 14])
        check(one("--writes-only")[0]["rows"] > 0)
        child = subprocess.Popen([BIN, "bench", "--spin", "--url", server.url, "--seconds", "60"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        end = time.monotonic() + seconds(20)
        while time.monotonic() < end and not server.sql("select count(*) from sqlite_schema where name='bench'")["rows"][0][0]:
            time.sleep(0.05)
        time.sleep(0.5)
        server.kill()
        out, err = child.communicate(timeout=seconds(30))
        equal(child.returncode, 1)
        check(b"lost" in err, "stderr: %s", err)


@case("bench --pipeline: a writer that does not wait for each answer")
def bench_pipeline():
    with Directory() as d, Server(d.file("a.db")) as server:
        for options in ([], ["--writers", "3", "--spin"], ["--rate", "200"], ["--rows-per-request", "5", "--requests", "50"]):
            code, out, err = run("bench", "fanout", "--pipeline", "16", "--url", server.url, "--seconds", "0.5", "--subscribers",
                                 "5", *options, "--format", "json", timeout=60)
            equal((code, err), (0, ""), f"exit status and stderr with {options}")
            result, = results(out)
            equal((result["onceAndInOrder"], result["pipeline"]), (True, 16))
            equal(result["deliveries"], result["rows"] * 5)
        equal(result["rows"], 250)
        code, _, err = run("bench", "--pipeline", "500", "--url", server.url, "--seconds", "0.5", timeout=60)
        equal(code, 1)
        check("at most 100 requests" in err, "stderr: %s", err)
        for end, said in ((lambda: server.sql("drop table bench"), b"no such table"), (server.kill, b"lost")):
            child = subprocess.Popen([BIN, "bench", "--pipeline", "16", "--url", server.url, "--seconds", "60"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
            until = time.monotonic() + seconds(20)
            while time.monotonic() < until and not (
                    server.sql("select count(*) from sqlite_schema where name='bench'")["rows"][0][0] and count(server, "bench")):
                time.sleep(0.05)
            end()
            out, err = child.communicate(timeout=seconds(30))
            equal(child.returncode, 1)
            check(said in err, "stderr: %s", err)


@case("^C ends bench early, with its result and without its table")
def bench_interrupted():
    for spin in ([], ["--spin"], ["--pipeline", "8"]):
        interrupt_bench(spin)


def interrupt_bench(spin):
    with Directory() as d, Server(d.file("a.db")) as server:
        child = subprocess.Popen([BIN, "bench", *spin, "--url", server.url, "--seconds", "60"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment())
        end = time.monotonic() + seconds(20)
        while time.monotonic() < end and not server.sql("select count(*) from sqlite_schema where name='bench'")["rows"][0][0]:
            time.sleep(0.05)
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=seconds(30))
        equal((child.returncode, err), (0, b""), "exit status and stderr")
        check(b"once and in order: yes" in out, "stdout: %s", out)
        equal(server.sql("select count(*) from sqlite_schema where name = 'bench'")["rows"], [[0]])


if __name__ == "__main__":
    main()
