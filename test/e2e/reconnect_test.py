#!/usr/bin/python3
"""Clients that people already have, through a lost connection and a restart of the server: each of them has
seen every change, in order, once. Each is written as its users would write it."""
import asyncio
import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Server, Skip, case, check, equal, in_thread, main, seconds, websockets  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CHANGES = 300
# The filler makes each change worth compressing; it differs, so that a mix-up would show.
FILLER = "'" + "all work and no play " * 40 + "' || i"


class Proxy:
    """Passes TCP connections on to the server, and can cut them all, as a network does."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.pairs = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                return
            with server:
                with self.lock:
                    self.pairs.add((client, server))
                with contextlib.suppress(OSError, ValueError):
                    self.copy(client, server)
                with self.lock:
                    self.pairs.discard((client, server))

    @staticmethod
    def copy(one, two):
        while True:
            for source in select.select([one, two], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                (two if source is one else one).sendall(data)

    def cut(self):
        """Every connection, at whatever byte it is."""
        with self.lock:
            for pair in self.pairs:
                for each in pair:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        self.cut()


class Story:
    """A server with a journal behind a proxy. 300 commits: after 100 the connections are cut, after 200 the
    server restarts, and what is written meanwhile is written while nobody listens."""

    def __init__(self, directory, *options):
        self.path = directory.file("r.db")
        self.options = ("--journal", "--compress-min-size", "100", *options)
        self.server = Server(self.path, *self.options)
        self.server.sql("CREATE TABLE t(i INTEGER PRIMARY KEY, x TEXT); CREATE TABLE other(i)")
        self.proxy = Proxy(self.server.port)
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        self.ws_url = f"ws://127.0.0.1:{self.proxy.port}/ws"

    def insert(self, first, last, pause=0.004):
        for i in range(first, last + 1):
            self.server.sql(f"WITH n(i) AS (VALUES({i})) INSERT INTO t SELECT i, {FILLER} FROM n; INSERT INTO other VALUES ({i})")
            time.sleep(pause)

    def tell(self):
        self.insert(1, 100)
        self.proxy.cut()
        self.insert(101, 200)
        listen = f"127.0.0.1:{self.server.port}"
        self.server.stop(10)
        self.server = Server(self.path, *self.options, listen=listen)
        self.insert(201, CHANGES)

    def close(self):
        self.proxy.close()
        self.server.stop(10)


@contextlib.contextmanager
def story(*options):
    with Directory() as directory:
        one = Story(directory, *options)
        yield one
        one.close()


def complete(seen):
    equal(seen, list(range(1, CHANGES + 1)), "changes seen")


def wait_for(condition, what, limit=30):
    end = time.monotonic() + seconds(limit)
    while not condition():
        check(time.monotonic() < end, "waited in vain for %s", what() if callable(what) else what)
        time.sleep(0.02)


def program(*names):
    for name in names:
        if shutil.which(name):
            return shutil.which(name)
    raise Skip(f"{names[0]} is not installed")


def package(name):
    if not os.path.isdir(os.path.join(HERE, "node_modules", name)):
        raise Skip(f"npm `{name}` is not installed: npm ci in test/e2e")


class Lines:
    """A program whose lines of output are kept, the first of them awaited."""

    def __init__(self, *command):
        self.lines = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait(self, count, limit=30):
        wait_for(lambda: len(self.lines) >= count or self.process.poll() is not None,
                 lambda: f"{count} lines; there are {len(self.lines)}, the last {self.lines[-2:]}", limit)
        check(len(self.lines) >= count, "it ended: %s", self.lines[-3:])

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)
        self.process.stdout.close()
        errors = self.process.stderr.read()
        self.process.stderr.close()
        return errors


def node_client(kind):
    """node_clients.mjs, which prints a line when it is ready, then each change's i; the first is what it negotiated."""
    with story() as one:
        client = Lines(program("node", "nodejs"), os.path.join(HERE, "node_clients.mjs"), kind, one.url)
        try:
            client.wait(1)
            one.tell()
            client.wait(1 + CHANGES)
            time.sleep(0.3)  # for what might come twice
            complete([int(line) for line in client.lines[1:]])
            return client.lines[0]
        finally:
            errors = client.stop()
            equal(errors, "", "standard error")


@case("npm ws with perMessageDeflate, resuming with since")
def npm_ws():
    package("ws")
    check("permessage-deflate" in node_client("ws"), "compression was not negotiated")


@case("rowtap.js on npm ws resumes by itself")
def rowtap_js():
    package("ws")
    node_client("rowtap")


@case("rowtap.js keeps a view of the table that is the table")
def rowtap_view():
    package("ws")
    node_client("view")


@case("npm eventsource reconnects by itself with Last-Event-ID")
def npm_eventsource():
    package("eventsource")
    node_client("eventsource")


@case("python3-websockets with its default compression, resuming with since")
async def python():
    with story() as one:
        seen, place, used = [], {}, set()

        async def follow():
            while len(seen) < CHANGES:
                try:
                    async with websockets().connect(one.ws_url) as connection:
                        used.update(type(e).__name__ for e in connection.extensions)
                        await connection.send(json.dumps({"type": "subscribe", "table": "t", **place}))
                        async for text in connection:
                            note_message(json.loads(text))
                except (OSError, websockets().exceptions.WebSocketException, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)

        def note_message(message):
            if message["type"] == "connection:ack":
                check(message["data"]["epoch"] == place.get("epoch", message["data"]["epoch"]), "another epoch")
                place.update(epoch=message["data"]["epoch"])
            elif message["type"] == "subscribed":
                check(message["data"].get("recovered", True), "not recovered: %s", message)
                place.setdefault("since", message["data"]["seq"])
            elif message["type"] == "database_change":
                seen.append(message["data"]["i"])
                place["since"] = message["seq"]

        # The epoch goes with since: the first time there is neither.
        task = asyncio.create_task(follow())
        await ready(lambda: "since" in place)
        await in_thread(one.tell)
        await ready(lambda: len(seen) >= CHANGES)
        await asyncio.sleep(0.3)
        task.cancel()
        complete(seen)
        equal(used, {"PerMessageDeflate"}, "extensions")


async def ready(condition):
    end = time.monotonic() + seconds(30)
    while not condition():
        check(time.monotonic() < end, "waited in vain")
        await asyncio.sleep(0.02)


@case("curl -N, started again with Last-Event-ID whenever it ends")
def curl():
    with story() as one:
        begun = threading.Event()
        state = {"id": None, "seen": [], "end": False}
        thread = threading.Thread(target=follow_curl, args=(program("curl"), one.url, state, begun), daemon=True)
        thread.start()
        check(begun.wait(seconds(20)), "curl did not begin")
        one.tell()
        wait_for(lambda: len(state["seen"]) >= CHANGES, lambda: f"{CHANGES} changes; {len(state['seen'])} are there")
        state["end"] = True
        state["process"].kill()
        thread.join(seconds(10))
        complete(state["seen"])


def follow_curl(curl_, url, state, begun):
    while not state["end"]:
        command = [curl_, "-sSN", "-H", "Accept: text/event-stream", url + "/api/changes?table=t"]
        if state["id"]:
            command[2:2] = ["-H", "Last-Event-ID: " + state["id"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True) as process:
            state["process"] = process
            read_events(process.stdout, state, begun)
        time.sleep(0.05)


def read_events(stream, state, begun):
    """As the standard has it: an event is there at its empty line, and only then its id counts."""
    event = {}
    for line in stream:
        line = line.rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
            continue
        if "id" in event:
            state["id"] = event["id"]
            begun.set()
        if "data" in event and "event" not in event:
            state["seen"].append(json.loads(event["data"])["data"]["i"])
        event = {}


def long_poll(fetch):
    with story() as one:
        seen, place = [], {"since": None}
        stop = threading.Event()

        def follow():
            while not stop.is_set():
                query = {"table": "t", "limit": 50, **({"since": place["since"]} if place["since"] else {})}
                try:
                    changes, position = fetch(one.url + "/api/changes?" + urllib.parse.urlencode(query))
                except OSError:
                    time.sleep(0.05)
                    continue
                # From the beginning, the table's creation comes first.
                seen.extend(c["data"]["i"] if c["type"] == "database_change" else c for c in changes if c["type"] != "table:created")
                place["since"] = position

        # From the beginning, so that nothing depends on when the first poll arrives.
        place["since"] = "earliest"
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        one.tell()
        wait_for(lambda: len(seen) >= CHANGES, lambda: f"{CHANGES} changes; {len(seen)} are there")
        stop.set()
        one.proxy.cut()
        thread.join(seconds(10))
        complete(seen)


@case("a long poll with urllib, going on from Rowtap-Position")
def urllib_poll():
    def fetch(url):
        with urllib.request.urlopen(url, timeout=seconds(30)) as answer:
            try:
                return json.loads(answer.read()), answer.headers["Rowtap-Position"]
            except Exception as cut:  # http.client.IncompleteRead is no OSError
                raise OSError(str(cut)) from cut
    long_poll(fetch)


@case("a long poll with Python requests")
def requests_poll():
    try:
        import requests
    except ImportError as missing:
        raise Skip("python3-requests is not installed") from missing

    def fetch(url):
        answer = requests.get(url, timeout=seconds(30))
        answer.raise_for_status()
        return answer.json(), answer.headers["Rowtap-Position"]
    long_poll(fetch)


@case("a browser's WebSocket and EventSource, side by side in one page")
def browser():
    program("chromium")
    with story() as one:
        client = Lines(program("node", "nodejs"), os.path.join(HERE, "browser_clients.mjs"), one.url, str(CHANGES))
        try:
            client.wait(1)
            one.tell()
            client.wait(2, 60)
            saw = json.loads(client.lines[1])
        finally:
            errors = client.stop()
        equal(errors, "", "standard error")
        for name in ("socket", "source", "view"):
            equal(saw[name], list(range(1, CHANGES + 1)), f"seen by {name}")
        check("permessage-deflate" in saw["extensions"], "WebSocket.extensions: %r", saw["extensions"])
        check(re.search(r"permessage-deflate", saw["header"] or ""), "Sec-WebSocket-Extensions: %r", saw["header"])
        equal(saw["big"], [100000, 100000], "a large message there and back")


if __name__ == "__main__":
    main()
