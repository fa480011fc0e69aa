"""Messages there and back: what is sent comes back by way of a broadcast to a channel that only the sender
has joined, so that every byte is compared, and both directions are compressed where that was agreed on."""
import itertools
import json
import random

from .table import NOT_TEXT, expect
from .wire import BINARY, TEXT, Failure, fragments, frame


def records(dice):
    return json.dumps({"id": dice.randrange(1 << 30), "name": dice.choice(("Faust", "Wagner", "Margarete", "Mephisto")), "tags": ["a", "b"] * dice.randrange(3),
                       "price": dice.random(), "active": dice.random() < 0.5}) + ","


def picture(dice):
    return chr(dice.randrange(0x21, 0x7f)) * dice.randrange(1, 80)


def prose(dice):
    return dice.choice("Habe nun ach Philosophie Juristerei und Medizin durchaus studiert mit heißem Bemühn Da steh ich armer Tor so klug als wie zuvor".split()) + " "


def markup(dice):
    return f'<tr class="{dice.choice(("odd", "even"))}"><td>{dice.randrange(10000)}</td><td>é€𤭢</td></tr>\n'


def document(dice):
    return "".join(chr(dice.randrange(0x4e00, 0x9f00)) for _ in range(20)) if dice.random() < 0.7 else "endobj xref stream "


DATA = (("records of JSON", records), ("a picture, long runs", picture), ("prose", prose), ("HTML", markup), ("a document that hardly shrinks", document))


class Source:
    """Pieces of a text without end, each of a size in bytes as JSON."""

    def __init__(self, make):
        self.make, self.dice, self.text = make, random.Random(12), ""

    def take(self, size):
        """A text that takes exactly `size` bytes between the quotes of a JSON string."""
        text, room = "", size
        while room > 12:
            if not self.text:
                self.text = "".join(self.make(self.dice) for _ in range(50))
            piece, self.text = self.text[:max(1, room // 12)], self.text[max(1, room // 12):]
            text += piece
            room -= len(json.dumps(piece, ensure_ascii=False).encode()) - 2
        return text + "." * room


names = itertools.count(1000)
JOIN = b'{"type":"subscribe","channel":"%d"}'
HEAD, TAIL = b'{"type":"broadcast","channel":"%d","data":"', b'"}'


def pack(peer, opcode, data, fragment=0, level=6):
    rsv = 4 if peer.deflate else 0
    packed = peer.deflate.pack(data, level) if peer.deflate else data
    return fragments(opcode, packed, fragment, rsv=rsv) if fragment else frame(opcode, packed, rsv=rsv)


async def talk(peer, data, *matchers):
    await peer.send(data)
    await expect(*matchers)(peer)


def typed(name, **wanted):
    def match(opcode, payload):
        got = json.loads(payload) if opcode == TEXT else {}
        right = got.get("type") == name and all(got.get(k) == v for k, v in wanted.items())
        return None if right else f"a message of type {name}"
    return match


def echo(make, size, fragment=0, count=1, levels=(6,)):
    """`count` messages of that size, there and back."""
    async def step(peer):
        source, mine = Source(make), next(names)
        head = HEAD % mine
        await talk(peer, pack(peer, TEXT, JOIN % mine), typed("subscribed"))
        for i in range(count):
            level = levels[i % len(levels)]
            if size < 64:
                await talk(peer, pack(peer, TEXT, b'{"type":"ping"}'.ljust(size), fragment, level), typed("pong"))
                continue
            text = source.take(size - len(head) - len(TAIL))
            data = head + json.dumps(text, ensure_ascii=False).encode()[1:-1] + TAIL
            assert len(data) == size
            await talk(peer, pack(peer, TEXT, data, fragment, level), typed("broadcast", data=text), typed("broadcast:ack"))
            if i % 4 == 0:
                await talk(peer, pack(peer, BINARY, data, fragment, level), NOT_TEXT)
        if size >= 1024 and peer.deflate and peer.deflate.in_bits > 8 and not peer.deflate.unpacked:
            raise Failure("nothing came back compressed")
    return step
