"""Section 6: text is UTF-8 (RFC 3629), and what is not is refused at the first byte that shows it.

The sequences of 6.5 to 6.23 are those of Markus Kuhn's stress test for decoders.
"""
import json

from .table import NOT_JSON, NOT_TEXT, bad, clean, expect, fails, ok, pong, reply, row, say, send, silence
from .wire import BINARY, PING, TEXT, close, fragments, frame

NAME = "6 UTF-8"
KOSME = "κ\u1f79σμε".encode()  # with the accent of polytonic Greek: eleven bytes
MIXED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE, TOO_HIGH = b"\xed\xa0\x80", b"\xf4\x90\x80\x80"


def empty():
    ok(NAME, "6.1.1", "an empty text", frame(TEXT), NOT_JSON)
    ok(NAME, "6.1.2", "an empty text in three fragments", frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) + frame(0), NOT_JSON)
    ok(NAME, "6.1.3", "only the second of three fragments has text",
       frame(TEXT, b"", fin=False) + frame(0, b"middle frame payload", fin=False) + frame(0), NOT_JSON)


def valid():
    said = MIXED.decode()
    ok(NAME, "6.2.1", "letters of several languages", frame(TEXT, MIXED) + frame(TEXT, say(said)), NOT_JSON, reply(said))
    text = say(said)
    at = text.index("ä".encode())
    ok(NAME, "6.2.2", "in two fragments, cut between letters", frame(TEXT, text[:at], fin=False) + frame(0, text[at:]), reply(said))
    ok(NAME, "6.2.3", "in fragments of one byte", fragments(TEXT, text, 1), reply(said))
    ok(NAME, "6.2.4", "Greek in fragments of one byte", fragments(TEXT, say("κόσμε"), 1), reply("κόσμε"))
    for i, letter in enumerate(("$", "¢", "€", "𤭢", "\U0010ffff", "\u07ff", "\u0800", "\uffff", "\U00010000"), 1):
        text = say(f"<{letter}>")
        first = text.index(b"<") + 1
        for j in range(1, len(letter.encode()) + 1):
            ok(NAME, f"6.2.5.{i}.{j}", f"U+{ord(letter):04X} cut after byte {j}", frame(TEXT, text[:first + j], fin=False) + frame(0, text[first + j:]),
               reply(f"<{letter}>"))
        ok(NAME, f"6.2.6.{i}", f"U+{ord(letter):04X} byte by byte", frame(TEXT, text), reply(f"<{letter}>"), chop=1)


def invalid():
    edited = KOSME + SURROGATE + b"edited"
    bad(NAME, "6.3.1", "a surrogate between letters", frame(TEXT, edited), code=1007)
    bad(NAME, "6.3.2", "the same in fragments of one byte", fragments(TEXT, edited, 1), code=1007)
    bad(NAME, "6.3.3", "the same byte by byte", frame(TEXT, edited), code=1007, chop=1)
    bad(NAME, "6.3.4", "a good text before it is answered, one behind it not",
        frame(TEXT, say(1)) + frame(TEXT, edited) + frame(TEXT, say(2)) + frame(PING), reply(1), code=1007)
    ok(NAME, "6.3.5", "a binary message may have any bytes", frame(BINARY, edited) + frame(PING, edited), NOT_TEXT, pong(edited))


def fail_fast():
    """The part that makes the text invalid is refused before the rest is sent, and not before."""
    whole = KOSME + TOO_HIGH + b"edited"
    cuts = ((len(KOSME), len(KOSME) + 4), (12, 13))
    for i, (a, b) in enumerate(cuts, 1):
        row(NAME, f"6.4.{i}", f"three fragments; bytes {a} to {b} make it invalid", send(frame(TEXT, whole[:a], fin=False)), silence(),
            send(frame(0, whole[a:b], fin=False)), fails(1007))
    for i, (a, b) in enumerate(cuts, 3):
        head = frame(TEXT, whole, key=b"\0\0\0\0")
        start = len(head) - len(whole)
        row(NAME, f"6.4.{i}", f"one frame in three pieces; bytes {a} to {b} make it invalid", send(head[:start + a]), silence(),
            send(head[start + a:start + b]), fails(1007))
    # every invalid start, in one frame that announces more
    for i, (good, wrong) in enumerate(((b"", b"\x80"), (b"", b"\xbf"), (b"", b"\xc0"), (b"", b"\xc1"), (b"", b"\xf5"), (b"", b"\xff"), (b"\xc2", b"A"),
                                       (b"\xc2", b"\xc2"), (b"\xe0", b"\x9f"), (b"\xed", b"\xa0"), (b"\xf0", b"\x8f"), (b"\xf4", b"\x90"),
                                       (b"\xe1\x80", b"A"), (b"\xf1\x80", b"\xc0"), (b"\xf1\x80\x80", b"\x7f"), (b"\xf1\x80\x80", b"\xff")), 1):
        head = frame(TEXT, b"", says=1000, key=b"\0\0\0\0")
        row(NAME, f"6.4.5.{i}", f"{good.hex()} may become a letter, {wrong.hex()} behind it may not", send(head + b"ok " + good), silence(0.1), send(wrong),
            fails(1007))
        row(NAME, f"6.4.6.{i}", "the same in fragments with a ping between", send(frame(TEXT, b"ok " + good, fin=False) + frame(PING, b"!")), expect(pong(b"!")),
            send(frame(0, wrong, fin=False)), fails(1007))
    for i, cut in enumerate((b"\xc2", b"\xe1\x80", b"\xe1", b"\xf1\x80\x80", b"\xf1\x80", b"\xf1"), 1):
        bad(NAME, f"6.4.7.{i}", f"the text ends within a letter: {cut.hex()}", frame(TEXT, cut), code=1007)
        row(NAME, f"6.4.8.{i}", "the same, the last fragment empty", send(frame(TEXT, b"x" + cut, fin=False)), silence(0.1), send(frame(0, b"")), fails(1007))
        bad(NAME, f"6.4.9.{i}", "a new text does not complete it", frame(TEXT, cut) + frame(TEXT, b"\x80\x80\x80"), code=1007)
    ok(NAME, "6.4.10", "after a text that ends well the next one starts afresh", frame(TEXT, "é".encode()) + frame(TEXT, say("é")), NOT_JSON, reply("é"))


def sequences():
    """[(number of the group, what it is, [(valid, bytes)])], in the published order."""
    good = [(True, bytes_) for bytes_ in (b"hello$world", "hello¢world".encode(), "hello€world".encode(), "hello𤭢world".encode(), KOSME)]
    prefixes = [(is_text(KOSME[:n]), KOSME[:n]) for n in range(1, len(KOSME) + 1)]
    starts = [(0xc0, 0xdf), (0xe0, 0xef), (0xf0, 0xf7), (0xf8, 0xfb), (0xfc, 0xfd)]
    cut = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf",
           b"\xfd\xbf\xbf\xbf\xbf"]
    high, low = (0xd800, 0xdb7f, 0xdb80, 0xdbff), (0xdc00, 0xdfff)
    no_characters = [0xfffe, 0xffff] + [plane << 16 | end for plane in range(1, 17) for end in (0xfffe, 0xffff)]
    return [
        (5, "valid text", good),
        (6, "every beginning of a valid text", prefixes),
        (7, "the first of each length", [(True, chr(n).encode()) for n in (0, 0x80, 0x800, 0x10000)]),
        (8, "the first of five and six bytes", refused(b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80")),
        (9, "the last of each length", [(True, chr(n).encode()) for n in (0x7f, 0x7ff, 0xffff, 0x10ffff)]),
        (10, "the last of four, five and six bytes", refused(b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf")),
        (11, "other boundaries", [(True, chr(n).encode()) for n in (0xd7ff, 0xe000, 0xfffd, 0x10ffff)] + refused(TOO_HIGH)),
        (12, "continuation bytes alone", refused(b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:n] for n in range(2, 7)), bytes(range(0x80, 0xbf)))),
        (13, "first bytes alone", refused(*(b"".join(bytes([b, 0x20]) for b in range(a, z)) for a, z in starts))),
        (14, "the last byte missing", refused(*cut)),
        (15, "such sequences in a row", refused(b"".join(cut))),
        (16, "impossible bytes", refused(b"\xfe", b"\xff", b"\xfe\xfe\xff\xff")),
        (17, "a slash in too many bytes", refused(*long_forms(0x2f))),
        (18, "the highest in too many bytes", refused(b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf")),
        (19, "NUL in too many bytes", refused(*long_forms(0))),
        (20, "single surrogates", refused(*map(surrogate, (0xd800, 0xdb7f, 0xdb80, 0xdbff, 0xdc00, 0xdf80, 0xdfff)))),
        (21, "pairs of surrogates", refused(*(surrogate(a) + surrogate(b) for a in high for b in low))),
        (22, "code points that are no characters", [(True, chr(n).encode()) for n in no_characters]),
        (23, "specials", [(True, chr(n).encode()) for n in range(0xfff9, 0x10000)]),
    ]


def is_text(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def refused(*sequences_):
    return [(False, s) for s in sequences_]


def surrogate(n):
    return bytes([0xe0 | n >> 12, 0x80 | n >> 6 & 0x3f, 0x80 | n & 0x3f])


def long_forms(n):
    """A code point below 64 in two to six bytes."""
    return [bytes([lead] + [0x80] * (count - 2) + [0x80 | n]) for count, lead in ((2, 0xc0), (3, 0xe0), (4, 0xf0), (5, 0xf8), (6, 0xfc))]


def stress():
    for group, what, members in sequences():
        for i, (fine, data) in enumerate(members, 1):
            number = f"6.{group}.{i}"
            if not fine:
                bad(NAME, number, f"{what}: {data.hex()[:40]}", frame(TEXT, data), code=1007)
                bad(NAME, number + ".2", "the same in JSON, byte by byte", frame(TEXT, b'{"type":"ping","sentAt":"' + data + b'"}'), code=1007, chop=1)
                continue
            ok(NAME, number, f"{what}: {data.hex()[:40]}", frame(TEXT, data), NOT_JSON)
            said = data.decode()
            escaped = json.dumps(said) if said < " " else '"' + said + '"'
            ok(NAME, number + ".2", "the same in JSON comes back", frame(TEXT, b'{"type":"ping","sentAt":' + escaped.encode() + b"}"), reply(said))


def reasons():
    """The reason in a Close frame is text, too."""
    bad(NAME, "6.24.1", "a Close whose reason is not UTF-8, byte by byte", close(1000, SURROGATE), code=1007, chop=1)
    bad(NAME, "6.24.2", "a Close whose reason ends within a letter", close(1000, b"x" * 121 + b"\xc3"), code=1007)


for build in (empty, valid, invalid, fail_fast, stress, reasons):
    build()
