#!/usr/bin/env python3
"""GET /metrics: its format, read strictly, and that its figures tell what happened."""
import asyncio
import os
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import exposition
from harness import Client, Directory, RawSocket, Server, case, check, equal, in_thread, main, seconds


def read(server):
    answer = server.get("/metrics")
    equal(answer.status, 200, "status")
    equal(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "type")
    families = exposition.parse(answer.body.decode())
    exposition.check(families)
    return families


def value(families, name, **labels):
    base = exposition.base_of(name, families)
    key = (name, tuple(sorted((k, str(v)) for k, v in labels.items())))
    samples = families[base]["samples"]
    check(key in samples, "no %s in %s", key, list(samples))
    return samples[key]


def gained(before, after, name, **labels):
    return value(after, name, **labels) - value(before, name, **labels)


GOOD = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"\\\\\\\"\\n\"} 1\n"
BAD = [
    "a 1\n",
    "# TYPE a gauge\na 1\n",
    "# HELP a A.\n# TYPE a gauge\na 1",
    "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
    "# HELP a A.\n# TYPE a gauge\na 1 1234\n",
    "# HELP a A.\n# TYPE a gauge\na{x=1} 1\n",
    "# HELP a A.\n# TYPE a gauge\na{x=\"\\q\"} 1\n",
    "# HELP a A.\n# TYPE a gauge\na one\n",
    "# HELP a A.\n# TYPE a counter\na 1\n",
    "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
    "# HELP a A.\n# TYPE a gauge\n# HELP b B.\n# TYPE b gauge\nb 1\na 1\n",
    "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
    "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
    "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
]


@case("the reader is strict: it refuses what promtool would")
def reader():
    exposition.check(exposition.parse(GOOD))
    for text in BAD:
        try:
            exposition.check(exposition.parse(text))
        except exposition.Malformed:
            continue
        raise AssertionError("accepted: " + text)


@case("a fresh server's metrics are well-formed, and say what it is")
def fresh():
    with Directory() as directory, Server(directory.file("a.db")) as server:
        families = read(server)
        health = server.get("/health").json
        [(name, labels)] = families["rowtap_build_info"]["samples"]
        equal(dict(labels)["version"], health["version"], "version")
        check(dict(labels)["sqlite"].startswith("3."), "%s", labels)
        check(1e6 < value(families, "process_resident_memory_bytes") < 1e9, "memory")
        check(5 < value(families, "process_open_fds") <= server.descriptors() + 5, "descriptors")
        equal(value(families, "process_threads"), server.threads(), "threads")
        with open("/proc/stat") as stat:
            boot = next(int(line.split()[1]) for line in stat if line.startswith("btime"))
        check(value(families, "process_start_time_seconds") > boot, "start time")
        for code in (1000, 1001, 1002, 1006, 1007, 1009, 1012, 1013):
            equal(value(families, "rowtap_connections_closed_total", code=code), 0, f"closed with {code}")
        head = server.post("/metrics", None, method="HEAD")
        equal((head.status, head.body), (200, b""), "HEAD")
        equal(server.post("/metrics", "{}").status, 405, "POST")


@case("each figure moves with what it counts")
async def moves():
    with Directory() as directory, Server(directory.file("a.db"), "--journal", "--max-message", "4096") as server:
        http = server.http()
        http.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)")
        before = read(server)
        client = await Client.open(server)
        stream = await in_thread(RawSocket, server)
        stream.send(b"GET /api/changes?table=t HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        await in_thread(stream.head)
        await client.subscribe("t")
        await client.subscribe("t", filter="x=never")
        during = read(server)
        equal(gained(before, during, "rowtap_connections"), 2, "connections")
        equal(gained(before, during, "rowtap_connections_accepted_total"), 2, "accepted")
        equal(gained(before, during, "rowtap_subscriptions"), 3, "subscriptions")
        equal(gained(before, during, "rowtap_messages_received_total"), 2, "messages in")
        check(gained(before, during, "rowtap_received_bytes_total") > 40, "bytes in")
        check(gained(before, during, "rowtap_sent_bytes_total") > 500, "bytes out")
        for i in range(5):
            http.sql("INSERT INTO t(x) VALUES (?), ('b')", ["x" * 300])
        http.sql("SELECT * FROM t")
        http.try_sql("SELEC 1")
        for _ in range(10):
            await client.next("database_change")
        after = read(server)
        equal(gained(during, after, "rowtap_changes_total"), 10, "changes")
        equal(gained(during, after, "rowtap_deliveries_total"), 20, "deliveries")
        equal(gained(during, after, "rowtap_transactions_total", source="server"), 5, "transactions")
        equal(gained(during, after, "rowtap_seq"), 10, "seq")
        equal(gained(during, after, "rowtap_group_commits_total"), 6, "group commits")
        equal(gained(during, after, "rowtap_group_commit_requests_sum"), 6, "requests of the groups")
        equal(gained(during, after, "rowtap_errors_total"), 1, "errors")
        equal(gained(during, after, "rowtap_messages_sent_total"), 20, "messages out")
        check(gained(during, after, "rowtap_history_bytes") > 1500, "history")
        check(gained(during, after, "rowtap_journal_bytes") > 1500, "journal")
        equal(value(after, "rowtap_wal_bytes"), os.stat(directory.file("a.db-wal")).st_size, "log")
        equal(gained(during, after, "rowtap_query_duration_seconds_count", kind="read"), 1, "queries")
        equal(gained(during, after, "rowtap_query_duration_seconds_count", kind="write"), 6, "writes")
        check(gained(during, after, "rowtap_commit_duration_seconds_count") >= 5, "commits")
        check(gained(during, after, "rowtap_commit_duration_seconds_sum") > 0, "time of commits")
        check(gained(during, after, "rowtap_fanout_duration_seconds_count") >= 5, "fan-out")
        check(value(after, "rowtap_match_duration_seconds_count") >= 1, "matching")
        equal(gained(during, after, "rowtap_delivery_delay_seconds_count"),
              gained(during, after, "rowtap_fanout_duration_seconds_count"), "delays")
        check(value(after, "rowtap_delivery_delay_seconds_sum") >= value(after, "rowtap_fanout_duration_seconds_sum"), "delays")
        check(gained(during, after, "rowtap_client_queue_bytes_count") >= 10, "sends")
        equal(gained(during, after, "rowtap_http_requests_total", code=200), 7, "HTTP requests")
        equal(value(after, "rowtap_http_requests_total", code=400), 1, "bad requests")
        await client.send("x" * 5000)
        equal(await client.wait_closed(), 1009, "close code")
        stream.close()
        while value(read(server), "rowtap_connections") > 0:
            await asyncio.sleep(0.02)
        end = read(server)
        equal(value(end, "rowtap_connections_closed_total", code=1009), 1, "closed with 1009")
        equal(value(end, "rowtap_connections_closed_total", code=1006), 1, "closed with 1006")
        equal(value(end, "rowtap_subscriptions"), 0, "subscriptions")


@case("compression is counted, both ways")
async def compression():
    with Directory() as directory, Server(directory.file("a.db")) as server:
        server.sql("CREATE TABLE t(x)")
        before = read(server)
        client = await Client.open(server, compression="deflate")
        await client.send({"type": "ping", "unused": "x" * 5000})
        await client.next("pong")
        await client.subscribe("t")
        server.sql("INSERT INTO t VALUES (?)", ["x" * 5000])
        await client.next("database_change")
        after = read(server)
        equal(gained(before, after, "rowtap_deflate_connections"), 1, "connections")
        check(gained(before, after, "rowtap_deflated_messages_total") >= 1, "messages out")
        check(gained(before, after, "rowtap_inflated_messages_total") >= 1, "messages in")
        for way in ("deflated_input", "inflated_output"):
            check(gained(before, after, f"rowtap_{way}_bytes_total") >= 5000, "%s", way)
        for way in ("deflated_output", "inflated_input"):
            check(0 < gained(before, after, f"rowtap_{way}_bytes_total") < 1000, "%s", way)
        await client.close()


@case("what other processes commit is told from the server's own")
def external():
    with Directory() as directory, Server(directory.file("a.db")) as server:
        server.sql("CREATE TABLE t(x)")
        before = read(server)
        other = sqlite3.connect(directory.file("a.db"), timeout=10)
        for i in range(3):
            with other:
                other.execute("INSERT INTO t VALUES (?)", [i])
        other.close()
        while gained(before, read(server), "rowtap_changes_total") < 3:
            threading.Event().wait(0.02)
        after = read(server)
        equal(gained(before, after, "rowtap_transactions_total", source="external"), 3, "external")
        equal(gained(before, after, "rowtap_transactions_total", source="server"), 0, "server's")


@case("a slow consumer is counted")
async def slow():
    with Directory() as directory, Server(directory.file("a.db"), "--max-queue", "64KiB") as server:
        server.sql("CREATE TABLE t(x)")
        raw = await in_thread(RawSocket, server, 20, 4096)
        await in_thread(raw.upgrade)
        raw.text({"type": "subscribe", "table": "t"})
        for _ in range(400):
            await in_thread(server.sql, "INSERT INTO t VALUES (hex(randomblob(20000)))")
            if value(read(server), "rowtap_slow_consumers_closed_total"):
                break
        families = read(server)
        equal(value(families, "rowtap_slow_consumers_closed_total"), 1, "slow consumers")
        check(value(families, "rowtap_client_queue_bytes_sum") > 40000, "queues")
        raw.close()


@case("counters never decrease, also when scraped from several sides under load")
def monotonic(args):
    with Directory() as directory, Server(directory.file("a.db")) as server:
        server.sql("CREATE TABLE t(x)")
        stop, failures = threading.Event(), []

        def write():
            http = server.http()
            while not stop.is_set():
                http.sql("INSERT INTO t VALUES (1)")

        def foreign():
            other = sqlite3.connect(directory.file("a.db"), timeout=30)
            while not stop.is_set():
                with other:
                    other.execute("INSERT INTO t VALUES (2)")
            other.close()

        def scrape():
            last = {}
            try:
                while not stop.is_set():
                    now = exposition.growing(read(server))
                    for series, number in last.items():
                        check(now.get(series, -1) >= number, "%s fell from %s to %s", series, number, now.get(series))
                    last = now
            except Exception as error:  # handed to the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=f) for f in (write, write, foreign, scrape, scrape)]
        for thread in threads:
            thread.start()
        stop.wait(2 if args.quick else 5)
        stop.set()
        for thread in threads:
            thread.join(seconds(30))
        if failures:
            raise failures[0]


if __name__ == "__main__":
    main()
