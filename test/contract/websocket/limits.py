"""Sections 9 and 10: sizes and how the stream is cut."""
import asyncio

from .echo import document, echo, markup, picture
from .table import NOT_JSON, NOT_TEXT, Row, bad, clean, error, expect, fails, ok, pong, reply, row, say, section, send, silence
from .wire import BINARY, PING, TEXT, fragments, frame

NAME = "9 limits and performance"
KB, MB = 1024, 1024 * 1024
LARGE = 16 * MB  # --max-message of the server "large"
SMALL = 4096     # and of "small"
WORDS = b"BAsd7&jh23"


class Lazy(Row):
    """A row whose bytes are made when it runs."""

    def __init__(self, number, title, build, **options):
        super().__init__(number, title, (), **options)
        self.build = build

    building = asyncio.Semaphore(2)  # it takes a while, in which nothing else here moves

    async def run(self, servers):
        async with self.building:
            self.steps = self.build()
            try:
                await super().run(servers)
            finally:
                self.steps = ()


def lazy(number, title, build, **options):
    section(NAME).append(Lazy(number, title, build, on="large", **options))


def exchange(data, *answers, chop=None):
    return send(data, chop), expect(*answers), clean()


def sizes():
    for i, size in enumerate((64 * KB, 256 * KB, MB, 4 * MB, 8 * MB, 16 * MB), 1):
        text, binary = (WORDS * (size // 10 + 1))[:size], (b"\x00\xfe\x23\xfa\xf0" * (size // 5 + 1))[:size]
        lazy(f"9.1.{i}", f"a text of {size} bytes", lambda text=text: exchange(frame(TEXT, text), NOT_JSON))
        lazy(f"9.1.{i}.2", f"JSON of {size} bytes", lambda size=size: exchange(frame(TEXT, say("large", size)), reply("large")))
        lazy(f"9.1.{i}.3", f"JSON of {size} bytes that comes back", lambda size=size: (echo(picture, size), echo(markup, min(size, MB)), clean())) if size <= MB else None
        lazy(f"9.2.{i}", f"a binary of {size} bytes", lambda binary=binary: exchange(frame(BINARY, binary), NOT_TEXT))


def in_fragments():
    for i, size in enumerate((64, 256, KB, 4 * KB, 16 * KB, 64 * KB, 256 * KB, MB, 4 * MB), 1):
        lazy(f"9.3.{i}", f"a text of 4 MiB in fragments of {size}", lambda size=size: exchange(fragments(TEXT, say("pieces", 4 * MB), size), reply("pieces")))
        lazy(f"9.4.{i}", f"a binary of 4 MiB in fragments of {size}", lambda size=size: exchange(fragments(BINARY, b"\xfe" * (4 * MB), size), NOT_TEXT))
        lazy(f"9.3.{i}.2", f"JSON of 256 KiB in fragments of {size} that comes back", lambda size=size: (echo(document, 256 * KB, size), clean()))


def in_chops():
    for i, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
        lazy(f"9.5.{i}", f"a text of 1 MiB in chops of {size}", lambda size=size: exchange(frame(TEXT, say("chops", MB)), reply("chops"), chop=size))
        lazy(f"9.6.{i}", f"a binary of 1 MiB in chops of {size}", lambda size=size: exchange(frame(BINARY, b"\xfe" * MB), NOT_TEXT, chop=size))


def round_trips(count):
    for i, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
        text, binary = frame(TEXT, b"*" * size), frame(BINARY, b"\xfe" * size)
        row(NAME, f"9.7.{i}", f"{count} texts of {size} bytes, one after the other", *[s for _ in range(count) for s in (send(text), expect(NOT_JSON))], clean())
        row(NAME, f"9.8.{i}", f"{count} binaries of {size} bytes, one after the other", *[s for _ in range(count) for s in (send(binary), expect(NOT_TEXT))],
            clean())


def bounds():
    """--max-message to the byte: whole, in fragments, in JSON; refused as soon as it is announced."""
    for i, (size, on) in enumerate(((SMALL, "small"), (MB, "default")), 1):
        ok(NAME, f"9.11.{i}.1", f"a text of {size} bytes, the most there may be", frame(TEXT, say("full", size)), reply("full"), on=on)
        ok(NAME, f"9.11.{i}.2", "a binary of that size", frame(BINARY, b"\xfe" * size), NOT_TEXT, on=on)
        bad(NAME, f"9.11.{i}.3", "a byte more", frame(TEXT, b"", says=size + 1), code=1009, on=on)
        bad(NAME, f"9.11.{i}.4", "a byte more, sent whole", frame(TEXT, b" " * (size + 1)), code=1009, on=on)
        bad(NAME, f"9.11.{i}.5", "a binary with a byte more", frame(BINARY, b"", says=size + 1), code=1009, on=on)
        ok(NAME, f"9.11.{i}.6", "the most in fragments", fragments(TEXT, say("pieces", size), 1000), reply("pieces"), on=on)
        ok(NAME, f"9.11.{i}.7", "the most with an empty last fragment", frame(TEXT, say("end", size), fin=False) + frame(0), reply("end"), on=on)
        bad(NAME, f"9.11.{i}.8", "a byte more in the last fragment", frame(TEXT, b" " * size, fin=False) + frame(0, b" "), code=1009, on=on)
        row(NAME, f"9.11.{i}.9", "a byte more in a fragment that is only announced", send(frame(TEXT, b" " * (size - 1), fin=False)), silence(0.1),
            send(frame(0, b"", fin=False, says=2)), fails(1009), on=on)
        bad(NAME, f"9.11.{i}.10", "a message before the one too large is answered", frame(TEXT, say(1)) + frame(TEXT, b"", says=size + 1), reply(1), code=1009, on=on)
        ok(NAME, f"9.11.{i}.11", "pings do not count", fragments(TEXT, say("x", size), 500) + frame(PING, b"p" * 125), reply("x"),
           pong(b"p" * 125), on=on)
        ok(NAME, f"9.11.{i}.12", "ten of the largest in a row", frame(TEXT, say("again", size)) * 10, *[reply("again")] * 10, on=on)
    bad(NAME, "9.11.3.1", "16 MiB and a byte", frame(TEXT, b"", says=LARGE + 1), code=1009, on="large")
    ok(NAME, "9.11.3.2", "an error names the limit, not the message", frame(TEXT, b"[" * 100000), error("INVALID_FORMAT"))


def automatic_fragments():
    ok("10 miscellaneous", "10.1.1", "a text of 65536 bytes in fragments of 1300", fragments(TEXT, b"*" * 65536, 1300), NOT_JSON)
    ok("10 miscellaneous", "10.1.2", "JSON of 65536 bytes in fragments of 1300", fragments(TEXT, say("auto", 65536), 1300), reply("auto"))


sizes()
in_fragments()
in_chops()
round_trips(100)
bounds()
automatic_fragments()
