"""Sections 12 and 13: permessage-deflate (RFC 7692), with zlib on our side."""
import struct
import zlib

from .echo import DATA, echo, markup, prose, records, talk
from .handshake import accepted, add, refused, request
from .table import NOT_JSON, NOT_TEXT, clean, closed, expect, fails, pong, reply, row, say, send
from .wire import BINARY, CLOSE, KEY, PING, PONG, TEXT, Failure, close, fragments, frame

OFFER = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
# size of the messages, size of the fragments they are sent in (0: whole)
SIZES = [(16, 0), (64, 0), (256, 0), (1024, 0), (4096, 0), (8192, 0), (16384, 0), (32768, 0), (65536, 0), (131072, 0), (8192, 256), (16384, 256), (32768, 256),
         (65536, 256), (131072, 256), (131072, 1024), (131072, 4096), (131072, 32768)]


def agreed(**rules):
    """What the answer must and must not say of a parameter: a value, True (there), False (not there)."""
    async def step(peer):
        if peer.agreed is None:
            raise Failure("the offer was declined")
        for name, rule in rules.items():
            got = peer.agreed.get(name)
            if rule is True and got is None or rule is False and got is not None or isinstance(rule, int) and not isinstance(rule, bool) and int(got or 0) > rule:
                raise Failure(f"{name} is {got!r} in the answer {peer.agreed}")
        unknown = set(peer.agreed) - {"server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits"}
        if unknown:
            raise Failure(f"unknown parameters {unknown}")
    return step


def payloads():
    for i, (title, make) in enumerate(DATA, 1):
        for j, (size, fragment) in enumerate(SIZES, 1):
            row("12 compression, payloads", f"12.{i}.{j}", f"{title}: messages of {size} bytes" + (f" in fragments of {fragment}" if fragment else ""),
                echo(make, size, fragment, 40 if size < 8192 else 6), clean(), extensions=OFFER)


def parameters():
    name = "13 compression, parameters"
    offers = (("", {}), ("; server_no_context_takeover", {"server_no_context_takeover": True}), ("; server_max_window_bits=9", {"server_max_window_bits": 9}),
              ("; server_max_window_bits=15", {"server_max_window_bits": 15}),
              ("; server_no_context_takeover; server_max_window_bits=9", {"server_no_context_takeover": True, "server_max_window_bits": 9}),
              ("; server_no_context_takeover; server_max_window_bits=15", {"server_no_context_takeover": True, "server_max_window_bits": 15}),
              (f"; server_no_context_takeover; server_max_window_bits=9, {OFFER}; server_no_context_takeover, {OFFER}", {"server_no_context_takeover": True}))
    for i, (more, rules) in enumerate(offers, 1):
        for j, (size, fragment) in enumerate(SIZES, 1):
            row(name, f"13.{i}.{j}", f"the offer «{(OFFER + more)[:60]}…», {size} bytes" + (f" in fragments of {fragment}" if fragment else ""),
                agreed(**rules), echo(records, size, fragment, 40 if size < 8192 else 6), clean(), extensions=OFFER + more)
    plain = "permessage-deflate"
    rows = [(plain, {"client_max_window_bits": False}), (f"{plain}; client_max_window_bits", {}), (f"{plain}; client_no_context_takeover", {}),
            (f"foo, {plain}", {}), (f"{plain}; foo, {plain}", {}), (f"{plain}; server_max_window_bits=7, {plain}; server_max_window_bits=10", {"server_max_window_bits": 10}),
            (f"{plain}; server_max_window_bits=\"11\"", {"server_max_window_bits": 11}), (f"  {plain} ; client_max_window_bits ", {}),
            (f"{plain};client_max_window_bits;server_no_context_takeover", {"server_no_context_takeover": True}), (f"x-y; a=b; c=\"d\", {plain}", {})]
    rows += [(f"{plain}; server_max_window_bits={bits}", {"server_max_window_bits": bits}) for bits in range(8, 16)]
    rows += [(f"{plain}; client_max_window_bits={bits}", {"client_max_window_bits": None}) for bits in range(8, 16)]
    for i, (offer, rules) in enumerate(rows, 1):
        row(name, f"13.8.{i}", f"the offer «{offer}»", agreed(**rules), echo(markup, 8192, 0, 8), narrower_windows(offer), clean(), extensions=offer)
    for i, level in enumerate((0, 1, 9), 1):
        row(name, f"13.9.{i}", f"compressed by us at level {level}", echo(prose, 20000, 0, 8, levels=(level,)), clean(), extensions=OFFER)


def narrower_windows(offer):
    """A client that named its own window uses no larger one; any smaller one it may use unasked."""
    async def step(peer):
        bits = int(offer.rsplit("client_max_window_bits=", 1)[1]) if "client_max_window_bits=" in offer else 15
        for use in range(9, max(bits, 9) + 1):
            packer = zlib.compressobj(6, zlib.DEFLATED, -use)
            data = say(use, 40000)
            packed = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await talk(peer, frame(TEXT, packed, rsv=4), reply(use))
    return step


# ---- what compression allows, and what it does not ---------------------------------------------

def raw(data, level=6, flush=zlib.Z_SYNC_FLUSH):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(flush)


def tail_off(data):
    return data[:-4] if data.endswith(b"\0\0\xff\xff") else data


def compressed(data, level=6):
    return tail_off(raw(data, level))


def legal():
    name = "13 compression, parameters"
    text = say("legal", 3000)
    packed = compressed(text)
    half = len(packed) // 2
    blocks = b"".join(raw(text[i:i + 100]) for i in range(0, 3000, 100))
    stored = b"".join(b"\0" + struct.pack("<HH", len(text[i:i + 1000]), 65535 - len(text[i:i + 1000])) + text[i:i + 1000] for i in range(0, 3000, 1000)) + b"\0"
    rows = (("whole", frame(TEXT, packed, rsv=4)), ("in two fragments", frame(TEXT, packed[:half], fin=False, rsv=4) + frame(0, packed[half:])),
            ("in fragments of one byte", fragments(TEXT, packed, 1, rsv=4)), ("the last fragment empty", frame(TEXT, packed, fin=False, rsv=4) + frame(0)),
            ("the first fragment empty", frame(TEXT, b"", fin=False, rsv=4) + frame(0, packed)), ("not compressed", frame(TEXT, text)),
            ("not compressed, in fragments", fragments(TEXT, text, 100)), ("with a final block", frame(TEXT, raw(text, flush=zlib.Z_FINISH) + b"\0", rsv=4)),
            ("with the tail left on", frame(TEXT, raw(text) + b"\0", rsv=4)), ("in many blocks", frame(TEXT, tail_off(blocks), rsv=4)),
            ("in stored blocks", frame(TEXT, stored, rsv=4)), ("in fixed codes", frame(TEXT, fixed(text), rsv=4)))
    for i, (title, data) in enumerate(rows, 1):
        row(name, f"13.10.{i}", f"a message {title}", send(data), expect(reply("legal")), clean(), extensions=OFFER)
        row(name, f"13.10.{i}.2", "the same byte by byte", send(data, 1), expect(reply("legal")), clean(), extensions=OFFER)
    row(name, "13.11.1", "an empty message: one byte of zero", send(frame(TEXT, b"\0", rsv=4)), expect(NOT_JSON), clean(), extensions=OFFER)
    row(name, "13.11.2", "an empty message, not compressed", send(frame(TEXT)), expect(NOT_JSON), clean(), extensions=OFFER)
    row(name, "13.11.3", "an empty binary", send(frame(BINARY, b"\0", rsv=4)), expect(NOT_TEXT), clean(), extensions=OFFER)
    row(name, "13.11.4", "pings between compressed fragments", send(frame(TEXT, packed[:half], fin=False, rsv=4) + frame(PING, b"1") + frame(PONG) + frame(0, packed[half:])),
        expect(pong(b"1"), reply("legal")), clean(), extensions=OFFER)
    row(name, "13.11.5", "compressed and plain in turn", send((frame(TEXT, packed, rsv=4) + frame(TEXT, text)) * 20), expect(*[reply("legal")] * 40), clean(), extensions=OFFER)
    row(name, "13.11.6", "a plain message between two compressed ones in fragments", send(fragments(TEXT, packed, 50, rsv=4) + frame(TEXT, text) + fragments(TEXT, packed, 50, rsv=4)),
        expect(*[reply("legal")] * 3), clean(), extensions=OFFER)
    row(name, "13.11.7", "a Close between compressed fragments", send(frame(TEXT, packed[:half], fin=False, rsv=4) + close(1000) + frame(0, packed[half:])), closed(1000),
        extensions=OFFER)
    row(name, "13.11.8", "the most that --max-message allows", send(frame(TEXT, compressed(say("most", 1 << 20)), rsv=4)), expect(reply("most")), clean(), extensions=OFFER)


def fixed(data):
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
    return tail_off(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))


def illegal():
    name = "13 compression, parameters"

    def wrong(number, title, code, data, *answers):
        row(name, number, title, send(data), expect(*answers), fails(code), extensions=OFFER)

    text = say("x", 1000)
    packed = compressed(text)
    for rsv in (1, 2, 3, 5, 6, 7):
        wrong(f"13.12.{rsv}", f"reserved bits {rsv}", 1002, frame(TEXT, packed, rsv=rsv))
    for i, opcode in enumerate((PING, PONG, CLOSE), 1):
        wrong(f"13.13.{i}", f"opcode {opcode} with RSV1", 1002, frame(opcode, b"\x03\xe8", rsv=4))
    wrong("13.13.4", "a continuation with RSV1", 1002, frame(TEXT, packed[:9], fin=False, rsv=4) + frame(0, packed[9:], rsv=4))
    wrong("13.13.5", "a continuation with RSV1 of a plain message", 1002, frame(TEXT, b"{", fin=False) + frame(0, b"}", rsv=4))
    wrong("13.13.6", "a new compressed message within one", 1002, frame(TEXT, packed[:9], fin=False, rsv=4) + frame(TEXT, packed, rsv=4))
    wrong("13.13.7", "a good one is answered, what comes after a bad one is not", 1002, frame(TEXT, packed, rsv=4) + frame(TEXT, packed, rsv=6) + frame(PING), reply("x"))
    for i, data in enumerate((b"\x07", b"\xff" * 20, b"\x06abc", packed[:20] + b"\xff" * 20 + packed[40:], b"\x00\x05\x00\x00\x00hello"), 1):
        wrong(f"13.14.{i}", f"data that is not deflate: {data[:8].hex()}", 1007, frame(TEXT, data, rsv=4))
    wrong("13.14.7", "a distance past the beginning", 1007, frame(TEXT, b"\x4b\x04\xa1\x00", rsv=4))
    for i, bad in enumerate((b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"caf\xc3", b"\xf4\x90\x80\x80", b"a" * 5000 + b"\x80"), 1):
        wrong(f"13.15.{i}", f"text that is not UTF-8 when decompressed: {bad[-4:].hex()}", 1007, frame(TEXT, compressed(bad), rsv=4))
        row(name, f"13.16.{i}", "the same as binary", send(frame(BINARY, compressed(bad), rsv=4)), expect(NOT_TEXT), clean(), extensions=OFFER)
    wrong("13.17.1", "a byte more than --max-message when decompressed", 1009, frame(TEXT, compressed(b" " * ((1 << 20) + 1)), rsv=4))
    wrong("13.17.2", "a hundred times more", 1009, frame(TEXT, compressed(b" " * (100 << 20)), rsv=4))
    wrong("13.17.3", "the same as binary in fragments", 1009, fragments(BINARY, compressed(b"\0" * (100 << 20)), 1000, rsv=4))
    wrong("13.17.4", "twice --max-message on the wire, announced only", 1009, frame(TEXT, b"", rsv=4, says=2 << 20))
    row(name, "13.18.1", "RSV1 where nothing was agreed", send(frame(TEXT, packed, rsv=4)), fails(1002))
    row(name, "13.18.2", "a declined offer", not_agreed(), send(frame(TEXT, packed, rsv=4)), fails(1002), extensions="permessage-deflate; foo")


def not_agreed():
    async def step(peer):
        if peer.agreed is not None:
            raise Failure(f"agreed to {peer.agreed}")
    return step


def offers():
    """Offers that are no list of extensions fail the handshake (RFC 6455 section 9.1); good form with
    wrong parameters is declined (RFC 7692 section 5.1)."""
    def offer(value):
        return request("GET /ws HTTP/1.1", f"Sec-WebSocket-Extensions: {value}")

    plain = "permessage-deflate"
    malformed = (";", f"{plain};", f"{plain}; ;", f"{plain}; =1", f"{plain}; server_max_window_bits=", f'{plain}; server_max_window_bits="', f'{plain}; a="b',
                 f'{plain}; a="b c"', f'{plain}; a=""', "a b", f"{plain} foo", "(x)", "", ",", ",,,", f"{plain}; a=b=c", f"{plain}; a==b", f"{plain}/1", f"{plain}; [x]",
                 f"{plain}; \xe9", f'"{plain}"', f"{plain}; a=\"b\"c", "=", f"foo; , {plain}")
    for i, value in enumerate(malformed, 1):
        add(f"13.{i}", f"malformed: «{value}»", offer(value), refused(400, words="Sec-WebSocket-Extensions"))
    bits = ("", "=7", "=16", "=0", "=08", "=015", "=1", "=150", "=abc", "=-8", "=8.0", "=99999999999999999999")
    wrong = [f"{plain}; server_max_window_bits{v}" for v in bits] + [f"{plain}; client_max_window_bits{v}" for v in bits[1:]]
    wrong += [f"{plain}; {p}{v}" for p in ("server_no_context_takeover", "client_no_context_takeover") for v in ("=1", "=true", '="15"')]
    wrong += [f"{plain}; {p}; {p}" for p in ("server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits", "server_max_window_bits=10")]
    wrong += [f"{plain}; foo", f"{plain}; foo=bar", f"{plain}; client_max_window_bits; foo", "permessage-deflate-x", "xpermessage-deflate", "permessage-bzip2", "x" * 2000]
    for i, value in enumerate(wrong, 1):
        add(f"14.{i}", f"declined: «{value[:70]}»", offer(value), accepted(KEY, not_agreed(), clean()))
    add("14.90", "two lines, the second can be met", request("GET /ws HTTP/1.1", f"Sec-WebSocket-Extensions: {plain}; foo", f"Sec-WebSocket-Extensions: {plain}"),
        accepted(KEY, agreed(), clean()))
    add("14.91", "two lines, the second is malformed", request("GET /ws HTTP/1.1", f"Sec-WebSocket-Extensions: {plain}", "Sec-WebSocket-Extensions: ;"), refused(400))
    add("14.92", "a hundred offers", offer(", ".join([f"{plain}; foo"] * 99 + [plain])), accepted(KEY, agreed(), clean()))


for build in (payloads, parameters, legal, illegal, offers):
    build()
