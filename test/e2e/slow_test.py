#!/usr/bin/python3
"""Clients that do not read: nobody else notices, and the server's memory stays within what it was told."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Http, RawSocket, Server, case, check, equal, main, note, seconds  # noqa: E402
from fanout import Fanout, build_client, write  # noqa: E402

MIB = 1 << 20
TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT, w TEXT)"
SANITIZED = float(os.environ.get("ROWTAP_SLOW", "1")) > 1


def stuck(server, **arguments):
    """A client that subscribes and never reads again."""
    s = RawSocket(server, receive_buffer=4096)
    s.upgrade()
    s.message()
    s.text({"type": "subscribe", "table": "t", **arguments})
    return s


def bulk(http, rows, size, table="t"):
    http.sql(f"INSERT INTO {table}(k, v, w) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
             "SELECT i, hex(zeroblob(?)), i FROM c", [rows, size // 2])


def settled(server):
    """The memory in use when the server has had a moment for itself."""
    time.sleep(1)
    return server.memory()


def one_among_many(args, *options):
    connections, commits = (200, 1000) if args.quick else (1000, 6000)
    with Directory() as d:
        program = build_client(d)
        with Server(d.file("slow.db"), "--max-queue", "1MiB", *options) as server:
            server.sql(TABLE)
            server.sql(TABLE.replace("t(", "big("))
            with Fanout(program, server, connections, "t", commits, 400) as fanout:
                s = stuck(server)
                s.text({"type": "subscribe", "table": "big"})
                http = Http(server)
                # Only the one that does not read hears of this table.
                for _ in range(30):
                    bulk(http, 100, 10000, "big")
                write(server, 8, commits, 0)
                result = fanout.end()
                equal((result["live"], result["closed"], result["disorder"]), (connections, 0, 0),
                      "live, closed, out of order or repeated among the others")
                equal((result["least"], result["most"]), (commits, commits), "messages per subscriber")
            health = server.get("/api/websocket/health").json
            # It has three seconds to read its last words; after that the connection is gone.
            got = {}
            try:
                while got.get("type") != "resync":
                    got = s.message()
                equal(got["reason"], "slow_consumer")
                closed = None if options else s.close_code()
            except (AssertionError, ConnectionError):
                closed = 1013
            equal(closed, None if options else 1013, "the end of the one that did not read")
            s.close()
            return health


@case("one that never reads among many: the others get everything, it gets a resync and is closed")
def dropped(args):
    health = one_among_many(args)
    equal((health["slowConsumersClosed"], health["slowConsumersResynced"]), (1, 0), "slow consumers closed, resynced")


@case("the same with --on-slow resync: it stays connected and is told")
def resynced(args):
    health = one_among_many(args, "--on-slow", "resync")
    equal(health["slowConsumersClosed"], 0, "slow consumers closed")
    check(health["slowConsumersResynced"] >= 1, "nobody was told to resynchronise")


def bounded(name, server, before, bound):
    """Sanitizers multiply every allocation: the bound holds for the product itself."""
    now = settled(server)
    note(f"{name}: {before / MIB:.0f} MiB before, {now / MIB:.0f} MiB with the attack, {(now - before) / MIB:.0f} more; "
         f"allowed {bound / MIB:.0f}")
    check(SANITIZED or now - before < bound, "%s: %.0f MiB more than before, allowed are %.0f", name, (now - before) / MIB,
          bound / MIB)


# For what the allocator keeps, of the backlog and of transactions that have come and gone.
SLACK = 48 * MIB


@case("memory: live queues of those who never read, each with columns of its own")
def live_queues(args):
    count, rounds = (10, 20) if args.quick else (40, 60)
    columns = [["id"], ["id", "v"], ["k", "v"], ["v"], ["v", "w"], ["id", "v", "w"], ["k", "v", "w"], ["id", "k", "v"]]
    for mode in ("drop", "resync"):
        with Directory() as d, Server(d.file("m.db"), "--history", "8MiB", "--max-queue", "1MiB", "--on-slow", mode) as server:
            http = Http(server)
            http.sql(TABLE)
            bulk(http, 1000, 2000)
            before = settled(server)
            clients = [stuck(server, columns=columns[i % len(columns)], filter=f"k>={i % 3}") for i in range(count)]
            for _ in range(rounds):
                bulk(http, 1000, 2000)
            bounded(f"{count} queues, {mode}", server, before, 8 * MIB + count * MIB + SLACK)
            for s in clients:
                s.close()


@case("memory: those who ask for the past and for snapshots and never read them")
def past_and_snapshots(args):
    count = 20 if args.quick else 100
    with Directory() as d, Server(d.file("m.db"), "--history", "4MiB", "--max-queue", "2MiB", "--journal") as server:
        http = Http(server)
        http.sql(TABLE)
        for _ in range(10 if args.quick else 40):
            bulk(http, 1000, 2000)
        before = settled(server)
        for name, arguments in (("the past", {"since": 0}), ("snapshots", {"snapshot": True})):
            clients = [stuck(server, **arguments) for _ in range(count)]
            http.sql("UPDATE t SET w=w||'!' WHERE id%10=0")
            # 512 KiB is queued for one before it has to read; pages and read-ahead of the loops come to 16 MiB.
            bounded(f"{count} times {name}", server, before, 4 * MIB + count * MIB // 2 + 16 * MIB + SLACK)
            begun = time.monotonic()
            http.sql("INSERT INTO t(v) VALUES('still alive')")
            check(time.monotonic() - begun < seconds(3), "a write took %.1f s meanwhile", time.monotonic() - begun)
            for s in clients:
                s.close()


@case("memory: many small commits, whose bookkeeping counts as well")
def small_commits(args):
    commits = 2000 if args.quick else 20000
    with Directory() as d, Server(d.file("m.db"), "--history", "4MiB", "--max-queue", "1MiB") as server:
        server.sql(TABLE)
        write(server, 8, 500, 0)
        before = settled(server)
        clients = [stuck(server) for _ in range(10)]
        write(server, 8, commits, 0)
        bounded(f"{commits} commits", server, before, 4 * MIB + 10 * MIB + SLACK)
        for s in clients:
            s.close()


if __name__ == "__main__":
    main()
