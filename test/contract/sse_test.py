#!/usr/bin/python3
"""GET /api/changes as Server-Sent Events: live, filtered, resumed by Last-Event-ID as a browser does it,
restarts, slow readers, many at once."""
import asyncio
import os
import random
import select
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Http, RawSocket, Server, Skip, case, check, equal, in_thread, loads, main, note, seconds  # noqa: E402

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, text TEXT)"


def write(server, seed, commits):
    """Commits of one or several rows; now and then a table comes."""
    http, dice = Http(server), random.Random(seed)
    for i in range(commits):
        kind = dice.random()
        if kind < 0.05:
            http.sql(f"CREATE TABLE u{seed}_{i}(x)")
        elif kind < 0.7:
            http.sql("INSERT INTO t(n, text) VALUES (?, ?)", [dice.randrange(4), "x" * dice.choice([1, 100, 3000])])
        else:
            http.sql("INSERT INTO t(n) WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
                     "SELECT i % 4 FROM c", [dice.choice([1, 10, 400])])
    http.close()


class Event:
    def __init__(self, name, data, last_id):
        self.name, self.data, self.last_id = name, loads(data), last_id


class EventSource:
    """What a browser's EventSource does, with every reconnection at the test's word: parses as the HTML
    standard says and comes back with the last id."""

    def __init__(self, server, receive_buffer=None, **arguments):
        self.server, self.receive_buffer = server, receive_buffer
        self.query = urllib.parse.urlencode(arguments, doseq=True)
        self.last_id, self.retry, self.raw = "", None, None
        self.comments = 0

    def connect(self, server=None):
        self.server = server or self.server
        self.raw = RawSocket(self.server, receive_buffer=self.receive_buffer)
        last = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
        self.raw.send(f"GET /api/changes?{self.query} HTTP/1.1\r\nHost: {self.raw.host}\r\n"
                      f"Accept: text/event-stream\r\n{last}\r\n".encode())
        head = self.raw.head()
        check(head.startswith("HTTP/1.1 200 ") and "text/event-stream" in head, "%s", head)
        self.lines, self.name, self.data, self.next_id = [], "", [], self.last_id
        return self

    def close(self):
        self.raw.socket.close()
        self.raw.buffer = b""

    def line(self, line):
        """One line of the stream; the event that it ends, if any."""
        if line == "":
            self.last_id, data, name = self.next_id, "\n".join(self.data), self.name
            self.data, self.name = [], ""
            return Event(name or "message", data, self.last_id) if data else None
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            self.data.append(value)
        elif field == "event":
            self.name = value
        elif field == "id":
            self.next_id = value
        elif field == "retry":
            self.retry = int(value)
        elif field == "":
            self.comments += 1
        else:
            raise AssertionError(f"unknown field in {line!r}")
        return None

    def take(self, limit=None, until=None):
        """Events: all that come in `limit` seconds, or up to one that `until` holds for, or up to the end."""
        end = time.monotonic() + (limit if limit is not None else seconds(60))
        while True:
            while b"\n" in self.raw.buffer:
                line, self.raw.buffer = self.raw.buffer.split(b"\n", 1)
                event = self.line(line.decode())
                if event:
                    yield event
                if event and until and until(event):
                    return
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.raw.socket], [], [], left)[0]:
                check(limit is not None, "waited in vain for an event")
                return
            try:
                if not self.raw.fill():
                    return
            except ConnectionError:
                return

    def next(self, name="message"):
        for event in self.take(until=lambda event: True):
            equal(event.name, name, f"event {event.data}")
            return event
        raise AssertionError(f"the stream ended instead of {name}")


@case("curl shows changes as they are committed, and only those that match")
def with_curl(args):
    with Directory() as directory:
        server = Server(directory.file("s.db"))
        server.sql("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, age INT)")
        try:
            curl = subprocess.Popen(
                ["curl", "-sN", "-H", "Accept: text/event-stream", f"{server.url}/api/changes?table=users&filter=age%3E%3D18"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        except FileNotFoundError:
            raise Skip("curl is not installed") from None
        try:
            for _ in range(2):
                line = curl.stdout.readline()
            equal(line, b"event: subscribed\n", "line")
            server.sql("INSERT INTO users(name, age) VALUES ('Kid', 3), ('Ada', 36)")
            begun = time.monotonic()
            while b"Ada" not in line:
                line = curl.stdout.readline()
                check(line and b"Kid" not in line, "%s", line)
            check(time.monotonic() - begun < seconds(2), "it came late")
            check(line.startswith(b'data: {"subscriptions":["s1"],'), "%s", line)
            equal(curl.stdout.readline().split(b":")[-1], b"3\n", "the id's seq")
        finally:
            curl.kill()
            curl.wait(10)
        server.stop()


class Follower(EventSource):
    """Keeps the seqs that it got, over all its connections."""

    def __init__(self, server, **arguments):
        super().__init__(server, **arguments)
        self.got, self.rows = [], {}

    def run(self, limit=None, until=None):
        for event in self.take(limit, until):
            if event.name != "message":
                equal(event.name, "subscribed", f"event {event.data}")
                continue
            check(event.last_id.endswith(f":{event.data['seq']}"), "id %s of %s", event.last_id, event.data["seq"])
            for change in event.data.get("changes", [event.data]):
                check(not self.got or change["seq"] > self.got[-1], "%s after %s", change["seq"], self.got[-1:])
                self.got.append(change["seq"])
                self.rows[change["seq"]] = change

    def live(self, seed, rounds):
        dice = random.Random(seed)
        for _ in range(rounds):
            self.connect()
            self.run(limit=dice.choice([0, 0.005, 0.03, 0.1]))
            self.close()
        self.connect()

    def finish(self, last):
        if not self.got or self.got[-1] < last:
            self.run(until=lambda event: event.data.get("seq", 0) >= last)


@case("clients that come back with their last event's id get every change once, in order")
async def come_back(args):
    rounds, commits = (20, 150) if args.quick else (40, 500)
    with Directory() as directory:
        server = Server(directory.file("r.db"))
        server.sql(TABLE)
        everything, ddl = Follower(server), Follower(server, channel="tables")
        followers = [Follower(server, table="t"), Follower(server, table="t", batch=1),
                     Follower(server, table="t", filter=["n>=1", "n<2"]), Follower(server),
                     Follower(server, channel="tables")]
        for f in (everything, ddl):
            f.connect()
        for f in followers:
            f.connect().next("subscribed")
            check(f.last_id, "no id before the first change")
            f.close()
        await asyncio.gather(*(in_thread(write, server, n, commits) for n in range(2)),
                             *(in_thread(f.live, n, rounds) for n, f in enumerate(followers)))
        last = server.get("/health").json["database"]["seq"]
        server.sql("INSERT INTO t(n) VALUES (1)")
        server.sql("CREATE TABLE the_end(x)")
        everything.finish(last + 1)
        ddl.finish(last + 2)
        equal(sorted(everything.got + ddl.got), list(range(2, last + 3)), "all changes")
        rows = [seq for seq, c in everything.rows.items() if c["table"] == "t"]
        matching = [seq for seq in rows if everything.rows[seq]["data"]["n"] == 1]
        for f, wanted in zip(followers, [rows, rows, matching, everything.got, ddl.got]):
            f.finish(wanted[-1])
            equal(f.got, wanted, f"changes of {f.query}")
            f.close()
        note(f"{last + 2} changes, {rounds} returns each")
        server.stop(limit=10)


@case("a restart is told with another epoch, and passes unnoticed with --journal")
def restart(args):
    for options in ([], ["--journal"]):
        with Directory() as directory:
            path = directory.file("e.db")
            server = Server(path, *options)
            server.sql(TABLE)
            source = EventSource(server, table="t").connect()
            source.next("subscribed")
            server.sql("INSERT INTO t(n) VALUES (1)")
            equal(source.next().data["data"]["n"], 1, "change")
            server.sql("INSERT INTO t(n) VALUES (2)")
            before = source.last_id
            server.stop()
            events = list(source.take())
            check(len(events) <= 1, "%s", [e.data for e in events])  # the second insert may have come
            source.last_id = before
            server = Server(path, *options)
            server.sql("INSERT INTO t(n) VALUES (3)")
            said = source.connect(server).next("subscribed")
            if options:
                equal((said.data["data"]["recovered"], said.last_id), (True, before), "subscribed")
                equal([source.next().data["data"]["n"] for _ in range(2)], [2, 3], "changes")
            else:
                # Only what says that changes were lost moves the id on.
                equal((said.data["data"]["recovered"], said.last_id), (False, before), "subscribed")
                resync = source.next("resync")
                equal(resync.data["reason"], "epoch_changed", "reason")
                check(resync.last_id.split(":")[0] != before.split(":")[0], "id %s", resync.last_id)
            server.sql("INSERT INTO t(n) VALUES (4)")
            equal(source.next().data["data"]["n"], 4, "the live change")
            server.stop()


@case("a reader that is too slow is told so, and loses nothing when it comes back")
def slow(args):
    for mode in ("drop", "resync"):
        read_slowly(mode)


def read_slowly(mode):
    with Directory() as directory:
        server = Server(directory.file("w.db"), "--max-queue", "512KiB", "--on-slow", mode)
        server.sql(TABLE)
        source = EventSource(server, receive_buffer=8192, table="t").connect()
        source.next("subscribed")
        other = EventSource(server, table="t").connect()
        other.next("subscribed")
        for n in range(0, 300, 6):  # few commits: it has three seconds from when it is told, also where a disk is slow
            server.sql("INSERT INTO t(n, text) SELECT ? + column1, ? FROM (VALUES(0),(1),(2),(3),(4),(5))", [n, "x" * 50000])
            equal([other.next().data["data"]["n"] for _ in range(6)], list(range(n, n + 6)), "changes of the one who reads")
        seen, told = [], 0
        while len(seen) < 300:
            for event in source.take(until=lambda event: len(seen) == 300):
                if event.name == "message":
                    seen.append(event.data["data"]["n"])
                elif event.name == "resync":
                    equal(event.data["reason"], "slow_consumer", "reason")
                    told += 1
            source.close()
            if len(seen) < 300:
                source.receive_buffer = None
                source.connect()
        equal(seen, list(range(300)), "changes of the slow reader")
        equal(told, 1, "times told")
        server.stop()


@case("many streams cost no threads")
def many(args):
    count = 100 if args.quick else 500
    with Directory() as directory:
        server = Server(directory.file("m.db"))
        server.sql(TABLE)
        before = server.threads()
        sources = [EventSource(server, table="t").connect() for _ in range(count)]
        for source in sources:
            source.next("subscribed")
        equal(server.threads(), before, "threads")
        equal(server.get("/api/ws/status").json["connectedClients"], count, "clients")
        server.sql("INSERT INTO t(n) VALUES (7)")
        for source in sources:
            equal(source.next().data["data"]["n"], 7, "change")
            source.close()
        end = time.monotonic() + seconds(10)
        while server.get("/api/ws/status").json["connectedClients"] and time.monotonic() < end:
            time.sleep(0.05)
        equal(server.get("/api/ws/status").json["connectedClients"], 0, "clients")
        server.stop()


@case("a quiet stream is kept alive, and its id moves on with what it does not hear of")
def quiet(args):
    with Directory() as directory:
        server = Server(directory.file("q.db"), "--heartbeat", "0.3", "--history", "100KiB")
        server.sql(TABLE)
        source = EventSource(server, table="t", filter="n=1").connect()
        source.next("subscribed")
        for n in range(300):
            server.sql("INSERT INTO t(n, text) VALUES (2, ?)", ["x" * 1000])
        last = server.get("/health").json["database"]["seq"]
        equal(list(source.take(limit=1 * max(1, seconds(1)))), [], "events")
        check(source.comments >= 2, "%d comments", source.comments)
        check(source.last_id.endswith(f":{last}"), "last id %s, not %s", source.last_id, last)
        source.close()
        server.sql("INSERT INTO t(n) VALUES (1)")
        # What came before is no longer kept: only with that id does it come back without a gap.
        equal(source.connect().next("subscribed").data["data"]["recovered"], True, "recovered")
        equal(source.next().data["seq"], last + 1, "seq")
        server.stop()


@case("a snapshot that was cut is begun anew, one that was not goes on with what came after it")
async def snapshot(args):
    rows, commits = (3000, 100) if args.quick else (20000, 400)
    with Directory() as directory:
        server = Server(directory.file("n.db"))
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
                   "SELECT i % 4, hex(randomblob(50)) FROM c", [rows])

        def follow(source):
            state, cuts, dice = {}, 0, random.Random(4)
            for turn in range(12):
                source.connect()
                for event in source.take(limit=dice.choice([0, 0.005, 0.02, 0.1])):
                    cuts += apply(state, event)
                source.close()
            source.connect()
            done = False
            while not done:
                for event in source.take(until=lambda event: event.name == "message"
                                         and event.data.get("data", {}).get("text") == "the end"):
                    cuts += apply(state, event)
                    done = event.name == "message" and event.data["data"]["text"] == "the end"
            source.close()
            return state, cuts

        def apply(state, event):
            if event.name == "subscribed" and not event.data["data"].get("recovered"):
                state.clear()
                return 1
            if event.name == "snapshot":
                state.update((row["key"]["id"], row["data"]) for row in event.data["data"]["rows"])
            elif event.name == "message" and event.data["event"] == "DELETE":
                del state[event.data["key"]["id"]]
            elif event.name == "message":
                state[event.data["key"]["id"]] = event.data["data"]
            return 0

        def change():
            http = Http(server)
            for n in range(commits):
                http.sql("UPDATE t SET text = ? WHERE id % ? = 7", [f"new {n}", 97 + n])
                http.sql("DELETE FROM t WHERE id = ?", [n * 5 + 1])
            http.close()

        source = EventSource(server, receive_buffer=8192, table="t", snapshot=1)
        following = asyncio.ensure_future(in_thread(follow, source))
        await in_thread(change)
        await asyncio.sleep(1)
        server.sql("INSERT INTO t(n, text) VALUES (0, 'the end')")
        state, begun = await following
        answer = server.sql("SELECT id, n, text FROM t ORDER BY id")
        wanted = [dict(zip(answer["columns"], row)) for row in answer["rows"]]
        equal([state[key] for key in sorted(state)], wanted, "the rows")
        note(f"{begun} snapshots begun")
        server.stop(limit=10)


@case("a snapshot that takes too long ends the stream, and whoever comes back gets it from the start")
def snapshot_timeout(args):
    rows = 20000
    with Directory() as directory:
        server = Server(directory.file("l.db"), "--snapshot-timeout", "1")
        server.sql(TABLE)
        server.sql("INSERT INTO t(n, text) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
                   "SELECT i, hex(zeroblob(250)) FROM c", [rows])
        source = EventSource(server, receive_buffer=8192, table="t", snapshot=1).connect()
        source.next("subscribed")
        time.sleep(seconds(2.5))
        events = list(source.take())  # to the end
        equal((events[-1].name, events[-1].data["reason"]), ("resync", "snapshot_timeout"), "the last event")
        check(len(events) > 1 and all(e.name == "snapshot" and not e.data["last"] for e in events[:-1]), "%s", [e.name for e in events])
        equal(source.last_id, "", "the id")
        source.close()
        source.receive_buffer = None
        source.connect().next("subscribed")
        got = 0
        for event in source.take(until=lambda event: event.data["last"]):
            got += len(event.data["data"]["rows"])
        equal(got, rows, "rows")
        check(source.last_id.endswith(f":{rows + 1}"), "id %s", source.last_id)
        server.stop()


@case("a write that waits until it is delivered waits for streams, too")
def delivered(args):
    with Directory() as directory:
        server = Server(directory.file("d.db"))
        server.sql(TABLE)
        source = EventSource(server, table="t").connect()
        source.next("subscribed")
        answer = server.post("/api/sql", {"sql": "INSERT INTO t(n) VALUES (1)", "wait": "delivered"}).json
        equal((answer["delivered"], answer.get("pending")), (1, None), f"{answer}")
        equal(source.next().data["seq"], answer["seq"], "seq")
        server.stop()


if __name__ == "__main__":
    main()
