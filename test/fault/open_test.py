#!/usr/bin/python3
"""What cannot be served ends with exit status 1 and a message that names the file or address and says
what is wrong."""
import os
import re
import socket
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Server, Skip, case, check, equal, main, run  # noqa: E402


def refused(path, pattern, *options, names=None, listen="127.0.0.1:0", prepare=None, status=1):
    code, out, err = run("serve", path, "--listen", listen, *options, timeout=25, prepare=prepare)
    equal(code, status, f"exit status; stderr: {err!r}")
    check(re.search(pattern, err, re.I), "stderr does not match %r: %r", pattern, err)
    check((names or path) in err, "stderr does not name %s: %r", names or path, err)
    check(out == "", "stdout: %r", out)


@case("a file that is not a database; it is left as it was")
def not_a_database():
    with Directory() as directory:
        for name, content in (("text.txt", b"this is not a database\n" * 100), ("noise.db", os.urandom(8192)),
                              ("cut.db", b"SQLite format 3\0" + b"\xff" * 500)):
            path = directory.file(name)
            with open(path, "wb") as file:
                file.write(content)
            refused(path, "not a database|not an? SQLite|malformed|corrupt")
            with open(path, "rb") as file:
                equal(file.read(), content, f"content of {name} afterwards")


@case("a directory")
def directory_():
    with Directory() as directory:
        refused(directory.path, "directory")


@case("a missing parent directory")
def missing_parent():
    with Directory() as directory:
        refused(directory.file("nowhere/app.db"), "no such|not exist|director", names="nowhere")


def become_nobody():
    """For the child of a test that runs as root, whom no permission stops."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@case("an unreadable file, a read-only file, a directory in which nothing can be made")
def permissions():
    if os.geteuid() == 0:
        try:
            code = run("version", prepare=become_nobody)[0]
        except OSError:
            code = None
        if code != 0:
            raise Skip("the binary cannot be run by user nobody from where it is")
    with Directory() as directory:
        os.chmod(directory.path, 0o755)
        for mode, pattern in ((0o000, "permission|denied|read|open"), (0o444, "read-?only|writ|permission")):
            path = directory.file(f"m{mode}.db")
            sqlite3.connect(path).execute("CREATE TABLE t(x)").connection.close()
            os.chmod(path, mode)
            refused(path, pattern, prepare=become_nobody)
        if os.geteuid() == 0:
            refused(directory.file("new.db"), "permission|denied|writ|open|create", prepare=become_nobody)


@case("a file that another process has locked")
def locked():
    with Directory() as directory:
        path = directory.file("locked.db")
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("CREATE TABLE t(x)")
        db.execute("BEGIN EXCLUSIVE")
        refused(path, "lock", "--busy-timeout", "1")
        db.execute("COMMIT")
        db.close()
        Server(path).stop()


@case("a port in use, a bad address, a name that does not resolve here")
def addresses():
    with Directory() as directory, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(directory.file("a.db"), "in use", listen=f"127.0.0.1:{port}", names=str(port))
        for bad in ("127.0.0.1:99999", "127.0.0.1:x", "nonsense", "256.1.1.1:80", ""):
            code, _, err = run("serve", directory.file("a.db"), "--listen", bad)
            check(code in (1, 2), "--listen %r: exit %d, %r", bad, code, err)
            check(err.strip(), "--listen %r: no message", bad)


@case("a public address without --insecure")
def public():
    with Directory() as directory:
        refused(directory.file("a.db"), "--insecure", listen="0.0.0.0:0", names="0.0.0.0", status=2)
        server = Server(directory.file("a.db"), "--insecure", listen="0.0.0.0:0")
        server.host = "127.0.0.1"
        equal(server.get("/health").status, 200, "status")
        server.stop()


@case("odd file names are served: ?, %, #, spaces, non-ASCII, no extension")
def names():
    with Directory() as directory:
        for name in ("a b.db", "what?.db", "100%25.db", "file:x.db", "a#b.db", "größe.db", "-dash.db", "plain"):
            path = directory.file(name)
            server = Server(path)
            server.sql("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
            server.stop()
            equal(sorted(n for n in os.listdir(directory.path) if not n.endswith(("-wal", "-shm")) and n == name), [name], "file")
            db = sqlite3.connect(f"file:{path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}", uri=True)
            equal(db.execute("SELECT x FROM t").fetchall(), [(1,)], f"rows of {name}")
            db.close()


@case("an existing database in rollback-journal mode becomes WAL, or stays with --keep-journal-mode")
def journal_mode():
    with Directory() as directory:
        path = directory.file("old.db")
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE t(x)")
        db.commit()
        db.close()
        server = Server(path, "--keep-journal-mode")
        equal(server.get("/health").json["database"]["journalMode"], "delete", "journal mode")
        equal(server.sql("INSERT INTO t VALUES (1)")["changes"], 1, "changes")
        server.stop()
        server = Server(path)
        equal(server.get("/health").json["database"]["journalMode"], "wal", "journal mode")
        server.stop()


@case("the database vanishes or is damaged while it is served: /health says 503, no crash")
def damaged():
    with Directory() as directory:
        path = directory.file("gone.db")
        server = Server(path)
        server.sql("CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(100000))")
        server.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(path, "r+b") as file:
            file.write(b"\xff" * 4096)
        answer = server.get("/health")
        if answer.status == 503:
            equal(answer.json["status"], "error", "status")
        answer = server.post("/api/sql", {"sql": "SELECT count(*) FROM t WHERE x > 5"})
        check(answer.status in (200, 400, 500, 503), "%s", answer)
        server.stop()


@case("two servers on one file")
def two_servers():
    with Directory() as directory:
        path = directory.file("two.db")
        first = Server(path)
        first.sql("CREATE TABLE t(x)")
        second = None
        try:
            second = Server(path)
        except AssertionError as error:
            check(re.search("lock|another|in use", str(error)), "%s", error)
        for n in range(5):
            first.sql("INSERT INTO t VALUES (?)", [n])
            if second:
                second.sql("INSERT INTO t VALUES (?)", [n])
        if second:
            second.stop()
        first.stop()


if __name__ == "__main__":
    main()
