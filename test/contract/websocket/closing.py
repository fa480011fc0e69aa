"""Section 7: the closing handshake."""
import asyncio
import signal

from . import table
from .table import NOT_JSON, Row, bad, closed, expect, pong, reply, row, say, section, send, silence
from .wire import CLOSE, PING, TEXT, Peer, close, frame

NAME = "7 closing"
HELLO = frame(TEXT, b"Hello World!")


def close_row(number, title, data, *answers, code=1000, chop=None, **options):
    """We close; what came before is answered, nothing that comes behind is."""
    row(NAME, number, title, send(data, chop), expect(*answers), closed(code), **options)


def basic():
    close_row("7.1.1", "a message, then a Close", HELLO + close(1000), NOT_JSON)
    close_row("7.1.2", "two Close frames", close(1000) + close())
    close_row("7.1.3", "a ping behind the Close", close(1000) + frame(PING))
    close_row("7.1.4", "a text behind the Close", close(1000) + HELLO)
    close_row("7.1.5", "a Close between two fragments", frame(TEXT, b"fragment1", fin=False) + close(1000) + frame(0, b"fragment2"))
    close_row("7.1.6", "256 KiB, a text, a Close and a ping at once", frame(TEXT, b"BAsd7&jh23" * 26215) + HELLO + close(1000) + frame(PING), NOT_JSON, NOT_JSON)
    close_row("7.1.7", "a ping and a text before the Close are answered, in order", frame(PING, b"1") + frame(TEXT, say(2)) + close(1000), pong(b"1"), reply(2))
    close_row("7.1.8", "the same byte by byte", frame(PING, b"1") + frame(TEXT, say(2)) + close(1000), pong(b"1"), reply(2), chop=1)
    close_row("7.1.9", "what breaks the protocol behind a Close is not looked at", close(1000) + b"\xff" * 200)
    close_row("7.1.10", "invalid UTF-8 behind a Close", close(1000) + frame(TEXT, b"\xff"))
    close_row("7.1.11", "a different Close behind the Close", close(1000) + close(1001) + close(1002, "no"))
    close_row("7.1.12", "a megabyte behind the Close", close(1000) + frame(TEXT, b"*" * 1000000))
    close_row("7.1.13", "a Close right behind 200 messages", b"".join(frame(TEXT, say(i)) for i in range(200)) + close(3999),
              *(reply(i) for i in range(200)), code=3999)
    close_row("7.1.14", "half a frame behind the Close", close(1000) + frame(TEXT, b"x" * 100)[:50])
    whole = close(1000)
    row(NAME, "7.1.15", "our Close in two pieces", send(whole[:5]), silence(0.2), send(whole[5:]), closed(1000))


def payload_length():
    close_row("7.3.1", "a Close without payload", close(), code=None)
    bad(NAME, "7.3.2", "a Close of one byte", frame(CLOSE, b"a"))
    close_row("7.3.3", "a Close with a code", close(1000))
    close_row("7.3.4", "a Close with a code and a reason", close(1000, "Hello World!"))
    close_row("7.3.5", "a reason of 123 bytes", close(1000, "*" * 123))
    bad(NAME, "7.3.6", "a reason of 124 bytes", close(1000, "*" * 124))
    close_row("7.3.7", "a Close with a code, byte by byte", close(1000, "bye"), chop=1)
    bad(NAME, "7.3.8", "a Close of one byte, its header only", frame(CLOSE, b"", says=1)[:2])
    for i, size in enumerate((126, 65535, 65536), 1):
        bad(NAME, f"7.3.9.{i}", f"a Close of {size} bytes, its header only", frame(CLOSE, b"", says=size))


def payload_value():
    bad(NAME, "7.5.1", "a reason that is not UTF-8", close(1000, "κόσμε".encode() + b"\xed\xa0\x80edited"), code=1007)
    for i, wrong in enumerate((b"\xff", b"\xc0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82", b"\x80"), 2):
        bad(NAME, f"7.5.{i}", f"a reason with {wrong.hex()}", close(1000, wrong), code=1007)
    close_row("7.5.7", "a reason in many letters", close(1000, "κόσμε 𤭢 €"))
    close_row("7.5.8", "a reason of NULs", close(1000, b"\0" * 20))
    bad(NAME, "7.5.9", "a bad code with a bad reason", close(1005, b"\xff"))


def codes():
    for i, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
        close_row(f"7.7.{i}", f"the code {code}", close(code), code=code)
        close_row(f"7.7.{i}.2", f"the code {code} with a reason, byte by byte", close(code, "why"), code=code, chop=1)
    for i, code in enumerate((1012, 1013, 1014), 14):
        close_row(f"7.7.{i}", f"the registered code {code}", close(code), code=code)
    for i, code in enumerate((3001, 3500, 4001, 4500), 17):
        close_row(f"7.7.{i}", f"the private code {code}", close(code), code=code)
    for i, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        bad(NAME, f"7.9.{i}", f"the code {code}", close(code))
        bad(NAME, f"7.9.{i}.2", f"the code {code} with a reason", close(code, "why"))
    for i, code in enumerate((1, 100, 500, 998, 1015, 1017, 1099, 1999, 2500), 10):
        bad(NAME, f"7.9.{i}", f"the code {code}", close(code))
    bad(NAME, "7.13.1", "the code 5000", close(5000))
    bad(NAME, "7.13.2", "the code 65535", close(65535))
    for i, code in enumerate((5001, 9999, 10000, 32768, 65534), 3):
        bad(NAME, f"7.13.{i}", f"the code {code}", close(code))


def after_failure():
    """Once the server has failed the connection nothing that comes matters."""
    wrong = frame(3)
    for i, (title, behind) in enumerate((("a ping", frame(PING)), ("a text", frame(TEXT, say(1))), ("a Close", close(1000)), ("another violation", frame(7)),
                                         ("bytes that mean nothing", b"\xff" * 1000), ("half a frame", b"\x81")), 1):
        bad(NAME, f"7.14.{i}", f"{title} behind a violation", wrong + behind)
        row(NAME, f"7.15.{i}", f"{title} a while after a violation", send(wrong), silent_failure(behind))
    row(NAME, "7.16.1", "a peer that never answers the Close of a failure is let go", send(wrong), unanswered())
    row(NAME, "7.16.2", "a peer that answers nothing and goes on sending is let go", send(wrong), unanswered(frame(PING)))


def silent_failure(behind):
    """Close 1002, then more from us, and not a byte from the server any more."""
    async def step(peer):
        await table.close_frame(peer, (1002,))
        try:
            await peer.send(behind)
        except ConnectionError:
            pass
        await peer.ended()
    return step


def unanswered(noise=b""):
    async def step(peer):
        await table.close_frame(peer, (1002,))
        try:
            await peer.send(noise)
        except ConnectionError:
            pass
        await peer.ended(5)
    return step


class Shutdown(Row):
    """SIGTERM while peers are connected that behave in several ways: each gets one Close frame with 1012
    and then the end, whether it answers or not."""

    async def run(self, servers):
        server = servers[self.on]
        begun = frame(TEXT, b"{", fin=False)
        peers = [await Peer(server).connect() for _ in range(6)]
        try:
            for peer, said in zip(peers, (b"", b"", begun, begun, frame(TEXT, say(1))[:9], frame(PING)[:1])):
                await peer.upgrade()
                await peer.send(said)
            server.signal(signal.SIGTERM)
            server.told = True
            for i, peer in enumerate(peers):
                await table.close_frame(peer, (1012,))
                if i % 2 == 0:
                    await peer.send(close(1012))
            await asyncio.gather(*(peer.ended(8) for peer in peers))
        finally:
            for peer in peers:
                peer.end()


def shutdown():
    section(NAME).append(Shutdown("7.17.1", "the server is told to end", (), on="ending"))


for build in (shutdown, basic, payload_length, payload_value, codes, after_failure):
    build()
