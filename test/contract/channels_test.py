#!/usr/bin/python3
"""Channels between clients: broadcasts over WebSocket, HTTP and the command line, in order and counted;
and who is in `collaboration` with whose cursor, one truth over all loops."""
import asyncio
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, RawSocket, Server, case, check, equal, error_code, in_thread, main, run, seconds  # noqa: E402


class Fixture:
    """A server with four loops, so that clients are spread over several."""

    def __init__(self, *options):
        self.options = ("--loops", "4", *options)

    def __enter__(self):
        self.directory = Directory().__enter__()
        self.server = Server(self.directory.file("c.db"), *self.options)
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.server.stop()
        self.directory.__exit__()

    async def clients(self, count, channel=None):
        found = [await Client.open(self.server) for _ in range(count)]
        for client in found if channel else []:
            client.joined = await client.request("subscribe", channel=channel)
            equal(client.joined["type"], "subscribed", str(client.joined))
        return found


async def close(*clients):
    for client in clients:
        await client.close()


def me(client):
    return client.ack["data"]["connectionId"]


@case("broadcast: every subscriber of the channel on every loop gets it, the sender gets the count")
async def broadcast():
    with Fixture() as f:
        room = await f.clients(8, "room:1")
        other, = await f.clients(1, "room:2")
        sender, = await f.clients(1)
        ack = await sender.request("broadcast", channel="room:1", event="say", data={"text": "hällo", "n": [1, 1.5, None, True]})
        equal((ack["type"], ack["delivered"], ack["data"], ack["channel"]),
              ("broadcast:ack", 8, {"channel": "room:1", "delivered": 8}, "room:1"), "ack")
        ids = set()
        for client in room:
            message = await client.next("broadcast")
            equal({k: v for k, v in message.items() if k not in ("id", "timestamp")},
                  {"type": "broadcast", "channel": "room:1", "event": "say", "userId": None, "connectionId": me(sender),
                   "data": {"text": "hällo", "n": [1, 1.5, None, True]}}, "message")
            check(isinstance(message["timestamp"], int), "%s", message)
            ids.add(message["id"])
        equal(len(ids), 1, "one id for all")
        equal((await sender.request("broadcast", channel="nobody", data=1))["delivered"], 0, "delivered")
        await other.quiet()
        await close(*room, other, sender)


@case("broadcast: self:false on it or on the subscription leaves out the sender")
async def without_self():
    with Fixture() as f:
        a, b = await f.clients(2, "room")
        equal((await a.request("broadcast", channel="room", data=1))["delivered"], 2, "with itself")
        equal([(await a.next("broadcast"))["data"], (await b.next("broadcast"))["data"]], [1, 1], "data")
        equal((await a.request("broadcast", channel="room", data=2, self=False))["delivered"], 1, "without")
        await a.request("subscribe", channel="room", **{"self": False})
        equal((await a.request("broadcast", channel="room", data=3))["delivered"], 1, "without")
        equal([(await b.next("broadcast"))["data"], (await b.next("broadcast"))["data"]], [2, 3], "data")
        equal((await b.request("broadcast", channel="room", data=4))["delivered"], 2, "of another")
        equal((await a.next("broadcast"))["data"], 4, "data")
        await a.request("subscribe", channel="notifications", **{"self": False})
        equal((await a.request("broadcast", channel="notifications", data=5))["delivered"], 1, "notifications")
        await a.quiet()
        await close(a, b)


@case("broadcast: what is in the data is data, wherever the arguments stand")
async def places():
    with Fixture() as f:
        a, b = await f.clients(2, "room")
        tricky = {"channel": "other", "event": "x", "self": False, "data": 1, "requestId": "mine", "type": "subscribe"}
        await a.request("broadcast", channel="room", data=tricky)
        got = await b.next("broadcast")
        equal((got["data"], "event" in got), (tricky, False), "data")
        equal((await a.next("broadcast"))["data"], tricky, "itself, too")
        for arguments in ({"payload": {"channel": "room", "data": [7], "event": "e"}}, {"data": {"channel": "room", "data": [7], "event": "e"}},
                          {"channel": "room", "event": "e", "payload": {"data": [7]}}):
            equal((await a.request("broadcast", **arguments))["type"], "broadcast:ack", "type")
            got = await b.next("broadcast")
            equal((got["data"], got["event"], got["channel"]), ([7], "e", "room"), str(arguments))
            await a.next("broadcast")
        equal((await a.request("broadcast", channel="room", data=None))["delivered"], 2, "null is something to say")
        equal((await b.next("broadcast"))["data"], None, "data")
        await a.next("broadcast")
        response = await a.request("request", payload={"action": "broadcast", "channel": "room", "data": {"action": "x"}})
        equal((response["type"], response["payload"]), ("response", {"success": True, "channel": "room", "delivered": 2}), "a request")
        equal([(await x.next("broadcast"))["data"] for x in (a, b)], [{"action": "x"}] * 2, "data")
        equal((await b.request("broadcast", channel="room", event="database_change", data={}))["type"], "broadcast:ack", "type")
        got = await a.next()
        equal((got["type"], got["event"]), ("broadcast", "database_change"), "nobody fakes the server's messages")
        await close(a, b)


@case("broadcast: what is wrong with it is said, with the requestId")
async def refused():
    with Fixture("--max-message", "2048") as f:
        a, = await f.clients(1)
        for arguments, code in (({}, "INVALID_FORMAT"), ({"channel": "room"}, "INVALID_FORMAT"), ({"channel": 5, "data": 1}, "INVALID_FORMAT"),
                                ({"channel": "a b", "data": 1}, "INVALID_FORMAT"), ({"channel": "", "data": 1}, "INVALID_FORMAT"),
                                ({"channel": "x" * 129, "data": 1}, "INVALID_FORMAT"), ({"channel": "room", "data": 1, "event": 5}, "INVALID_FORMAT"),
                                ({"channel": "room", "data": 1, "event": ""}, "INVALID_FORMAT"),
                                ({"channel": "room", "data": 1, "event": "e" * 129}, "INVALID_FORMAT"),
                                ({"channel": "room", "data": 1, "self": "no"}, "INVALID_FORMAT"),
                                ({"channel": "tables", "data": 1}, "FORBIDDEN"), ({"channel": "queries", "data": 1}, "FORBIDDEN")):
            reply = await a.request("broadcast", **arguments)
            equal(error_code(reply), code, f"{arguments} -> {reply}")
        await a.send({"type": "broadcast", "channel": "room", "data": "x" * 3000})
        equal(await a.wait_closed(), 1009, "close code")


@case("broadcast: one sender's arrive in order on every loop, none twice, while members come and go")
async def order():
    with Fixture() as f:
        room = await f.clients(8, "room")
        senders = await f.clients(3)
        count = 400
        stop = asyncio.Event()

        async def come_and_go():
            while not stop.is_set():
                passing = await f.clients(2, "room")
                await close(*passing)

        async def send(number, client):
            for i in range(count):
                await client.send({"type": "broadcast", "requestId": f"b{i}", "channel": "room", "data": [number, i]})
            await client.wait(lambda: len(client.replies) == count, 60, "acknowledgements")
            equal(list(client.replies), [f"b{i}" for i in range(count)], "acknowledged in order")
            for reply in client.replies.values():
                check(8 <= reply["delivered"] <= 10, "%s", reply)

        passing = asyncio.ensure_future(come_and_go())
        try:
            await asyncio.gather(*(send(n, c) for n, c in enumerate(senders)))
        finally:
            stop.set()
            await passing
        for client in room:
            await client.wait(lambda c=client: len(c.events) >= 3 * count, 60, "broadcasts")
            for number in range(3):
                equal([e["data"][1] for e in client.events if e["data"][0] == number], list(range(count)), "order")
        await close(*room, *senders)


@case("broadcast: a sender that leaves at once has still sent; nobody is left behind")
async def leaving():
    with Fixture() as f:
        room = await f.clients(4, "room")
        for i in range(30):
            raw = RawSocket(f.server)
            check(" 101 " in raw.upgrade(), "no upgrade")
            for n in range(5):
                raw.text({"type": "broadcast", "channel": "room", "data": [i, n]})
            raw.close()
        for client in room:
            # a reset may overtake what was sent before it, but order and wholeness stay
            await client.request("ping")
            for i in range(30):
                got = [e["data"][1] for e in client.events if e["data"][0] == i]
                equal(got, list(range(len(got))), "order")
            client.events.clear()
        equal((await room[0].request("broadcast", channel="room", data="end"))["delivered"], 4, "delivered")
        await close(*room)


@case("POST /api/ws/broadcast: to everyone, to a channel, counted; errors")
async def http():
    with Fixture("--max-message", "2048") as f:
        everyone = await f.clients(5)
        member, = await f.clients(1, "room")

        async def post(body, headers=None):
            return await in_thread(f.server.post, "/api/ws/broadcast", body, headers)

        answer = await post({"message": "back at ten"})
        equal((answer.status, answer.json), (200, {"success": True, "delivered": 6}), str(answer))
        for client in (*everyone, member):
            got = await client.next("broadcast")
            equal((got["channel"], got["data"], got["userId"], "connectionId" in got),
                  ("notifications", {"message": "back at ten"}, None, False), "message")
        await everyone[0].request("unsubscribe", channel="notifications")
        equal((await post({"message": {"deep": [1]}, "type": "note"})).json["delivered"], 5, "delivered")
        got = await everyone[1].next("note")
        equal((got["data"], got["event"]), ({"message": {"deep": [1]}}, "note"), "message")
        await member.next("note")
        answer = await post({"channel": "room", "type": "sold \"out\"", "data": {"id": 7}})
        equal(answer.json, {"success": True, "delivered": 1}, str(answer))
        got = await member.next("sold \"out\"")
        equal((got["channel"], got["data"]), ("room", {"id": 7}), "message")
        await post({"channel": "room", "type": "bare"})
        equal((await member.next("bare"))["data"], None, "no data")
        await post({"channel": "room", "data": [1]})
        equal((await member.next("broadcast"))["data"], [1], "no type")
        for body, status, code in (
                ("{", 400, "INVALID_FORMAT"), ("[]", 400, "INVALID_FORMAT"), ({}, 400, "INVALID_FORMAT"), ({"channel": "room"}, 400, "INVALID_FORMAT"),
                ({"data": 1}, 400, "INVALID_FORMAT"), ({"message": 1, "data": 1}, 400, "INVALID_FORMAT"), ({"channel": 5, "data": 1}, 400, "INVALID_FORMAT"),
                ({"channel": "a b", "data": 1}, 400, "INVALID_FORMAT"), ({"channel": "room", "type": 5}, 400, "INVALID_FORMAT"),
                ({"channel": "room", "type": ""}, 400, "INVALID_FORMAT"), ({"channel": "room\0", "data": 1}, 400, "INVALID_FORMAT"),
                ({"message": 1, "mesage": 1}, 400, "INVALID_FORMAT"), ({"channel": "tables", "data": 1}, 403, "FORBIDDEN"),
                ({"channel": "queries", "data": 1}, 403, "FORBIDDEN"), ({"channel": "room", "type": "database_change"}, 403, "FORBIDDEN"),
                ({"channel": "room", "type": "user:joined"}, 403, "FORBIDDEN"), ({"message": "x" * 3000}, 413, "TOO_LARGE")):
            answer = await post(body)
            equal((answer.status, answer.code), (status, code), f"{body} -> {answer}")
        answer = await post("message=1", {"Content-Type": "application/x-www-form-urlencoded"})
        equal((answer.status, answer.code), (415, "INVALID_FORMAT"), str(answer))
        answer = await in_thread(f.server.get, "/api/ws/broadcast")
        equal(answer.status, 405, str(answer))
        await member.quiet()
        await close(*everyone, member)


@case("rowtap send prints to how many; bad JSON and bad names are said")
async def command_line():
    with Fixture() as f:
        room = await f.clients(2, "room")
        url = f.server.url

        async def send(*arguments, stdin=None):
            return await in_thread(lambda: run("send", "--url", url, *arguments, stdin=stdin))

        equal(await send("room", "say", '{"text":"hi"}'), (0, "delivered to 2 clients\n", ""), "send")
        for client in room:
            got = await client.next("say")
            equal((got["data"], got["channel"]), ({"text": "hi"}, "room"), "message")
        await room[1].close()
        equal(await send("room", "say", "-", stdin=b" [1,\n 2] "), (0, "delivered to 1 client\n", ""), "from standard input")
        equal((await room[0].next("say"))["data"], [1, 2], "data")
        equal((await send("room", "bare"))[0], 0, "without data")
        equal((await room[0].next("bare"))["data"], None, "data")
        for arguments, status, words in ((("room",), 2, "name a channel and a type"), (("room", "say", "hello"), 2, "not JSON"),
                                         (("room", "say", "1", "2"), 2, "too many"), (("a b", "say"), 1, "a channel's name"),
                                         (("room", "error"), 1, "choose another"), (("tables", "say"), 1, "only the server")):
            code, out, err = await send(*arguments)
            equal((code, out), (status, ""), f"{arguments}: {err}")
            check(words in err, "%s: %s", arguments, err)
        code, out, err = await send("room", "say", "-", stdin=b"{")
        equal((code, out, "not JSON" in err), (1, "", True), err)
        code, out, err = await in_thread(lambda: run("send", "--url", "http://127.0.0.1:1", "room", "say"))
        equal((code, out, "cannot reach" in err), (1, "", True), err)
        await room[0].quiet()
        await room[0].close()


def users(message):
    """{userId: {connectionId: cursor or None}}"""
    found = {}
    for user in message["data"]["connectedUsers"]:
        cursors = {c["connectionId"]: (c["table"], c["row"], c["column"]) for c in user["cursors"]}
        check(user["userId"] not in found, "a user twice: %s", message)
        found[user["userId"]] = {c: cursors.get(c) for c in user["connectionIds"]}
    equal(len(found), message["data"]["userCount"], "userCount")
    return found


def name(client):
    return f"anonymous:{me(client)}"


@case("collaboration: joined, left, a late joiner's state, cursors")
async def presence():
    with Fixture() as f:
        a, = await f.clients(1, "collaboration")
        equal((a.joined["data"]["userId"], a.joined["data"]["connectionId"]), (name(a), me(a)), "who it is")
        equal(users(a.joined), {name(a): {me(a): None}}, "alone")
        b, = await f.clients(1, "collaboration")
        equal(users(b.joined), {name(c): {me(c): None} for c in (a, b)}, "two")
        joined = await a.next("user:joined")
        equal((joined["channel"], joined["userId"], joined["data"]["userId"], joined["data"]["connectionId"]),
              ("collaboration", name(b), name(b), me(b)), "joined")
        equal(users(joined), users(b.joined), "the list")
        await a.send({"type": "user:cursor", "data": {"table": "users", "row": 7, "column": "näme"}})
        cursor = await b.next("user:cursor")
        equal((cursor["channel"], cursor["userId"], cursor["data"]),
              ("collaboration", name(a), {"userId": name(a), "connectionId": me(a), "table": "users", "row": 7, "column": "näme"}), "cursor")
        c, = await f.clients(1, "collaboration")
        equal(users(c.joined)[name(a)], {me(a): ("users", 7, "näme")}, "the cursor is there for who comes late")
        equal([(await x.next("user:joined"))["userId"] for x in (a, b)], [name(c)] * 2, "joined")
        await b.send({"type": "user:cursor", "payload": {"table": "t", "row": {"a": 1, "b": "x"}}})
        for x in (a, c):
            equal({k: v for k, v in (await x.next("user:cursor"))["data"].items() if k in ("table", "row", "column")},
                  {"table": "t", "row": {"a": 1, "b": "x"}, "column": None}, "a key of several columns")
        await b.send({"type": "user:cursor", "table": None})
        for x in (a, c):
            equal((await x.next("user:cursor"))["data"]["table"], None, "nowhere")
        again = await c.request("subscribe", channel="collaboration")
        equal(users(again), {name(a): {me(a): ("users", 7, "näme")}, name(b): {me(b): None}, name(c): {me(c): None}}, "asked again")
        await a.close()
        for x in (b, c):
            left = await x.next("user:left")
            equal((left["userId"], left["data"]["connectionId"], set(users(left))), (name(a), me(a), {name(b), name(c)}), "left")
        await b.request("unsubscribe", channel="collaboration")
        equal((await c.next("user:left"))["userId"], name(b), "left by its own wish")
        equal(error_code(await b.request("user:cursor", data={"table": "t"})), "CONFLICT", "not there any more")
        equal((await c.request("broadcast", channel="collaboration", event="wave", data=1, self=False))["delivered"], 0, "nobody")
        await b.request("subscribe", channel="collaboration")
        equal((await c.next("user:joined"))["userId"], name(b), "back")
        await b.quiet()
        await close(b, c)


@case("user:cursor: what is wrong with it is said")
async def bad_cursors():
    with Fixture() as f:
        a, = await f.clients(1)
        equal(error_code(await a.request("user:cursor", data={"table": "t"})), "CONFLICT", "without having joined")
        await a.join("collaboration")
        for data, code in (({}, "INVALID_FORMAT"), ({"row": 1}, "INVALID_FORMAT"), ({"table": 5}, "INVALID_FORMAT"),
                           ({"table": "t", "row": [1]}, "INVALID_FORMAT"), ({"table": "t", "row": True}, "INVALID_FORMAT"),
                           ({"table": "t", "column": {}}, "INVALID_FORMAT"), ({"table": "t" * 300}, "TOO_LARGE")):
            equal(error_code(await a.request("user:cursor", data=data)), code, str(data))
        await a.close()


@case("collaboration: many come, move, go and crash at random on all loops; everyone agrees in the end")
async def agreement(args):
    dice = random.Random(7)
    with Fixture() as f:
        watchers = await f.clients(4, "collaboration")
        known = {}  # of each watcher: {connectionId: position or None}
        for w in watchers:
            known[me(w)] = {c: p for user in users(w.joined).values() for c, p in user.items()}

        def follow(state):
            def take(message):
                data = message["data"]
                if message["type"] == "user:joined":
                    check(data["connectionId"] not in state, "joined twice: %s", message)
                    state[data["connectionId"]] = None
                elif message["type"] == "user:left":
                    check(state.pop(data["connectionId"], 0) != 0, "left without having joined: %s", message)
                else:
                    check(data["connectionId"] in state, "a cursor of nobody: %s", message)
                    state[data["connectionId"]] = (data["table"], data["row"], data["column"]) if data["table"] else None
            return take
        for w in watchers:
            while w.events:
                follow(known[me(w)])(w.events.pop(0))
            w.consume = follow(known[me(w)])
        alive, truth = [], {me(w): None for w in watchers}
        for step in range(150 if args.quick else 600):
            what = dice.random()
            if what < 0.25 or len(alive) < 3:
                alive += await f.clients(1, "collaboration")
                truth[me(alive[-1])] = None
            elif what < 0.85:
                client = dice.choice(alive)
                truth[me(client)] = ("t", step, "c")
                await client.send({"type": "user:cursor", "data": {"table": "t", "row": step, "column": "c"}})
            elif what < 0.95:
                client = alive.pop(dice.randrange(len(alive)))
                del truth[me(client)]
                await client.close()
            else:
                client = alive.pop(dice.randrange(len(alive)))
                del truth[me(client)]
                client.socket.transport.abort()
        end = asyncio.get_running_loop().time() + seconds(10)
        while any(k != truth for k in known.values()) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        for k in known.values():
            equal(k, truth, "what a watcher knows")
        late, = await f.clients(1, "collaboration")
        truth[me(late)] = None
        equal({c: p for user in users(late.joined).values() for c, p in user.items()}, truth, "a late joiner's state")
        await close(*watchers, *alive, late)


if __name__ == "__main__":
    main()
