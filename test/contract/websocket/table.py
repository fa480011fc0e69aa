"""Rows of cases and the steps that they are made of."""
import asyncio
import json
import struct

from harness import seconds, shorten

from .wire import CLOSE, PING, PONG, TEXT, Failure, Peer, close

SECTIONS = {}  # name: [Row]


class Row:
    def __init__(self, number, title, steps, on="default", extensions=None, receive_buffer=None):
        self.number, self.title, self.steps, self.on = number, title, steps, on
        self.extensions, self.receive_buffer = extensions, receive_buffer

    async def run(self, servers):
        peer = await Peer(servers[self.on], self.receive_buffer).connect()
        try:
            await peer.upgrade(self.extensions)
            for step in self.steps:
                await step(peer)
        except asyncio.TimeoutError:
            raise Failure("no answer in time") from None
        except ConnectionError as error:
            raise Failure(f"{type(error).__name__}: the server does not take what is sent") from None
        finally:
            peer.end()


def section(name):
    return SECTIONS.setdefault(name, [])


def row(name, number, title, *steps, **options):
    section(name).append(Row(number, title, steps, **options))


# ---- steps -----------------------------------------------------------------------------------

def send(data, chop=None):
    """The bytes; in pieces of `chop`, each a segment of its own."""
    async def step(peer):
        await peer.send(data, chop)
    return step


def expect(*matchers):
    """Exactly these, in this order."""
    async def step(peer):
        for matcher in matchers:
            opcode, payload = await peer.frame()
            wrong = matcher(opcode, payload)
            if wrong:
                raise Failure(f"wanted {wrong}, got {describe(opcode, payload)}")
    return step


def silence(length=0.3):
    """The server has nothing to say for a while."""
    async def step(peer):
        try:
            opcode, payload = await asyncio.wait_for(peer.frame(), seconds(length))
        except asyncio.TimeoutError:
            return
        raise Failure(f"wanted silence, got {describe(opcode, payload)}")
    return step


def fails(*codes):
    """The server fails the connection with a Close frame of one of these codes, nothing before it, and
    ends the connection once it is answered."""
    async def step(peer):
        await close_frame(peer, codes)
        try:
            await peer.send(close(codes[0]))
        except ConnectionError:
            pass  # the Close frame was seen: it need not wait for ours (section 7.1.1)
        await peer.ended()
    return step


def closed(*codes):
    """The answer to a Close frame of ours, and the end; None stands for a Close without a code."""
    async def step(peer):
        await close_frame(peer, codes)
        await peer.ended()
    return step


def clean(code=1000):
    """A clean close from our side: the connection was in order up to here."""
    async def step(peer):
        await peer.send(close(code))
        await closed(code)(peer)
    return step


async def close_frame(peer, codes):
    opcode, payload = await peer.frame()
    if opcode != CLOSE:
        raise Failure(f"wanted a Close frame, got {describe(opcode, payload)}")
    if len(payload) == 1:
        raise Failure("a Close frame of one byte")
    code = struct.unpack(">H", payload[:2])[0] if payload else None
    payload[2:].decode("utf-8")
    if code not in codes:
        raise Failure(f"closed with {code} {payload[2:]!r}, wanted {' or '.join(map(str, codes))}")


# ---- what may come ---------------------------------------------------------------------------

def describe(opcode, payload):
    names = {TEXT: "text", CLOSE: "Close", PING: "ping", PONG: "pong"}
    if opcode == CLOSE and len(payload) >= 2:
        return f"Close {struct.unpack('>H', payload[:2])[0]} {payload[2:].decode(errors='replace')!r}"
    return f"{names[opcode]} {shorten(payload, 200)}"


def pong(payload=b""):
    return lambda opcode, got: None if (opcode, got) == (PONG, payload) else f"pong {payload!r}"


def message(opcode, payload):
    """The JSON object of a text message, or None."""
    return json.loads(payload) if opcode == TEXT else None


def error(code, words=""):
    def match(opcode, payload):
        got = message(opcode, payload) or {}
        said = got.get("error") or got.get("data") or {}
        right = got.get("type") == "error" and said.get("code") == code and words in said.get("message", "")
        return None if right else f"the error {code} {words}"
    return match


def reply(sent_at):
    """The answer to say(sent_at): the value has come through whole."""
    def match(opcode, payload):
        got = message(opcode, payload) or {}
        right = got.get("type") == "pong" and (got.get("data") or got).get("sentAt", got.get("sentAt")) == sent_at
        return None if right else f"pong with sentAt {shorten(repr(sent_at), 80)}"
    return match


NOT_JSON = error("INVALID_FORMAT", "not JSON")
NOT_TEXT = error("INVALID_FORMAT", "binary")


# ---- what is sent ----------------------------------------------------------------------------

def say(sent_at, size=None):
    """A command whose answer brings `sent_at` back, filled up to `size` bytes with JSON that a byte out
    of place would break."""
    text = json.dumps({"type": "ping", "sentAt": sent_at, "fill": []}, ensure_ascii=False).encode()
    if size is None:
        return text
    room = size - len(text)
    numbers = []
    while room > 12:
        numbers.append(str(100000 + (len(numbers) * 7919) % 800000))
        room -= len(numbers[-1]) + (len(numbers) > 1)
    body = ",".join(numbers).encode()
    text = text[:-2] + body + b" " * (size - len(text) - len(body)) + b"]}"
    assert len(text) == size
    return text


def ok(name, number, title, data, *answers, chop=None, **options):
    """A legal exchange: sent, answered, closed by us."""
    row(name, number, title, send(data, chop), expect(*answers), clean(), **options)


def bad(name, number, title, data, *answers, code=1002, chop=None, **options):
    """A violation: what came before it is answered, the rest is not."""
    row(name, number, title, send(data, chop), expect(*answers), fails(code), **options)
