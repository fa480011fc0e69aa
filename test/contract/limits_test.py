#!/usr/bin/python3
"""How many clients fit, how long one may say nothing, and what that costs the others."""
import asyncio
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, RawSocket, Server, case, check, equal, in_thread, main, note, seconds  # noqa: E402


def together(count, function):
    """Runs function(i) in so many threads at once; the results."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(i):
        gate.wait(30)
        try:
            results[i] = function(i)
        except OSError as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return results


@case("200 upgrades at once: exactly --max-connections get in, the others 503 with Retry-After")
def burst():
    with Directory() as d, Server(d.file("l.db"), "--max-connections", 50) as server:
        for _ in range(2):
            sockets = [RawSocket(server, timeout=30) for _ in range(200)]
            heads = together(200, lambda i: sockets[i].upgrade())
            good = [s for s, h in zip(sockets, heads) if h.startswith("HTTP/1.1 101 ")]
            full = [(s, h) for s, h in zip(sockets, heads) if isinstance(h, str) and h.startswith("HTTP/1.1 503 ")]
            equal((len(good), len(full)), (50, 150), "let in and refused")
            for s, head in full:
                check("\r\nRetry-After: " in head, "%s", head)
            check(b"LIMIT_EXCEEDED" in full[0][0].socket.recv(4096) + full[0][0].buffer, "it says why")
            for s in good:
                equal(s.message()["type"], "connection:ack")
            equal(server.get("/api/ws/status").json["connectedClients"], 50)
            # A place that is given back can be had again, and only that one.
            good.pop().close()
            deadline = time.monotonic() + seconds(10)
            while server.get("/api/ws/status").json["connectedClients"] > 49 and time.monotonic() < deadline:
                time.sleep(0.02)
            more = [RawSocket(server) for _ in range(20)]
            heads = together(20, lambda i: more[i].upgrade()[:12])
            equal(heads.count("HTTP/1.1 101"), 1, "let in after one had gone")
            for s in sockets + more:
                s.close()
            while server.get("/api/ws/status").json["connectedClients"] and time.monotonic() < deadline + 10:
                time.sleep(0.02)
            equal(server.get("/api/ws/status").json["connectedClients"], 0)


@case("a long poll and a stream take a place too; HTTP requests do not")
def places():
    with Directory() as d, Server(d.file("l.db"), "--max-connections", 2) as server:
        first, second = RawSocket(server), RawSocket(server)
        first.send(f"GET /api/changes?timeout=30 HTTP/1.1\r\nHost: {first.host}\r\n\r\n".encode())
        second.send(f"GET /api/changes HTTP/1.1\r\nHost: {first.host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        second.head()
        deadline = time.monotonic() + seconds(10)
        while server.get("/health").json["connectedClients"] < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        check(RawSocket(server).upgrade().startswith("HTTP/1.1 503 "), "a third was let in")
        answer = server.get("/api/changes?timeout=0")
        equal((answer.status, answer.code), (503, "LIMIT_EXCEEDED"))
        check(int(answer.headers["Retry-After"]) > 0, "%s", answer.headers)
        equal(server.get("/api/changes", {"Accept": "text/event-stream"}).status, 200)
        first.close()
        second.close()


def flood(server, text):
    """200 clients that say so much and no more."""
    sockets = []
    for _ in range(200):
        s = socket.create_connection((server.host, server.port), timeout=seconds(30))
        s.sendall(text)
        sockets.append(s)
    return sockets


def ended(s):
    try:
        while s.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic()


@case("200 clients that say nothing, or half a head: others are served meanwhile, they are let go soon")
def silent():
    with Directory() as d, Server(d.file("l.db")) as server:
        server.sql("CREATE TABLE t(a)")
        for text in (b"", b"GET /ws HTTP/1.1\r\nHost: loc", b"G"):
            begun = time.monotonic()
            sockets = flood(server, text)
            for _ in range(5):
                equal(server.get("/health").json["status"], "ok")
            served = time.monotonic() - begun
            check(served < seconds(4), "%r: five requests took %.1f s", text, served)
            good = RawSocket(server)
            check(good.upgrade().startswith("HTTP/1.1 101 "), "no upgrade")
            good.close()
            last = max(ended(s) for s in sockets)
            note(f"{text!r}: five requests in {served:.1f} s, the last was let go after {last - begun:.1f} s")
            check(last - begun < seconds(12), "%r: the last was let go after %.1f s", text, last - begun)
            for s in sockets:
                s.close()


@case("a few silent ones disturb nobody; each is dropped after five seconds")
def few():
    with Directory() as d, Server(d.file("l.db")) as server:
        begun = time.monotonic()
        silent_ = socket.create_connection((server.host, server.port), timeout=seconds(30))
        half = RawSocket(server, timeout=30)
        half.send(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgr")
        for _ in range(20):
            server.get("/health")
        check(time.monotonic() - begun < seconds(3), "others had to wait")
        check(half.head().startswith("HTTP/1.1 408 "), "half a head is a 408")
        check(ended(silent_) - begun < seconds(11), "the silent one was kept")
        silent_.close()


@case("--handshake-timeout bounds the head, however slowly it drips in")
def handshake():
    with Directory() as d, Server(d.file("l.db"), "--handshake-timeout", "1s") as server:
        begun = time.monotonic()
        half, silent_ = RawSocket(server), RawSocket(server)
        half.send(b"GET /ws HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(40):
            time.sleep(0.1)
            try:
                half.send(b"y")
            except OSError:
                break
        check(0.9 < time.monotonic() - begun < seconds(3), "%.1f s", time.monotonic() - begun)
        check(ended(silent_.socket) - begun < seconds(5), "the silent one was kept")
        check(server.get("/health").status == 200, "not well")


@case("--idle-timeout: no message either way but pings, and it is closed; who talks or listens stays")
async def idle():
    with Directory() as d, Server(d.file("l.db"), "--idle-timeout", 1, "--heartbeat", 0.3) as server:
        server.sql("CREATE TABLE t(a)")
        begun = time.monotonic()
        quiet, talker, listener = [await Client.open(server) for _ in range(3)]
        await listener.subscribe("t")
        for i in range(12):
            await asyncio.sleep(0.25)
            await talker.send({"type": "heartbeat"})
            await in_thread(server.sql, "INSERT INTO t VALUES(?)", [i])
            if quiet.closed is not None and begun:
                taken, begun = time.monotonic() - begun, 0
        equal(await quiet.wait_closed(), 1001)
        check("idle" in quiet.closed[1], "%s", quiet.closed)
        check(0.9 < taken < seconds(2.2), "closed after %.2f s", taken)
        equal((talker.closed, listener.closed), (None, None))
        await listener.wait(lambda: len(listener.events) == 12)
        equal(await listener.wait_closed(), 1001)
        await talker.close()


@case("without it a silent client stays for as long as it answers pings")
async def patient():
    with Directory() as d, Server(d.file("l.db"), "--heartbeat", 0.2) as server:
        client = await Client.open(server)
        await asyncio.sleep(2)
        equal(client.closed, None)
        await client.close()


@case("latency in /api/websocket/health is that of the clients' pongs, and who does not answer is unhealthy")
def latency():
    with Directory() as d, Server(d.file("l.db"), "--heartbeat", 2) as server:
        server.sql("CREATE TABLE t(a)")
        equal(server.get("/api/websocket/health").json["averageLatency"], 0)
        sockets = [RawSocket(server) for _ in range(3)]
        for s in sockets:
            s.upgrade()
            s.message()

        def pong(i, delay):
            opcode, payload = sockets[i].read_frame()
            equal(opcode, 9)
            time.sleep(delay)
            sockets[i].frame(10, payload)

        threads = [threading.Thread(target=pong, args=a) for a in ((0, 0.1), (1, 0.3))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(20)
        time.sleep(0.1)
        health = server.get("/api/websocket/health").json
        check(180 < health["averageLatency"] < 200 + seconds(100), "%s instead of 200", health["averageLatency"])
        equal((health["activeConnections"], health["healthyConnections"]), (3, 3))
        # The third has not answered for half a heartbeat, but is not given up yet.
        deadline = time.monotonic() + seconds(10)
        while health["unhealthyConnections"] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
            health = server.get("/api/websocket/health").json
        equal((health["activeConnections"], health["healthyConnections"], health["unhealthyConnections"]), (3, 2, 1))
        clients = server.get("/api/realtime/stats").json["clients"]
        equal(sorted(c["isAlive"] for c in clients), [False, True, True])
        for s in sockets:
            s.close()


if __name__ == "__main__":
    main()
