#!/usr/bin/python3
"""A full disk, played by a limit on the size of files: writes fail with an answer, nothing that was
acknowledged is lost, subscribers hear of what was committed and of nothing else, reads go on."""
import os
import resource
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, Server, case, check, equal, in_thread, main, note  # noqa: E402

LIMIT = 3 << 20


def limit_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


async def fill(*options):
    with Directory() as directory:
        server = Server(directory.file("full.db"), *options, prepare=limit_files)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        client = await Client.open(server)
        await client.subscribe("t")
        http, kept, failures = Http(server), [], []
        for number in range(1, 1000):
            answer = await in_thread(http.try_sql, "INSERT INTO t VALUES (?, ?)", [number, "x" * 20000])
            if answer.status == 200:
                kept.append(number)
            else:
                failures.append(answer)
                if len(failures) == 20:
                    break
        check(len(failures) == 20, "the limit was never reached")
        for answer in failures:
            check(answer.status in (400, 500, 503, 507) and "full" in answer.json["error"]["message"].lower()
                  or "i/o" in answer.json["error"]["message"].lower(), "%s", answer)
        equal(server.get("/health").status, 200, "status of /health")
        equal(http.sql("SELECT count(*) FROM t")["rows"], [[len(kept)]], "rows that can be read")
        await client.wait(lambda: len(client.events) >= len(kept), what="events")
        equal([e["key"]["id"] for e in client.events], kept, "events")
        note(f"{len(kept)} rows fitted; then: {failures[0]}")
        http.close()
        await client.close()
        server.kill()
        db = sqlite3.connect(server.path)
        equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
        equal([r[0] for r in db.execute("SELECT id FROM t ORDER BY id")], kept, "rows in the file")
        db.close()


@case("no room for the WAL: errors, nothing lost, reads go on")
def wal():
    return fill()


@case("no room for the file in a rollback-journal database")
def rollback_journal():
    return fill("--keep-journal-mode")


if __name__ == "__main__":
    main()
