#!/usr/bin/python3
"""rowtap tail: the commits of other programs, printed from the file alone, with nobody in the way."""
import hashlib
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BIN, SANITIZER, Directory, Skip, case, check, environment, equal, main, run, seconds  # noqa: E402

SCHEMA = "create table users(id integer primary key, name text, age int); create table orders(id integer primary key, total);"


class Database:
    """A file in WAL mode with a connection of this process, which never waits for a lock."""
    def __init__(self, path, schema=SCHEMA):
        self.path = path
        self.connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self.sql("pragma journal_mode=wal; pragma synchronous=normal;" + schema)

    def sql(self, text):
        self.connection.executescript(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


class Tail:
    """A running `rowtap tail`, its lines as they come."""
    def __init__(self, *arguments, first="following "):
        self.process = subprocess.Popen([BIN, "tail", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={**environment(), "TZ": "UTC"})
        self.lines, self.said = queue.Queue(), queue.Queue()
        self.errors, self.ended = "", None
        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.said)):
            threading.Thread(target=self.read, args=(stream, lines), daemon=True).start()
        self.greeting = self.say()
        check(self.greeting.startswith(first), "%r", self.greeting)

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.put(line.decode())
        lines.put("")

    def say(self):
        line = self.said.get(timeout=seconds(10))
        self.errors += line
        return line

    def line(self, timeout=10):
        """The next line without its time of day."""
        line = self.lines.get(timeout=seconds(timeout))
        if line[:1].isdigit():
            check(len(line.split(" ")[0]) == len("12:00:00.000"), "%r", line)
            line = line.split(" ", 1)[1]
        return line

    def quiet(self, wait=0.5):
        time.sleep(seconds(wait))
        check(self.lines.empty(), "a line too many: %r", None if self.lines.empty() else self.lines.queue[0])

    def end(self, number=signal.SIGINT):
        """Ends it with a signal, unless it has ended: (exit status, stderr)."""
        if self.ended is None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.ended = self.process.wait(seconds(10))
            while self.say():
                pass
        check(not SANITIZER.search(self.errors), "%s", self.errors[-6000:])
        return self.ended, self.errors

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind and self.process.poll() is None:
            self.process.kill()
        code, errors = self.end()
        if kind is None:
            check(code == 0, "exit status %d: %s", code, errors)


def shell(path, script):
    """What somebody types into the sqlite3 shell."""
    if not shutil.which("sqlite3"):
        raise Skip("the sqlite3 shell is not installed")
    done = subprocess.run(["sqlite3", path], input=script.encode(), capture_output=True, timeout=seconds(60))
    equal(done.stderr.decode(), "", "the shell's errors")
    return done.stdout.decode()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def refused(*arguments, status=1, timeout=10):
    code, out, err = run("tail", *arguments, timeout=timeout)
    equal((code, out), (status, ""), f"exit status and output; stderr {err!r}")
    check(err.endswith("\n") and "Sanitizer" not in err, "%r", err)
    return err


@case("wrong usage is told, with exit status 2")
def wrong_usage():
    for arguments, message in (
            ([], "name a database file"),
            (["--filter", "a=1", "a.db"], "--filter is for the rows of one table"),
            (["--filter", "a=1", "a.db", "t", "u"], "--filter is for the rows of one table"),
            (["a.db", "--events", "insert,truncate"], "--events wants some of insert,update,delete, not \"truncate\""),
            (["a.db", "--format", "xml"], "--format wants one of pretty|json"),
            (["a.db", "--since", "1"], "unknown option --since")):
        err = refused(*arguments, status=2)
        check(message in err and "rowtap help tail" in err, "%s: %r", arguments, err)
    code, out, _ = run("help", "tail")
    check(code == 0 and "usage: rowtap tail [options] DATABASE [TABLE]..." in out, "%r", out)
    code, out, _ = run("help")
    check("  tail     DATABASE [TABLE]..." in out, "%r", out)


@case("what is no database in WAL mode is told, and nothing is made or changed")
def no_database():
    with Directory() as d:
        for name, make in (("empty", lambda p: open(p, "wb").close()),
                           ("text", lambda p: open(p, "w").write("SELECT 1;\n" * 50)),
                           ("short", lambda p: open(p, "wb").write(b"SQLite format 3\0")),
                           ("folder", os.mkdir),
                           ("pipe", os.mkfifo),
                           ("old.db", lambda p: sqlite3.connect(p).executescript(SCHEMA).close())):
            make(d.file(name))
        before = {name: os.stat(d.file(name)).st_mtime_ns for name in os.listdir(d.file("."))}
        for name, message in (("missing.db", "there is no such file"),
                              ("missing/a.db", "there is no such file"),
                              ("empty", "it is empty"),
                              ("text", "it is not an SQLite database"),
                              ("short", "it is not an SQLite database"),
                              ("folder", "it is a directory"),
                              ("pipe", "it is not a regular file"),
                              ("old.db", "PRAGMA journal_mode=WAL")):
            err = refused(d.file(name))
            check(err.startswith(f"rowtap: cannot follow {d.file(name)}: ") and message in err, "%s: %r", name, err)
        equal({name: os.stat(d.file(name)).st_mtime_ns for name in os.listdir(d.file("."))}, before, "the folder")


@case("a file that may not be read is told")
def no_permission():
    def become_nobody():
        if os.getuid() == 0:
            os.setuid(65534)
    with Directory() as d, Database(d.file("a.db")) as db:
        db.connection.close()
        try:
            os.chmod(d.file("."), 0o555)
            for mode, message in ((0, "Permission denied"), (0o444, "this user may not make, or not read, the -wal")):
                os.chmod(db.path, mode)
                code, out, err = run("tail", db.path, prepare=become_nobody)
                check((code, out) == (1, "") and f"rowtap: cannot follow {db.path}: {message}" in err, "%r", err)
            equal(os.listdir(d.file(".")), ["a.db"], "the folder")
        except PermissionError:
            raise Skip("the program is where only this user may run it")
        finally:
            os.chmod(d.file("."), 0o755)


@case("tables that are not there, and filters that do not fit, are told")
def no_table():
    with Directory() as d, Database(d.file("a.db"), SCHEMA + "create view adults as select * from users;") as db:
        err = refused(db.path, "users", "userz")
        check('has no table "userz"; its tables: orders, users' in err, "%r", err)
        check("adults" in refused(db.path, "adults") and "a view" in refused(db.path, "adults"))
        check("internal" in refused(db.path, "sqlite_schema") or "no table" in refused(db.path, "sqlite_schema"))
        for condition in ("nosuch = 1", "age", "age > null"):
            err = refused(db.path, "users", "--filter", condition)
            check("the filter cannot be used on users: " in err, "%r", err)
    with Directory() as d, Database(d.file("a.db"), "") as db:
        check("it has no tables yet" in refused(db.path, "t"))


@case("rows and tables as lines, whoever writes")
def lines():
    with Directory() as d, Database(d.file("my notes.db")) as db, Tail(db.path) as tail:
        equal(tail.greeting, f"following {db.path} (WAL, 2 tables); Ctrl-C ends\n")
        db.sql("insert into users values (1, 'Ada', 36)")
        equal(tail.line(), "+ INSERT users id=1  name='Ada'  age=36\n")
        db.sql("begin; update users set age = 37; insert into orders values (1, 2.5); delete from users; commit")
        seen = sorted(tail.line() for _ in range(2))
        equal(seen, ["+ INSERT orders id=1  total=2.5\n", "- DELETE users id=1  name='Ada'  age=36\n"])
        db.sql("update orders set total = x'00ff'")
        equal(tail.line(), "~ UPDATE orders id=1  total=2.5→x'00ff'\n")
        db.sql("begin; insert into users values (2, 'Bob', 1); rollback")
        db.sql("create table t(a, b); insert into t values ('it''s', null)")
        equal(tail.line(), "+ table:created t(a, b)\n")
        equal(tail.line(), "+ INSERT t rowid=1  a='it's'  b=NULL\n")
        db.sql("alter table t rename to u")
        equal(tail.line(), "~ table:altered u(a, b)  renamed from t\n")
        db.sql("drop table u")
        equal(tail.line(), "- table:dropped u(a, b)\n")
        tail.quiet()


@case("the sqlite3 shell, opening and closing the file for every commit")
def shells():
    with Directory() as d:
        path = d.file("a.db")
        shell(path, "pragma journal_mode=wal;" + SCHEMA)
        with Tail(path, "users") as tail:
            equal(tail.greeting, f"following users of {path} (WAL); Ctrl-C ends\n")
            for i in range(20):
                shell(path, f"insert into users values ({i}, 'n{i}', {i});")
                equal(tail.line(), f"+ INSERT users id={i}  name='n{i}'  age={i}\n")
            shell(path, "update users set age = age + 1 where id = 3; vacuum; pragma wal_checkpoint(truncate);"
                        "delete from users where id = 3;")
            equal(tail.line(), "~ UPDATE users id=3  age=3→4\n")
            equal(tail.line(), "- DELETE users id=3  name='n3'  age=4\n")
            tail.quiet()


@case("JSON lines are a server's messages")
def json_lines():
    with Directory() as d, Database(d.file("a.db")) as db, Tail(db.path, "--format", "json") as tail:
        begun = time.time() * 1000
        db.sql("insert into users values (9007199254740993, 'A\"da', null)")
        db.sql("update users set age = 1.0")
        first, second = json.loads(tail.line()), json.loads(tail.line())
        epoch = first["id"].split(":")[0]
        check(abs(first.pop("timestamp") - begun) < seconds(5000), "the time")
        equal(first, {"id": epoch + ":1", "type": "database_change", "channel": "tables", "seq": 1, "tx": 1,
                      "table": "users", "event": "INSERT", "key": {"id": 9007199254740993},
                      "data": {"id": 9007199254740993, "name": 'A"da', "age": None}, "source": "external"})
        equal((second["seq"], second["tx"], second["event"], second["old"]["age"]), (2, 2, "UPDATE", None))
        db.sql("drop table orders")
        third = json.loads(tail.line())
        equal((third["type"], third["data"]["tableName"], third["seq"]), ("table:dropped", "orders", 3))


@case("tables, events and filters choose")
def choices():
    with Directory() as d, Database(d.file("a.db")) as db:
        with Tail(db.path, "USERS", "--filter", "age >= 18", "--filter", "name in (Ada, Bob)") as adults, \
                Tail(db.path, "orders", "--events", "delete, insert") as orders:
            db.sql("insert into users values (1, 'Ada', 17), (2, 'Bob', 18), (3, 'Eve', 19)")
            db.sql("insert into orders values (1, 1)")
            db.sql("update orders set total = 2")
            db.sql("update users set age = age + 1")
            db.sql("update users set age = 0 where id = 2")
            db.sql("delete from orders")
            for line in ("+ INSERT users id=2  name='Bob'  age=18\n",
                         "~ UPDATE users id=1  age=17→18  (now matches the filter)\n",
                         "~ UPDATE users id=2  age=18→19\n",
                         "~ UPDATE users id=2  age=19→0  (no longer matches the filter)\n"):
                equal(adults.line(), line)
            equal(orders.line(), "+ INSERT orders id=1  total=1\n")
            equal(orders.line(), "- DELETE orders id=1  total=2\n")
            adults.quiet(), orders.quiet()


@case("a table that is dropped and created again is followed by its name, and its filter must still fit")
def created_again():
    with Directory() as d, Database(d.file("a.db")) as db:
        with Tail(db.path, "users", "--filter", "age > 5") as tail:
            db.sql("drop table users")
            equal(tail.line(), "- table:dropped users(id INTEGER, name TEXT, age INT)\n")
            db.sql("create table users(age text, id integer primary key)")
            equal(tail.line(), "+ table:created users(age TEXT, id INTEGER)\n")
            db.sql("insert into users values ('10', 1), ('6', 2)")
            equal(tail.line(), "+ INSERT users id=2  age='6'\n")
            tail.quiet()
        with Tail(db.path, "users", "--filter", "age > 5") as tail:
            db.sql("alter table users rename column age to years; insert into users values ('9', 3)")
            check("table:altered users" in tail.line())
            tail.process.wait(seconds(10))
            code, errors = tail.end()
            check(code == 1 and "the filter cannot be used on users: " in errors, "%d %r", code, errors)
            tail.ended = 0


@case("^C and SIGTERM end it with exit status 0, quickly")
def signals():
    with Directory() as d, Database(d.file("a.db")) as db:
        for number in (signal.SIGINT, signal.SIGTERM):
            with Tail(db.path) as tail:
                begun = time.monotonic()
                equal(tail.end(number), (0, tail.greeting))
                check(time.monotonic() - begun < seconds(2), "it took %f s", time.monotonic() - begun)


@case("whoever reads no more ends it quietly, also when nothing happens")
def reader_gone():
    with Directory() as d, Database(d.file("a.db")) as db:
        for after in ("", "insert into users(name) values ('z');" * 2000):
            process = subprocess.Popen(f"'{BIN}' tail '{db.path}' | head -n 2; echo ${{PIPESTATUS[0]}}", shell=True,
                                       executable="/bin/bash", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=environment())
            process.stderr.readline()
            db.sql("begin; insert into users(name) values ('a'), ('b'), ('c'); commit;" + after)
            out, err = process.communicate(timeout=seconds(20))
            equal((out.decode().splitlines()[-1], len(out.splitlines()), err), ("0", 3, b""))


@case("1,000 commits by a writer that waits for no lock: none is refused, none is missing")
def nobody_waits(args):
    commits = 200 if args.quick else 1000
    with Directory() as d, Database(d.file("a.db")) as db, Tail(db.path, "--format", "json") as tail:
        for i in range(commits):
            db.sql(f"insert into users values ({i}, hex(randomblob(200)), {i})")
            if i % 100 == 50:
                db.sql("pragma wal_checkpoint(passive)")
        for i in range(commits):
            message = json.loads(tail.line())
            equal((message["seq"], message["tx"], message["key"]), (i + 1, i + 1, {"id": i}))


@case("the file's bytes are the same as without it")
def bytes_untouched():
    script = [f"insert into users values ({i}, 'n{i}', {i})" for i in range(300)]
    script += ["update users set age = age * 2 where id % 3 = 0", "delete from users where id % 5 = 0",
               "create table t(a unique, b)", "insert into t select name, age from users", "drop table orders"]
    with Directory() as d:
        digests = []
        for name in ("plain.db", "tailed.db"):
            with Database(d.file(name)) as db:
                db.sql("pragma wal_checkpoint(truncate)")
                if name == "tailed.db":
                    with Tail(db.path) as tail:
                        before = digest(db.path)
                        for statement in script:
                            db.sql(statement)
                        while "table:dropped" not in tail.line():
                            pass
                        equal(digest(db.path), before, "the file before a checkpoint")
                else:
                    for statement in script:
                        db.sql(statement)
                equal(db.connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0], 0, "checkpoint")
            digests.append(digest(d.file(name)))
            equal(sorted(os.listdir(d.file("."))), sorted(set([name, "plain.db"])), "what is left in the folder")
        equal(digests[0], digests[1], "the files")


@case("a file whose program has gone: it waits, and sees the next one")
def nobody_there():
    with Directory() as d:
        with Database(d.file("a.db")) as db:
            path = db.path
        with Tail(path) as tail:
            tail.quiet()
            with Database(path, "insert into users values (1, 'Ada', 1);"):
                equal(tail.line(), "+ INSERT users id=1  name='Ada'  age=1\n")
            with Database(path, "insert into users values (2, 'Bob', 2);"):
                equal(tail.line(), "+ INSERT users id=2  name='Bob'  age=2\n")


@case("a file that is removed or replaced under it is told")
def replaced():
    for replacement in (False, True):
        with Directory() as d, Database(d.file("a.db")) as db, Tail(db.path) as tail:
            if replacement:
                os.rename(shutil.copy(db.path, d.file("b.db")), db.path)
            else:
                os.unlink(db.path)
            tail.process.wait(seconds(10))
            code, errors = tail.end()
            equal((code, errors), (1, f"{tail.greeting}rowtap: {db.path} was removed, or another file has its place\n"))
            tail.ended = 0


def write_for_a_while(db, count, pause=0.0):
    """The largest size of the log meanwhile."""
    largest = 0
    for i in range(count):
        db.sql(f"insert into users values ({i}, hex(zeroblob(500)), {i})")
        time.sleep(pause)
        largest = max(largest, os.path.getsize(db.path + "-wal"))
    return largest


@case("the log: with --checkpoint it stays within bounds, without it a large one is told of once")
def log_size(args):
    if args.quick:
        raise Skip("takes ten seconds")
    with Directory() as d, Database(d.file("a.db"), SCHEMA + "pragma synchronous=off; pragma wal_autocheckpoint=0") as db:
        db.connection.execute("pragma busy_timeout=5000")
        with Tail(db.path, "--checkpoint", "orders") as tail:
            size = write_for_a_while(db, 15000, 0.0003)
            check(size < 50 << 20, "the log grew to %d MiB", size >> 20)
            tail.quiet()
        db.sql("delete from users; pragma wal_checkpoint(truncate)")
        with Tail(db.path, "orders") as tail:
            size = write_for_a_while(db, 16000)
            check(size > 64 << 20, "the log grew to %d MiB", size >> 20)
            check("--checkpoint" in tail.say())
            tail.quiet(2)
            check(tail.said.empty(), "%r", list(tail.said.queue))


@case("what was committed before it began is not printed")
def no_past():
    with Directory() as d, Database(d.file("a.db")) as db:
        db.sql("insert into users values (1, 'Ada', 1)")
        with Tail(db.path) as tail:
            db.sql("insert into users values (2, 'Bob', 2)")
            equal(tail.line(), "+ INSERT users id=2  name='Bob'  age=2\n")


@case("a program that keeps the file to itself is told")
def exclusive():
    with Directory() as d:
        connection = sqlite3.connect(d.file("a.db"), isolation_level=None)
        connection.executescript("pragma locking_mode=exclusive; pragma journal_mode=wal; create table t(a);")
        err = refused(d.file("a.db"), timeout=20)
        check(err.startswith("rowtap: ") and ("lock" in err or "exclusive" in err.lower()), "%r", err)
        connection.execute("insert into t values (1)")
        connection.close()


@case("a large transaction comes whole and in order")
def large(args):
    rows = 20000 if args.quick else 100000
    with Directory() as d, Database(d.file("a.db")) as db, Tail(db.path, "--format", "json") as tail:
        db.sql(f"insert into users with recursive c(i) as (select 1 union all select i + 1 from c where i < {rows})"
               " select i, hex(zeroblob(50)), i from c")
        for i in range(1, rows + 1):
            message = json.loads(tail.line(60))
            if (message["seq"], message["tx"], message["key"]["id"]) != (i, 1, i):
                equal((message["seq"], message["tx"], message["key"]["id"]), (i, 1, i))


if __name__ == "__main__":
    main()
