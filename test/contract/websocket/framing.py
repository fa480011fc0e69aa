"""Sections 1 to 5: framing, pings and pongs, reserved bits, opcodes, fragmentation."""
from .echo import echo, prose
from .table import (NOT_JSON, NOT_TEXT, bad, clean, error, expect, fails, ok, pong, reply, row, say, send, silence)
from .wire import BINARY, CLOSE, PING, PONG, TEXT, fragments, frame

HELLO = b"Hello, world!"
BYTES = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"


def framing():
    name = "1 framing"
    sizes = (0, 125, 126, 127, 128, 65535, 65536)
    for sub, opcode, fill, answer in ((1, TEXT, b"*", NOT_JSON), (2, BINARY, b"\xfe", NOT_TEXT)):
        kind = "text" if opcode == TEXT else "binary"
        for i, size in enumerate(sizes, 1):
            ok(name, f"1.{sub}.{i}", f"a {kind} message of {size} bytes", frame(opcode, fill * size), answer)
        ok(name, f"1.{sub}.8", f"a {kind} message of 65536 bytes in chops of 997", frame(opcode, fill * 65536), answer, chop=997)
    for i, size in enumerate((64, 124, 125, 126, 127, 128, 1000, 65534, 65535, 65536, 65537, 131072), 1):
        text = say(f"size {size}", size)
        for j, (chop, title) in enumerate(((None, "at once"), (1, "byte by byte"), (997, "in chops of 997")), 1):
            if chop != 1 or size <= 1000:
                ok(name, f"1.3.{i}.{j}", f"JSON of {size} bytes, {title}", frame(TEXT, text), reply(f"size {size}"), chop=chop)
        row(name, f"1.3.{i}.4", f"JSON of {size} bytes comes back", echo(prose, size), clean()) if size > 64 else None
    for i, key in enumerate((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0", b"\x22\x22\x22\x22"), 1):
        ok(name, f"1.4.{i}", f"the mask {key.hex()}", frame(TEXT, say("masked", 1000), key=key), reply("masked"))
    for i, size in enumerate((0, 1, 125, 126, 127, 65535), 1):
        for j, wide in enumerate((2, 8), 1):
            if size < 126 or wide == 8:
                ok(name, f"1.5.{i}.{j}", f"a ping after {size} bytes, in order", frame(TEXT, b"*" * size) + frame(PING, b"after"),
                   NOT_JSON, pong(b"after"))
    many = b"".join(frame(TEXT, say(i)) for i in range(200))
    ok(name, "1.6.1", "200 messages in one write, answered in order", many, *(reply(i) for i in range(200)))
    ok(name, "1.6.2", "200 messages in chops of 7", many, *(reply(i) for i in range(200)), chop=7)
    mixed = b"".join(frame(TEXT, say(i)) + frame(PING, b"%d" % i) + frame(BINARY, BYTES) for i in range(20))
    wanted = [m for i in range(20) for m in (reply(i), pong(b"%d" % i), NOT_TEXT)]
    ok(name, "1.6.3", "texts, pings and binaries mixed, answered in order", mixed, *wanted)
    ok(name, "1.6.4", "the same byte by byte", mixed, *wanted, chop=1)


def lengths():
    """RFC 6455 section 5.2: the minimal number of bytes MUST be used; the top bit of 64 MUST be 0."""
    name = "1 framing"
    for i, (size, wide) in enumerate(((0, 2), (1, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)), 1):
        bad(name, f"1.7.{i}", f"a text of {size} bytes whose length takes {wide} bytes", frame(TEXT, b"*" * size, wide=wide))
        bad(name, f"1.7.{i}.2", "only its header", frame(TEXT, b"", says=size, wide=wide))
        bad(name, f"1.7.{i}.3", "the same of a binary message", frame(BINARY, b"\xfe" * size, wide=wide))
    for i, says in enumerate((1 << 63, (1 << 64) - 1, (1 << 63) + 5), 1):
        bad(name, f"1.8.{i}", f"a length of {says:#x}", frame(TEXT, b"", says=says))
        bad(name, f"1.8.{i}.2", "the same byte by byte", frame(BINARY, b"", says=says), chop=1)
    for i, says in enumerate(((1 << 63) - 1, 1 << 62, 1 << 32, (1 << 32) - 1, 1 << 31, 1 << 40, (1 << 20) + 1), 1):
        for j, opcode in enumerate((TEXT, BINARY), 1):
            bad(name, f"1.8.{i + 3}.{j}", f"a length of {says:#x}, announced only", frame(opcode, b"", says=says), code=1009)
    for i, opcode in enumerate((TEXT, BINARY, PING, PONG, CLOSE), 1):
        bad(name, f"1.9.{i}", f"an unmasked frame with opcode {opcode}", frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"{}", mask=False))
        bad(name, f"1.9.{i}.2", "the same without payload", frame(opcode, b"", mask=False))
        bad(name, f"1.9.{i}.3", "only its two bytes of header", frame(opcode, b"", says=100, mask=False))
    bad(name, "1.9.6", "the second of two messages is not masked", frame(TEXT, say(1)) + frame(TEXT, say(2), mask=False), reply(1))
    bad(name, "1.9.7", "the second of two fragments is not masked", frame(TEXT, b"{", fin=False) + frame(0, b"}", mask=False))


def pings():
    name = "2 pings and pongs"
    ok(name, "2.1", "a ping without payload", frame(PING), pong())
    ok(name, "2.2", "a ping with text", frame(PING, HELLO), pong(HELLO))
    ok(name, "2.3", "a ping with bytes that are not UTF-8", frame(PING, BYTES), pong(BYTES))
    ok(name, "2.4", "a ping of 125 bytes", frame(PING, b"\xfe" * 125), pong(b"\xfe" * 125))
    bad(name, "2.5", "a ping of 126 bytes", frame(PING, b"\xfe" * 126))
    ok(name, "2.6", "a ping of 125 bytes, byte by byte", frame(PING, b"\xfe" * 125), pong(b"\xfe" * 125), chop=1)
    row(name, "2.7", "an unsolicited pong", send(frame(PONG)), silence(), clean())
    row(name, "2.8", "an unsolicited pong with payload", send(frame(PONG, b"unasked")), silence(), clean())
    ok(name, "2.9", "an unsolicited pong, then a ping", frame(PONG, b"unasked") + frame(PING, b"asked"), pong(b"asked"))
    ten = b"".join(frame(PING, b"payload-%d" % i) for i in range(10))
    answers = [pong(b"payload-%d" % i) for i in range(10)]
    ok(name, "2.10", "ten pings", ten, *answers)
    ok(name, "2.11", "ten pings, byte by byte", ten, *answers, chop=1)
    for i in (1, 2, 3, 4, 7, 8, 15, 16, 63, 64, 124):
        ok(name, f"2.12.{i}", f"a ping of {i} bytes", frame(PING, bytes(range(i))), pong(bytes(range(i))))
    for i, size in enumerate((127, 65535, 65536, 1 << 62, 1 << 63), 1):
        for j, opcode in enumerate((PING, PONG, CLOSE), 1):
            bad(name, f"2.13.{i}.{j}", f"opcode {opcode} with a length of {size:#x}, announced only", frame(opcode, b"", says=size))
    bad(name, "2.13.6", "a pong of 126 bytes", frame(PONG, b"x" * 126))
    bad(name, "2.13.7", "nothing behind the bad ping is answered", frame(PING, b"good") + frame(PING, b"\xfe" * 126) + frame(PING) + frame(TEXT, say(1)),
        pong(b"good"))
    for i, wide in enumerate((2, 8), 1):
        bad(name, f"2.14.{i}", f"a ping of 5 bytes whose length takes {wide} bytes", frame(PING, b"short", wide=wide))
    row(name, "2.15.1", "64 pings at once", send(b"".join(frame(PING, b"%d" % i) for i in range(64))),
        expect(*(pong(b"%d" % i) for i in range(64))), clean())
    thousand = [b"ping %d" % i for i in range(1000)]
    row(name, "2.15.5", "1000 pings at once, each answered", send(b"".join(frame(PING, p) for p in thousand)), expect(*map(pong, thousand)), clean())
    row(name, "2.15.6", "the same in chops of 5", send(b"".join(frame(PING, p) for p in thousand), 5), expect(*map(pong, thousand)), clean())
    row(name, "2.15.2", "a ping every now and then", *[s for i in range(5) for s in (send(frame(PING, b"%d" % i)), expect(pong(b"%d" % i)))], clean())
    ok(name, "2.15.3", "a pong for a ping that was never sent changes nothing", frame(PONG, b"\0" * 8) + frame(TEXT, say("still here")), reply("still here"))
    ok(name, "2.15.4", "a thousand pongs", b"".join(frame(PONG, b"%d" % i) for i in range(1000)) + frame(PING, b"end"), pong(b"end"))


def reserved_bits():
    name = "3 reserved bits"
    bad(name, "3.1", "RSV 1 on a text", frame(TEXT, HELLO, rsv=1))
    after = frame(PING)
    bad(name, "3.2", "a text, one with RSV 2, a ping", frame(TEXT, HELLO) + frame(TEXT, HELLO, rsv=2) + after, NOT_JSON)
    row(name, "3.3", "a text, one with RSV 3, a ping; a segment each", send(frame(TEXT, HELLO)), expect(NOT_JSON),
        send(frame(TEXT, HELLO, rsv=3)), send(after), fails(1002))
    bad(name, "3.4", "a text, one with RSV 4, a ping, byte by byte", frame(TEXT, HELLO) + frame(TEXT, HELLO, rsv=4) + after, NOT_JSON, chop=1)
    bad(name, "3.5", "RSV 5 on a binary", frame(BINARY, BYTES, rsv=5))
    bad(name, "3.6", "RSV 6 on a ping", frame(PING, HELLO, rsv=6))
    bad(name, "3.7", "RSV 7 on a Close", frame(CLOSE, b"", rsv=7))
    for rsv in range(1, 8):
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
            bad(name, f"3.8.{rsv}.{opcode}", f"RSV {rsv} on opcode {opcode}", frame(opcode, b"\x03\xe8", rsv=rsv) + after)
        bad(name, f"3.8.{rsv}.0", f"RSV {rsv} on a continuation", frame(TEXT, b"{", fin=False) + frame(0, b"}", rsv=rsv) + after)
        bad(name, f"3.9.{rsv}", f"RSV {rsv}, seen in the first byte", bytes([0x81 | rsv << 4]))


def opcodes():
    name = "4 opcodes"
    after = frame(PING)
    for sub, first, title in ((1, 3, "data"), (2, 11, "control")):
        bad(name, f"4.{sub}.1", f"the reserved {title} opcode {first}", frame(first))
        bad(name, f"4.{sub}.2", f"the reserved {title} opcode {first + 1} with payload", frame(first + 1, b"reserved"))
        bad(name, f"4.{sub}.3", f"a text, opcode {first + 2}, a ping", frame(TEXT, HELLO) + frame(first + 2) + after, NOT_JSON)
        bad(name, f"4.{sub}.4", f"a text, opcode {first + 3} with payload, a ping", frame(TEXT, HELLO) + frame(first + 3, HELLO) + after, NOT_JSON)
        bad(name, f"4.{sub}.5", f"a text, opcode {first + 4}, a ping, byte by byte", frame(TEXT, HELLO) + frame(first + 4, HELLO) + after, NOT_JSON, chop=1)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        bad(name, f"4.3.{opcode}", f"opcode {opcode}, seen in the first byte", bytes([0x80 | opcode]))
        bad(name, f"4.4.{opcode}", f"opcode {opcode} without FIN", frame(opcode, b"x", fin=False))
        bad(name, f"4.5.{opcode}", f"opcode {opcode} inside a fragmented message", frame(TEXT, b"{", fin=False) + frame(opcode, b"x") + frame(0, b"}"))
        bad(name, f"4.6.{opcode}", f"opcode {opcode} with 125 bytes", frame(opcode, b"x" * 125) + after)


def fragmentation():
    name = "5 fragmentation"
    first, second = frame(TEXT, b"fragment1", fin=False), frame(0, b"fragment2")
    bad(name, "5.1", "a ping in two fragments", frame(PING, b"fragment1", fin=False) + second)
    bad(name, "5.2", "a pong in two fragments", frame(PONG, b"fragment1", fin=False) + second)
    ok(name, "5.3", "a text in two fragments", first + second, NOT_JSON)
    row(name, "5.4", "the same, a segment each", send(first), silence(0.1), send(second), expect(NOT_JSON), clean())
    ok(name, "5.5", "the same, byte by byte", first + second, NOT_JSON, chop=1)
    ping = frame(PING, b"ping payload")
    ok(name, "5.6", "a ping between two fragments", first + ping + second, pong(b"ping payload"), NOT_JSON)
    row(name, "5.7", "the same, a segment each", send(first), send(ping), expect(pong(b"ping payload")), send(second), expect(NOT_JSON), clean())
    ok(name, "5.8", "the same, byte by byte", first + ping + second, pong(b"ping payload"), NOT_JSON, chop=1)
    hello = frame(TEXT, HELLO)
    for number, fin, chop in ((9, True, None), (11, True, 1), (12, False, None), (14, False, 1)):
        bad(name, f"5.{number}", "a continuation of nothing, then a text", frame(0, b"non-continuation payload", fin=fin) + hello, chop=chop)
    for number, fin in ((10, True), (13, False)):
        row(name, f"5.{number}", "the same, a segment each", send(frame(0, b"non-continuation payload", fin=fin)), fails(1002))
    bad(name, "5.15", "a fragmented text, then a continuation of nothing", first + second + frame(0, b"fragment3", fin=False) + frame(TEXT, b"fragment4"), NOT_JSON)
    for number, fin in ((16, False), (17, True)):
        bad(name, f"5.{number}", "a continuation of nothing before a fragmented text, twice",
            (frame(0, b"fragment1", fin=fin) + frame(TEXT, b"fragment2", fin=False) + frame(0, b"fragment3")) * 2)
    bad(name, "5.18", "both fragments are texts", first + frame(TEXT, b"fragment2"))
    part1 = [frame(TEXT, b"fragment1", fin=False), frame(0, b"fragment2", fin=False), frame(PING, b"pongme 1!")]
    part2 = [frame(0, b"fragment3", fin=False), frame(0, b"fragment4", fin=False), frame(PING, b"pongme 2!"), frame(0, b"fragment5")]
    row(name, "5.19", "five fragments with two pings and a pause between", send(b"".join(part1)), expect(pong(b"pongme 1!")), silence(0.5),
        send(b"".join(part2)), expect(pong(b"pongme 2!"), NOT_JSON), clean())
    row(name, "5.20", "the same, a segment each", *map(send, part1), expect(pong(b"pongme 1!")), silence(0.5), *map(send, part2),
        expect(pong(b"pongme 2!"), NOT_JSON), clean())


def more_fragmentation():
    name = "5 fragmentation"
    text = say("in pieces", 600)
    for i, size in enumerate((1, 2, 3, 7, 64, 125, 126, 127, 599, 600), 1):
        ok(name, f"5.21.{i}", f"JSON of 600 bytes in fragments of {size}", fragments(TEXT, text, size), reply("in pieces"))
        ok(name, f"5.21.{i}.2", "the same byte by byte", fragments(TEXT, text, size), reply("in pieces"), chop=1)
        ok(name, f"5.21.{i}.3", f"binary in fragments of {size}", fragments(BINARY, text, size), NOT_TEXT)
    for i, opcode in enumerate((TEXT, BINARY), 1):
        bad(name, f"5.22.{i}", f"opcode {opcode} inside a fragmented binary", frame(BINARY, b"x", fin=False) + frame(opcode, b"x"))
        bad(name, f"5.22.{i + 2}", f"opcode {opcode} without FIN inside a fragmented text", frame(TEXT, b"x", fin=False) + frame(opcode, b"x", fin=False))
        bad(name, f"5.22.{i + 4}", "seen in the first byte", frame(TEXT, b"x", fin=False) + bytes([0x80 | opcode]))
    bad(name, "5.23.1", "a Close in two fragments", frame(CLOSE, b"\x03\xe8", fin=False) + frame(0, b"bye"))
    bad(name, "5.23.2", "a ping without FIN, seen in the first byte", b"\x09")
    bad(name, "5.23.3", "a pong without FIN, seen in the first byte", b"\x0a")
    bad(name, "5.23.4", "a Close without FIN, seen in the first byte", b"\x08")
    bad(name, "5.23.5", "a continuation of nothing, seen in the first byte", b"\x80")
    empty = frame(0, b"", fin=False)
    ok(name, "5.24.1", "empty fragments in front, between and behind",
       frame(TEXT, b"", fin=False) + empty * 50 + frame(0, say(7), fin=False) + empty * 50 + frame(0, b""), reply(7))
    ok(name, "5.24.2", "an empty binary in three fragments", frame(BINARY, b"", fin=False) + empty + frame(0, b""), NOT_TEXT)
    ok(name, "5.24.3", "a ping behind each of 50 fragments", frame(TEXT, b" ", fin=False) + b"".join(
        frame(0, b" ", fin=False) + frame(PING, b"%d" % i) for i in range(50)) + frame(0, say(8)), *(pong(b"%d" % i) for i in range(50)), reply(8))
    ok(name, "5.24.4", "pongs and pings between fragments, byte by byte", first_to_last(), pong(b"a"), pong(b"b" * 125), reply("done"), chop=1)
    ok(name, "5.24.5", "two fragmented messages, one after the other", fragments(TEXT, say(1), 5) + fragments(TEXT, say(2), 5), reply(1), reply(2))
    ok(name, "5.24.6", "a text whole after one in fragments", fragments(TEXT, say(1), 5) + frame(TEXT, say(2)), reply(1), reply(2))
    ok(name, "5.24.7", "the first fragment empty, the second whole", frame(TEXT, b"", fin=False) + frame(0, say(3)), reply(3))
    row(name, "5.25.1", "an error goes to its own message only", send(frame(TEXT, b'{"type":"nonsense"}')), expect(error("UNKNOWN_TYPE", "nonsense")),
        send(frame(TEXT, say("next"))), expect(reply("next")), clean())


def first_to_last():
    text = say("done", 300)
    return (frame(TEXT, text[:100], fin=False) + frame(PONG, b"x") + frame(PING, b"a") + frame(0, text[100:299], fin=False)
            + frame(PING, b"b" * 125) + frame(0, text[299:]))


for build in (framing, lengths, pings, reserved_bits, opcodes, fragmentation, more_fragmentation):
    build()
