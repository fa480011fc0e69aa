"""Section X: peers that mean harm, or have none of the manners a protocol counts on."""
import asyncio
import socket

from harness import SLOW

from .table import NOT_JSON, bad, clean, closed, expect, fails, ok, pong, reply, row, say, send, silence
from .wire import BINARY, PING, TEXT, Failure, Peer, close, fragments, frame

NAME = "X hostile peers"


def half_close():
    async def step(peer):
        peer.socket.shutdown(socket.SHUT_WR)
    return step


def ends(timeout=5):
    async def step(peer):
        await peer.ended(timeout)
    return step


def resets():
    async def step(peer):
        peer.reset()
    return step


def pause(length):
    async def step(_):
        await asyncio.sleep(length)
    return step


def repeat(data, count):
    """The same bytes again and again, in large writes, nothing being read meanwhile."""
    async def step(peer):
        block = data * max(1, 200000 // len(data))
        for _ in range(count * len(data) // len(block)):
            await peer.send(block)
    return step


def memory_within(megabytes, before):
    """The server holds no more than that over what it held `before`; a sanitizer keeps what was freed."""
    async def step(peer):
        grown = peer.server.memory() - before["memory"]
        if grown > (megabytes << 20) * SLOW:
            raise Failure(f"the server's memory grew by {grown >> 20} MB")
    return step


def note_memory(before):
    async def step(peer):
        before["memory"] = peer.server.memory()
    return step


def halves():
    """A peer that shuts its sending side has no more to say; it gets what it is owed, and the end."""
    row(NAME, "X.1.1", "the stream ends without a Close", half_close(), ends())
    row(NAME, "X.1.2", "a ping, then the end of the stream", send(frame(PING, b"last")), half_close(), expect(pong(b"last")), ends())
    row(NAME, "X.1.3", "200 messages, then the end of the stream", send(b"".join(frame(TEXT, say(i)) for i in range(200))), half_close(),
        expect(*(reply(i) for i in range(200))), ends())
    row(NAME, "X.1.4", "half a frame, then the end of the stream", send(frame(TEXT, say(1))[:20]), half_close(), ends())
    row(NAME, "X.1.5", "half a message, then the end of the stream", send(frame(TEXT, b"{", fin=False)), half_close(), ends())
    row(NAME, "X.1.6", "a Close, then the end of the stream", send(close(1000)), half_close(), closed(1000))
    row(NAME, "X.1.7", "a violation, then the end of the stream", send(frame(3)), half_close(), closed(1002))
    row(NAME, "X.1.8", "a message, a Close, then the end of the stream", send(frame(TEXT, say(1)) + close(4000)), half_close(), expect(reply(1)), closed(4000))
    row(NAME, "X.1.9", "a Close without code, then the end of the stream", send(close()), half_close(), closed(None))
    row(NAME, "X.1.10", "40,000 messages whose answers the socket does not take at once, then the end of the stream", send(b"".join(
        frame(TEXT, say(i)) for i in range(40000))), half_close(), pause(0.3), expect(*(reply(i) for i in range(40000))), ends(), receive_buffer=4096)
    for i, (title, data) in enumerate((("at once", b""), ("within a header", b"\x81"), ("within a message", frame(TEXT, b"x" * 1000)[:500]),
                                       ("with answers under way", frame(TEXT, say(1)) * 1000), ("between fragments", frame(TEXT, b"{", fin=False)),
                                       ("behind a Close", close(1000)), ("behind a violation", frame(3))), 1):
        row(NAME, f"X.2.{i}", f"a reset {title}", send(data), resets())


def floods():
    before = {}
    one = b"\x00\x81\0\0\0\0"  # a fragment of one byte, which follows
    text = say("a million", 1 << 20)
    row(NAME, "X.3.1", "a message of 1 MiB in fragments of one byte", note_memory(before), send(b"\x01\x81\0\0\0\0" + text[:1] + b"".join(
        one + text[i:i + 1] for i in range(1, len(text) - 1)) + b"\x80\x81\0\0\0\0" + text[-1:]), expect(reply("a million")), memory_within(30, before), clean(), on="large")
    row(NAME, "X.3.2", "a million empty fragments", send(frame(TEXT, b"", fin=False)), repeat(b"\x00\x80\1\2\3\4", 1000000), send(frame(0, say("done"))),
        expect(reply("done")), clean())
    row(NAME, "X.3.3", "a message without end is refused at its bound", repeat_until_refused(), fails(1009))
    row(NAME, "X.3.4", "100,000 pings of 125 bytes while nothing is read", repeat(frame(PING, b"p" * 125), 100000), send(frame(PING, b"the last")),
        until_pong(b"the last"), clean())
    row(NAME, "X.3.5", "4 MB behind a frame that is refused", send(frame(TEXT, b"", says=4 << 20)), swallow(b"x" * 65536, 64), fails(1009))
    row(NAME, "X.3.6", "4 MB behind a violation", send(frame(3)), swallow(b"\x81" * 65536, 64), fails(1002))
    row(NAME, "X.3.7", "200 peers that announce 1 MiB each and send a byte", many_promises(), on="large")
    row(NAME, "X.3.8", "a frame in single bytes with pauses", *[s for b in frame(TEXT, say("slow")) for s in (send(bytes([b])), pause(0.01))], expect(reply("slow")), clean())
    row(NAME, "X.3.9", "a peer that answers no ping of its own but goes on, byte by byte", send(frame(PING, b"x") * 50, chop=1), expect(*[pong(b"x")] * 50), clean())
    ok(NAME, "X.3.10", "JSON with 100,000 levels", frame(TEXT, b"[" * 100000), NOT_JSON)
    ok(NAME, "X.3.11", "a NUL in the middle of JSON", frame(TEXT, b'{"type":\0"ping"}'), NOT_JSON)
    bad(NAME, "X.3.12", "an HTTP request as frames", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bad(NAME, "X.3.13", "a TLS hello as frames", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")
    bad(NAME, "X.3.14", "line ends as frames", b"\r\n\r\n")
    bad(NAME, "X.3.15", "zeros as frames", b"\0" * 100)
    bad(NAME, "X.3.16", "ones as frames", b"\xff" * 100)


def repeat_until_refused():
    async def step(peer):
        await peer.send(frame(TEXT, b" " * 65536, fin=False))
        for _ in range(15):
            await peer.send(frame(0, b" " * 65536, fin=False))
        await silence(0.2)(peer)
        await peer.send(frame(0, b" ", fin=False))
    return step


def swallow(data, count):
    async def step(peer):
        for _ in range(count):
            await peer.send(data)
    return step


def until_pong(payload):
    """Every answer is a pong, each of what was sent, and the last one is this."""
    async def step(peer):
        while True:
            opcode, got = await peer.frame()
            if opcode != 10 or got not in (payload, b"p" * 125):
                raise Failure(f"opcode {opcode} with {got[:20]!r}")
            if got == payload:
                return
    return step


def many_promises():
    async def step(first):
        await first.send(frame(PING))
        await expect(pong())(first)
        before = first.server.memory()
        peers = []
        try:
            for _ in range(200):
                peer = await Peer(first.server).connect()
                peers.append(peer)
                await peer.upgrade()
                await peer.send(frame(BINARY, b"x", says=1 << 20))
            await asyncio.sleep(0.2)
            grown = first.server.memory() - before
            if grown > (40 << 20) * SLOW:
                raise Failure(f"the server's memory grew by {grown >> 20} MB for 200 bytes")
        finally:
            for peer in peers:
                peer.end()
    return step


def churn():
    """Connections that come and go in every state; at the end the server has forgotten all of them."""
    async def step(first):
        async def one(i):
            peer = await Peer(first.server).connect()
            try:
                if i % 7 == 0:
                    await peer.send(b"GET /ws HTTP/1.1\r\nHost: x")
                    return
                await peer.upgrade()
                await peer.send((b"", frame(PING), frame(TEXT, b"{", fin=False), close(1000), frame(3), frame(TEXT, say(1)) * 10)[i % 6])
            finally:
                peer.reset() if i % 2 else peer.end()
        for start in range(0, 300, 30):
            await asyncio.gather(*(one(i) for i in range(start, start + 30)))
        await first.send(frame(TEXT, say("here")))
        await expect(reply("here"))(first)
    row(NAME, "X.4.1", "300 connections that come and go while one stays", step, clean())
    ok(NAME, "X.4.2", "a connection that stays hears nothing of the others", fragments(TEXT, say("x", 5000), 10), reply("x"), chop=100)


for build in (halves, floods, churn):
    build()
