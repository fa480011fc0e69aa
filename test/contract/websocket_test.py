#!/usr/bin/python3
"""Conformance of the WebSocket front: many hundred cases, each a connection of its own, many at a time.

`--only 6.4` runs the cases whose number begins so.
"""
import argparse
import asyncio
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), HERE]
from harness import BIN, SANITIZER, Directory, Server, equal, note, seconds  # noqa: E402
from websocket import closing, compression, framing, handshake, hostile, limits, text  # noqa: E402, F401
from websocket.table import SECTIONS  # noqa: E402
from websocket.wire import Failure  # noqa: E402

AT_ONCE = 24
SERVERS = {
    "default": [],
    "ending": [],  # by SIGTERM, in section 7
    "small": ["--max-message", limits.SMALL],
    "large": ["--max-message", limits.LARGE],
}


def order(name):
    """Sections with a number first, in the order of the numbers."""
    word = name.split()[0]
    return (0, int(word), "") if word.isdigit() else (1, 0, word)


class Run:
    def __init__(self, only):
        self.only, self.number, self.failed, self.gate = only, 0, 0, asyncio.Semaphore(AT_ONCE)

    def chosen(self):
        for name, rows in sorted(SECTIONS.items(), key=lambda item: order(item[0])):
            mine = [r for r in rows if (r.number + ".").startswith(self.only)]
            if mine:
                yield name, mine

    async def one(self, row, servers):
        async with self.gate:
            try:
                await asyncio.wait_for(row.run(servers), seconds(60))
                return None
            except Failure as failure:
                return str(failure)
            except asyncio.TimeoutError:
                return "not finished within a minute"
            except Exception as error:  # what came could not even be read
                return f"{type(error).__name__}: {error}"

    def say(self, good, text):
        self.number += 1
        self.failed += not good
        print(f"{'' if good else 'not '}ok {self.number} - {text}", flush=True)

    async def all(self, servers):
        for name, rows in self.chosen():
            begun = time.monotonic()
            results = await asyncio.gather(*(self.one(row, servers) for row in rows))
            for row, wrong in zip(rows, results):
                self.say(not wrong, f"{row.number} {row.title}")
                if wrong:
                    note(wrong)
            bad = sum(map(bool, results))
            note(f"section {name}: {len(rows) - bad} passed, {bad} failed, {time.monotonic() - begun:.1f} s")


def finish(server):
    """The server has forgotten every connection, and ends well; one that a case told to end has done so."""
    if getattr(server, "told", False):
        equal(server.wait(seconds(10)), 0, "exit status")
        equal(SANITIZER.findall(server.stderr()), [], "sanitizer reports")
        server.forget()
        return
    forgotten(server)
    server.stop()


def forgotten(server):
    end = time.monotonic() + seconds(10)
    while server.get("/health").json["connectedClients"] and time.monotonic() < end:
        time.sleep(0.1)
    equal(server.get("/health").json["connectedClients"], 0, "connectedClients at the end")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="NUMBER", help="the cases whose number begins with this")
    parser.add_argument("--quick", action="store_true", help="accepted, and of no effect")
    parser.add_argument("--tls", action="store_true", help="all of it over TLS")
    args = parser.parse_args()
    if not os.access(BIN, os.X_OK):
        print(f"Bail out! no rowtap binary at {BIN}: build it, or set ROWTAP_BIN")
        sys.exit(1)
    run = Run(args.only and args.only + ".")
    count = sum(len(rows) for _, rows in run.chosen())
    print(f"1..{count + len(SERVERS)}", flush=True)
    with Directory() as directory:
        servers = {name: Server(directory.file(name + ".db"), *options) for name, options in SERVERS.items()}
        asyncio.run(run.all(servers))
        for name, server in servers.items():
            try:
                finish(server)
                run.say(True, f"the server {name} ends well")
            except AssertionError as error:
                run.say(False, f"the server {name} ends well")
                note(error)
                server.kill()
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
