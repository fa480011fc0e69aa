#!/usr/bin/python3
"""permessage-deflate (RFC 7692) between the real server and real clients: what is agreed on, that everybody
reads the same, that a body is compressed once for all, and what the server does with hostile data."""
import json
import os
import random
import shutil
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Client, Directory, RawSocket, Server, Skip, case, check, equal, in_thread, main,  # noqa: E402
                     note, seconds, websockets)

HERE = os.path.dirname(os.path.abspath(__file__))
SLOW = float(os.environ.get("ROWTAP_SLOW", "1"))
WORDS = "customer pending delivered order note street Berlin invoice shipping updated agent".split()


def start(directory, *options):
    server = Server(directory.file("c.db"), *options)
    server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)")
    return server


def words(size, seed=1):
    dice = random.Random(seed)
    text = ""
    while len(text) < size:
        text += dice.choice(WORDS) + str(dice.randrange(1000)) + " "
    return text[:size]


def noise(size):
    """Letters of which no two are alike for long; base64 of random bytes shrinks by a quarter at most."""
    dice = random.Random(2)
    return "".join(chr(dice.randrange(0x4e00, 0x9f00)) for _ in range(size))


def compression(server):
    return json.loads(server.get("/api/websocket/health").body)["compression"]


def factory(**options):
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    return [ClientPerMessageDeflateFactory(**options)]


async def subscriber(server, **options):
    options.setdefault("compression", "deflate")
    client = await Client.open(server, **options)
    await client.socket.send('{"type":"subscribe","table":"t","requestId":"s"}')
    await client.wait(lambda: "s" in client.replies)
    return client


async def changes(client, count):
    found = lambda: [e for e in client.events if e["type"] in ("database_change", "changes")]  # noqa: E731
    await client.wait(lambda: len(found()) >= count, what=f"{count} changes")
    return found()


async def close(*clients):
    for client in clients:
        await client.socket.close()
        await client.reader


@case("every window from 8 to 15 and no compression at all: all clients read the same")
async def same_for_all():
    with Directory() as directory:
        server = start(directory, "--compress-min-size", "0")
        plain = await subscriber(server, compression=None)
        clients = [await subscriber(server)]
        for bits in range(8, 16):
            clients.append(await subscriber(server, compression=None, extensions=factory(server_max_window_bits=bits)))
        for client in clients:
            agreed = client.socket.extensions[0]
            equal((agreed.remote_no_context_takeover, agreed.local_no_context_takeover), (True, True), "takeover")
        equal([c.socket.extensions[0].remote_max_window_bits for c in clients], [15, *range(8, 16)], "windows")
        sizes = [0, 1, 100, 200, 250, 300, 500, 600, 5000, 30000, 33000, 70000, 300000, 2500000]
        for number, size in enumerate(sizes):
            await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(size, number)])
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [noise(3000)])
        await in_thread(server.sql, "UPDATE t SET x = x || 'ä' WHERE length(x) < 1000")
        wanted = await changes(plain, len(sizes) + 1 + 8)
        equal([len(m["data"]["x"]) for m in wanted[:len(sizes)]], sizes, "sizes")
        for client in clients:
            got = await changes(client, len(wanted))
            for a, b in zip(got, wanted):
                a.pop("subscriptions"), b.pop("subscriptions", None)
                equal(a, b, "message")
        figures = compression(server)
        equal((figures["enabled"], figures["connections"]), (True, 9), "figures")
        largest = json.loads(server.get("/api/websocket/health").body)["largestMessage"]["sent"]
        check(2500000 < largest < 2501000, "largest message: %d", largest)
        check(0 < figures["ratio"] < 0.7 and figures["bytesSaved"] > 1000000, "%s", figures)
        await close(plain, *clients)
        equal(compression(server)["connections"], 0, "connections after the end")
        server.stop()


@case("one compression for all receivers of a loop, of a change and of a batch")
async def once_for_all():
    with Directory() as directory:
        server = start(directory, "--loops", "1")
        clients = [await subscriber(server) for _ in range(40)]
        clients.append(await subscriber(server, compression=None, extensions=factory(server_max_window_bits=12)))
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(2000)])
        for client in clients:
            equal((await changes(client, 1))[0]["data"]["x"], words(2000), "value")
        figures = compression(server)
        equal((figures["messages"], figures["bodies"]), (41, 1), "after a change")
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(10000)])  # above the smaller window
        for client in clients:
            equal((await changes(client, 2))[1]["data"]["x"], words(10000), "value")
        figures = compression(server)
        equal((figures["messages"], figures["bodies"]), (82, 3), "with two windows")
        for client in clients[:20]:
            client.replies.clear()
            await client.socket.send('{"type":"unsubscribe","subscription":"s1","requestId":"u"}')
            await client.socket.send('{"type":"subscribe","table":"t","batch":true,"requestId":"b"}')
            await client.wait(lambda client=client: "b" in client.replies)
        await close(*clients[20:])
        before = compression(server)
        await in_thread(server.sql, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 50) "
                        "INSERT INTO t(x) SELECT 'row ' || i FROM c")
        for client in clients[:20]:
            equal(len((await changes(client, 3))[2]["changes"]), 50, "changes of the batch")
        figures = compression(server)
        equal((figures["messages"] - before["messages"], figures["bodies"] - before["bodies"]), (20, 1), "after a batch")
        await close(*clients[:20])
        server.stop()


@case("--compress-min-size and --no-compression")
async def options():
    with Directory() as directory:
        server = start(directory, "--compress-min-size", "3000")
        client = await subscriber(server)
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(2000)])
        await changes(client, 1)
        equal(compression(server)["messages"], 0, "messages below the size")
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(3000)])
        await changes(client, 2)
        equal(compression(server)["messages"], 1, "messages above it")
        await close(client)
        server.stop()
        server = Server(directory.file("c.db"), "--no-compression")
        client = await subscriber(server)
        equal(client.socket.extensions, [], "extensions")
        await in_thread(server.sql, "INSERT INTO t(x) VALUES (?)", [words(3000)])
        await changes(client, 1)
        figures = compression(server)
        equal((figures["enabled"], figures["connections"], figures["messages"]), (False, 0, 0), "figures")
        await close(client)
        server.stop()


@case("a snapshot and a large answer come compressed")
async def answers():
    with Directory() as directory:
        server = start(directory)
        await in_thread(server.sql, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) "
                        "INSERT INTO t(x) SELECT 'row number ' || i FROM c")
        client = await Client.open(server, compression="deflate")
        await client.socket.send('{"type":"subscribe","table":"t","snapshot":true,"requestId":"s"}')
        pages = lambda: [e for e in client.events if e["type"] == "snapshot"]  # noqa: E731
        await client.wait(lambda: pages() and pages()[-1]["last"])
        rows = [row["data"]["x"] for page in pages() for row in page["data"]["rows"]]
        equal(rows, [f"row number {i}" for i in range(1, 3001)], "rows")
        check(compression(server)["ratio"] < 0.4, "%s", compression(server))
        await close(client)
        server.stop()


def deflate(data, bits=-15):
    z = zlib.compressobj(6, zlib.DEFLATED, bits)
    data = z.compress(data) + z.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


def raw(server, offer="permessage-deflate"):
    socket = RawSocket(server)
    socket.upgrade(**{"Sec-WebSocket-Extensions": offer})
    return socket


@case("commands in all the ways in which compression allows to write them")
def commands():
    with Directory() as directory:
        server = start(directory)
        socket = raw(server)
        equal(socket.message()["type"], "connection:ack", "greeting")
        ping = json.dumps({"type": "ping", "sentAt": 5, "pad": words(3000)}).encode()
        final = zlib.compressobj(9, zlib.DEFLATED, -15)
        ways = {
            "one frame": [(1, deflate(ping), True, 4)],
            "a small window": [(1, deflate(ping, -9), True, 4)],
            "stored": [(1, b"\0" + len(ping).to_bytes(2, "little") + (65535 - len(ping)).to_bytes(2, "little") + ping + b"\0", True, 4)],
            "the last block": [(1, final.compress(ping) + final.flush() + b"\0", True, 4)],
            "not compressed": [(1, ping, True, 0)],
            "fragments": [(1, deflate(ping)[:9], False, 4), (0, deflate(ping)[9:10], False, 0), (0, b"", False, 0),
                          (0, deflate(ping)[10:], True, 0)],
            "several blocks": [(1, deflate(ping[:1000]) + b"\0\0\xff\xff" + deflate(ping[1000:]), True, 4)],
        }
        for way, frames in ways.items():
            for opcode, payload, fin, rsv in frames:
                socket.frame(opcode, payload, fin=fin, rsv=rsv)
            equal(socket.message()["type"], "pong", way)
        equal(compression(server)["messagesReceived"], len(ways) - 1, "messages received")
        socket.close()
        server.stop()


@case("bombs, broken data and reserved bits close with 1009, 1007 and 1002")
def hostile():
    with Directory() as directory:
        server = start(directory, "--max-message", "100000")
        bomb = deflate(b" " * 50_000_000)
        cases = {
            "a bomb": (1009, [(1, bomb, True, 4)]),
            "a bomb in fragments": (1009, [(1, bomb[:100], False, 4), (0, bomb[100:], True, 0)]),
            "one byte too many": (1009, [(1, deflate(b" " * 100001), True, 4)]),
            "not DEFLATE": (1007, [(1, b"\x07\x07\x07", True, 4)]),
            "cut short": (1007, [(1, deflate(words(500).encode())[:-9], True, 4)]),
            "not UTF-8": (1007, [(1, deflate(b"\xc3("), True, 4)]),
            "RSV1 on a continuation": (1002, [(1, b"\0", False, 4), (0, b"\0", True, 4)]),
            "RSV1 on a ping": (1002, [(9, deflate(b"x"), True, 4)]),
            "RSV2": (1002, [(1, b"\0", True, 2)]),
            "RSV1 and RSV3": (1002, [(1, b"\0", True, 5)]),
        }
        for what, (code, frames) in cases.items():
            socket = raw(server)
            for opcode, payload, fin, rsv in frames:
                socket.frame(opcode, payload, fin=fin, rsv=rsv)
            equal(socket.close_code(), code, what)
            socket.close()
        socket = RawSocket(server)
        socket.upgrade()
        socket.frame(1, b"\0", rsv=4)
        equal(socket.close_code(), 1002, "RSV1 without the extension")
        socket.close()
        socket = raw(server)
        socket.frame(1, deflate(b" " * 100000), rsv=4)
        socket.message()
        equal(socket.message()["error"]["code"], "INVALID_FORMAT", "exactly as much as allowed")
        socket.close()
        server.stop()


@case("hundreds of half messages hold no more memory than what was sent of them")
def half_messages():
    with Directory() as directory:
        server = start(directory)
        data = deflate(b'{"type":"ping"' + b" " * 900_000)
        sockets = []
        for _ in range(300):
            sockets.append(raw(server))
        before = server.memory()
        for socket in sockets:
            socket.frame(1, data[:-100], fin=False, rsv=4)
        for socket in sockets:
            socket.frame(9, b"x")
        for socket in sockets:
            while socket.read_frame()[0] != 10:
                pass
        grown = server.memory() - before
        note(f"{grown / 300:.0f} bytes each for {len(data)} sent")
        if SLOW == 1:
            check(grown < 300 * 6000, "%d bytes", grown)
        for socket in sockets:
            socket.close()
        server.stop()


@case("npm ws with its default options: sends and receives compressed")
def npm_ws():
    program = shutil.which("node") or shutil.which("nodejs")
    if not program:
        raise Skip("node is not installed")
    folder = os.path.join(HERE, "..", "e2e")
    if not os.path.isdir(os.path.join(folder, "node_modules", "ws")):
        raise Skip("npm `ws` is not installed: npm ci in test/e2e")
    with Directory() as directory:
        server = start(directory)
        process = subprocess.Popen([program, os.path.join(folder, "ws_client.mjs"), server.ws_url, "t", "x!=''", "3", "2000"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            ready = json.loads(process.stdout.readline())
            check("permessage-deflate" in ready["extensions"], "%s", ready)
            texts = [words(300), words(70000), words(2000) + noise(20000)]
            for text in texts:
                server.sql("INSERT INTO t(x) VALUES (?)", [text])
            out, err = process.communicate(timeout=seconds(20))
            lines = [json.loads(line) for line in out.splitlines()]
            equal([m["data"]["x"] for m in lines if m.get("type") == "database_change"], texts, err)
            equal(lines[-1], {"closed": 1000}, "close code")
            figures = compression(server)
            check(figures["messages"] >= 2 and figures["messagesReceived"] == 1, "%s", figures)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        server.stop()


if __name__ == "__main__":
    main()
