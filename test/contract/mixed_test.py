#!/usr/bin/python3
"""Writers, readers, and subscribers that come and go, all at once; at the end a replica that listened
throughout equals the source. Made to be run against the thread sanitizer's build."""
import asyncio
import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from contract.replica import Replica, View, connect  # noqa: E402
from contract.workload import FILTERS, SCHEMA, Workload  # noqa: E402
from harness import Client, Directory, Http, RawSocket, Server, case, check, equal, in_thread, main, note  # noqa: E402


def write(server, seed, steps):
    """Runs generated steps, whatever comes of them; returns how many were accepted."""
    http, look = Http(server), connect(server.path)
    workload, accepted = Workload(seed, look), 0
    workload.fresh = seed * 100000  # names of new tables differ between writers
    for _ in range(steps):
        look.execute("BEGIN")  # one state of the schema, while others change it
        kind, items = workload.step()
        look.execute("ROLLBACK")
        if kind == "statements":
            answer = http.try_sql(statements=[{"sql": s} for s, p in items if p is None] or [{"sql": "SELECT 1"}])
        else:
            answer = http.try_sql("; ".join(items))
        check(answer.status in (200, 400), "%s: %s", items, answer)
        accepted += answer.status == 200
    http.close()
    look.close()
    return accepted


def read(server, seed, stop):
    http, dice, done = Http(server), random.Random(seed), 0
    while not stop.is_set():
        what = dice.choice(["SELECT count(*) FROM audit", "SELECT * FROM plain", "SELECT 1; SELECT * FROM wr", "SELECT * FROM missing"])
        answer = http.try_sql(what)
        check(answer.status == 200 or "missing" in what, "%s: %s", what, answer)
        http.request("GET", dice.choice(["/health", "/api/tables", "/api/websocket/health", "/nope"]))
        done += 1
    http.close()
    return done


async def come_and_go(server, seed, stop):
    dice, rounds = random.Random(seed), 0
    while not stop.is_set():
        client = await Client.open(server)
        last = [0]

        def take(message):
            if "seq" in message:
                check(message["seq"] >= last[0], "seq %s after %d", message, last[0])
                last[0] = message["seq"]
        client.consume = take
        for _ in range(dice.randint(1, 5)):
            table, filters, _ = dice.choice(FILTERS)
            await client.request("subscribe", table=table, filter=filters)
        if dice.random() < 0.5:
            await client.join("tables")
        await asyncio.sleep(dice.random() * 0.3)
        await client.request("unsubscribe", subscription="s1")
        if dice.random() < 0.3:
            client.socket.transport.abort()
            await client.reader
        else:
            await client.close()
        rounds += 1
    return rounds


def rudeness(server, stop):
    """Half requests and broken frames, again and again."""
    while not stop.is_set():
        for words in (b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{", b"\x00\x00"):
            raw = RawSocket(server)
            raw.send(words)
            raw.close()
        raw = RawSocket(server)
        raw.upgrade()
        raw.frame(3, b"x")
        try:
            equal(raw.close_code(), 1002, "close code")
        except OSError:
            pass
        raw.close()
        stop.wait(0.05)


@case("writers, readers, subscribers, rude clients at once: the replica equals the source")
async def mixed(args):
    steps = int(os.environ.get("ROWTAP_STEPS", "60" if args.quick else "200"))
    seed = int(os.environ.get("ROWTAP_SEED", "1"))
    with Directory() as directory:
        server = Server(directory.file("mixed.db"))
        client = await Client.open(server)
        await client.join("tables")
        everything = await client.subscribe("*")
        for sql in SCHEMA:
            await in_thread(server.sql, sql)
        views = [View(await client.subscribe(t, filter=f), t, f, w) for t, f, w in FILTERS]
        stop, gone = threading.Event(), asyncio.Event()
        readers = [asyncio.ensure_future(in_thread(read, server, n, stop)) for n in range(2)]
        visitors = [asyncio.ensure_future(come_and_go(server, n, gone)) for n in range(6)]
        rude = asyncio.ensure_future(in_thread(rudeness, server, stop))
        try:
            accepted = await asyncio.gather(*(in_thread(write, server, seed * 10 + n, steps) for n in range(4)))
        finally:
            stop.set()
            gone.set()
        reads, rounds = await asyncio.gather(*readers), await asyncio.gather(*visitors)
        await rude
        seq = server.get("/health").json["database"]["seq"]
        replica = Replica()
        while replica.seq < seq or client.events:
            await client.wait(lambda: client.events, what=f"event {replica.seq + 1} of {seq}")
            for message in client.events:
                if message["type"] != "database_change" or everything in message["subscriptions"]:
                    replica.apply(message)
                for view in views:
                    if message["type"] == "table:altered":
                        view.alter(message)
                    if view.subscription in message.get("subscriptions", []):
                        view.apply(message)
            client.events.clear()
        source = connect(server.path)
        replica.compare(source)
        for view in views:
            view.compare(source)
        source.close()
        note(f"{sum(accepted)} of {4 * steps} steps accepted, {replica.seq} events {replica.kinds}, {sum(reads)} reads, "
             f"{sum(rounds)} visits")
        await client.close()
        server.stop(limit=10)


if __name__ == "__main__":
    main()
