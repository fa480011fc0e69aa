#!/usr/bin/python3
"""request/response over the socket, the long poll, and /api/realtime, as a client would use them."""
import asyncio
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Client, Directory, Http, RawSocket, Server, case, check, dumps, equal, in_thread, main,  # noqa: E402
                     seconds)

USERS = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT)"


async def ask(client, action, /, timeout=20, **arguments):
    """A request; its response's payload, or the error's."""
    client.next_id += 1
    mine = f"q{client.next_id}"
    await client.send({"type": "request", "requestId": mine, "payload": {"action": action, **arguments}})
    await client.wait(lambda: mine in client.replies, timeout, f"response to {action}")
    reply = client.replies.pop(mine)
    equal(reply["type"], "response" if reply["payload"]["success"] else "error", "type")
    return reply["payload"]


async def refused(client, code, action, **arguments):
    payload = await ask(client, action, **arguments)
    equal((payload["success"], payload.get("error", {}).get("code")), (False, code), f"{action} {arguments}")
    return payload["error"]


# ---- requests --------------------------------------------------------------------------------

@case("every action answers what HTTP answers")
async def same_as_http():
    with Directory() as d, Server(d.file("r.db")) as server:
        server.sql(USERS)
        client = await Client.open(server)
        moving = {"uptime", "timestamp", "durationMs", "messagesReceived", "messagesSent", "bytesReceived", "bytesSent",
                  "averageFrameSize", "averageLatency", "largestMessage", "wsUrl", "messageCount", "success", "history", "queuedBytes"}

        def still(value):
            if isinstance(value, dict):
                return {k: still(v) for k, v in value.items() if k not in moving and "ize" not in k}
            return [still(v) for v in value] if isinstance(value, list) else value

        for action, path in (("health", "/health"), ("websocketHealth", "/api/websocket/health"),
                             ("status", "/api/ws/status"), ("stats", "/api/realtime/stats"),
                             ("realtime", "/api/realtime"), ("tables", "/api/tables")):
            payload = await ask(client, action)
            equal(payload["success"], True)
            answer = await in_thread(server.get, path)
            equal(set(payload) - {"success"}, set(answer.json), f"members of {action}")
            equal(still(payload), still(answer.json), action)
        table = await ask(client, "table", table="USERS")
        equal(still(table), server.get("/api/tables/users").json)
        await refused(client, "NOT_FOUND", "table", table="nobody")
        for body in ({"sql": "SELECT 1 AS one, 'a' AS a"}, {"sql": "SELECT :x AS x", "params": {"x": 2.5}},
                     {"sql": "INSERT INTO users(name) VALUES(?); SELECT count(*) FROM users", "params": ["x"]},
                     {"statements": [{"sql": "SELECT 1"}, {"sql": "SELECT ?", "params": [None]}]}):
            payload = await ask(client, "sql", **body)
            answer = (await in_thread(server.post, "/api/sql", body)).json
            if "INSERT" in body.get("sql", ""):
                payload["rows"][0][0] += 1
                payload["seq"] += 1
                payload["lastInsertRowid"] += 1
            equal(still(payload), still(answer), str(body))
        for body in ({"sql": "SELEC"}, {"sql": "SELECT nope"}, {"sql": "ATTACH 'x' AS y"}, {"sql": "SELECT ?", "params": [1, 2]},
                     {"statements": [{"sql": "SELECT 1"}, {"sql": "nope"}]}, {"statements": [{"sql": "BEGIN"}]},
                     {"statements": []}, {"sql": 1}, {}):
            payload = await ask(client, "sql", **body)
            equal(payload["error"], (await in_thread(server.post, "/api/sql", body)).json["error"], str(body))
        await client.close()


@case("subscribe, unsubscribe and ping as requests; a snapshot's answer too")
async def commands():
    with Directory() as d, Server(d.file("r.db")) as server:
        server.sql(USERS)
        server.sql("INSERT INTO users(name) VALUES('Ada')")
        client = await Client.open(server)
        first = await ask(client, "subscribe", table="users", filter="age>=18")
        equal(first, {"success": True, "subscription": "s1", "table": "users", "seq": 2})
        await ask(client, "sql", sql="INSERT INTO users(name,age) VALUES('Bob',5),('Cy',40)")
        event = await client.next("database_change")
        equal((event["data"]["name"], event["subscriptions"]), ("Cy", ["s1"]))
        second = await ask(client, "subscribe", table="users", snapshot=True)
        equal((second["success"], second["subscription"], second["seq"]), (True, "s2", 4))
        snapshot = await client.next("snapshot")
        equal([row["data"]["name"] for row in snapshot["data"]["rows"]], ["Ada", "Bob", "Cy"])
        equal(await ask(client, "unsubscribe", subscription="s1"), {"success": True, "subscription": "s1"})
        await refused(client, "NOT_FOUND", "unsubscribe", subscription="s1")
        await refused(client, "INVALID_FILTER", "subscribe", table="users", filter="nope=1")
        await refused(client, "NOT_FOUND", "subscribe", table="nobody", snapshot=True)
        equal((await ask(client, "subscribe", channel="tables"))["channel"], "tables")
        pong = await ask(client, "ping", sentAt=17)
        equal(pong["sentAt"], 17)
        check(abs(pong["timestamp"] - time.time() * 1000) < 60000, "%s", pong)
        await refused(client, "NOT_FOUND", "dance")
        await client.close()


@case("what is wrong with a request itself")
async def malformed():
    with Directory() as d, Server(d.file("r.db")) as server:
        client = await Client.open(server)
        for message, code in (({"type": "request", "payload": {"action": "ping"}}, "INVALID_FORMAT"),
                              ({"type": "request", "requestId": None, "payload": {"action": "ping"}}, "INVALID_FORMAT"),
                              ({"type": "request", "requestId": {}, "payload": {"action": "ping"}}, "INVALID_FORMAT"),
                              ({"type": "request", "requestId": "x" * 300, "payload": {"action": "ping"}}, "INVALID_FORMAT")):
            await client.send(message)
            error = await client.next("error")
            equal(error["error"]["code"], code, str(message))
        for i, message in enumerate(({"payload": {}}, {"payload": []}, {"payload": {"action": 5}}, {})):
            await client.send({"type": "request", "requestId": i, **message})
            await client.wait(lambda: i in client.replies)
            equal(client.replies[i]["error"]["code"], "INVALID_FORMAT", str(message))
        await client.close()


@case("many at once: answered as they are done, each with its own id; too many are refused")
async def many():
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000000) SELECT ?, count(*) FROM n"
    with Directory() as d, Server(d.file("r.db"), "--max-requests", 20) as server:
        client = await Client.open(server)
        await client.send({"type": "request", "requestId": "slow", "payload": {"action": "sql", "sql": slow, "params": [0]}})
        for i in range(15):
            await client.send({"type": "request", "requestId": i, "payload": {"action": "sql", "sql": "SELECT ?", "params": [i]}})
        await client.wait(lambda: len(client.replies) >= 15)
        check("slow" not in client.replies, "the slow one came first")
        for i in range(15):
            equal(client.replies.pop(i)["payload"]["rows"], [[i]])
        await client.wait(lambda: "slow" in client.replies, 60)
        equal(client.replies.pop("slow")["payload"]["rows"], [[0, 3000000]])
        forever = slow.replace("3000000", "1000000000000")
        for i in range(25):
            await client.send({"type": "request", "requestId": i, "payload": {"action": "sql", "sql": forever, "params": [i]}})
        await client.wait(lambda: len(client.replies) >= 5)
        equal(sorted(client.replies), list(range(20, 25)))
        equal({r["error"]["code"] for r in client.replies.values()}, {"LIMIT_EXCEEDED"})
        # What answers at once is not held up, and needs no place.
        equal((await ask(client, "status"))["connectedClients"], 1)
        begun = server.cpu_seconds()
        await client.close()
        # The client has gone, and so have its queries.
        deadline = time.monotonic() + seconds(10)
        while time.monotonic() < deadline:
            begun = server.cpu_seconds()
            await asyncio.sleep(0.5)
            if server.cpu_seconds() - begun < 0.1:
                break
        check(server.cpu_seconds() - begun < 0.2, "queries go on without their client")


@case("a write over the socket: its event comes first, `self:false` leaves it out")
async def writes():
    with Directory() as d, Server(d.file("r.db")) as server:
        server.sql(USERS)
        client, other = await Client.open(server), await Client.open(server)
        for c in (client, other):
            await c.send({"type": "subscribe", "table": "users", "self": False})
            await c.next("subscribed")
        order = []
        other.consume = lambda m: order.append(m["type"])
        for i in range(20):
            payload = await ask(client, "sql", sql="INSERT INTO users(name) VALUES(?)", params=[str(i)])
            equal(payload["seq"], i + 2)
        await other.wait(lambda: len(order) == 20)
        await client.quiet()
        payload = await ask(other, "sql", sql="DELETE FROM users")
        await client.wait(lambda: len(client.events) == 20)
        for c in (client, other):
            await c.close()


@case("an answer larger than may wait for the client is an error, and the connection stays")
async def large():
    with Directory() as d, Server(d.file("r.db"), "--max-queue", "256KiB") as server:
        client = await Client.open(server)
        await refused(client, "TOO_LARGE", "sql", sql="SELECT hex(zeroblob(200000))")
        equal(len((await ask(client, "sql", sql="SELECT hex(zeroblob(50000))"))["rows"][0][0]), 100000)
        await client.close()


@case("the server stops: a request that still runs is told, then 1012")
async def ends():
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n"
    with Directory() as d:
        server = Server(d.file("r.db"))
        client = await Client.open(server)
        await client.send({"type": "request", "requestId": "r", "payload": {"action": "sql", "sql": forever}})
        await asyncio.sleep(0.3)
        await in_thread(server.stop)
        await client.wait_closed()
        equal(client.replies["r"]["error"]["code"], "QUERY_CANCELLED")
        equal(client.closed[0], 1012)


# ---- the long poll ---------------------------------------------------------------------------

def poll(http, query, headers=None):
    answer = http.request("GET", "/api/changes?" + query, None, headers)
    equal(answer.status, 200, f"status: {answer}")
    return answer.json, answer.headers["Rowtap-Position"]


@case("a long poll waits, and its position goes on from there: nothing lost, nothing twice")
def loop():
    with Directory() as d, Server(d.file("p.db")) as server:
        http, writer = Http(server), Http(server)
        writer.sql(USERS)
        changes, position = poll(http, "table=users&timeout=0")
        equal(changes, [])
        total = 300

        def write():
            for i in range(total):
                writer.sql("INSERT INTO users(name,age) VALUES(?,?)", [f"n{i}", i])
                if i % 50 == 0:
                    time.sleep(0.05)

        thread = threading.Thread(target=write)
        thread.start()
        seen = []
        while len(seen) < total:
            changes, position = poll(http, f"table=users&limit=40&timeout=20&since={position}")
            check(0 < len(changes) <= 40, "%d changes in an answer", len(changes))
            seen += [c["data"]["age"] for c in changes]
            equal(position, changes[-1]["id"])
        thread.join()
        equal(seen, list(range(total)))
        equal(poll(http, f"table=users&timeout=0&since={position}"), ([], position))


@case("filters, events, columns; the object is the WebSocket's")
async def same_object():
    with Directory() as d, Server(d.file("p.db")) as server:
        server.sql(USERS)
        client = await Client.open(server)
        await client.subscribe("users", filter="age>=18", events=["update"], columns=["id", "age"])
        waiting = asyncio.ensure_future(in_thread(poll, Http(server), "table=users&filter=age%3E%3D18&events=update&columns=id,age&timeout=20"))
        await asyncio.sleep(seconds(0.5))
        await in_thread(server.sql, "INSERT INTO users VALUES(1,'a',5); UPDATE users SET age=20; UPDATE users SET age=6")
        changes, _ = await waiting
        # The first transaction answers it; the second is for the next poll.
        equal([c["transition"] for c in changes][:1], ["enter"])
        event = await client.next("database_change")
        equal(changes[0], event)
        await client.close()


@case("what a long poll cannot give: the past, tables, parameters, a body")
def poll_errors():
    with Directory() as d, Server(d.file("p.db"), "--history", 2000) as server:
        http = Http(server)
        http.sql(USERS)
        for i in range(200):
            http.sql("INSERT INTO users(name) VALUES('x')")
        for since, reason in (("0", None), ("1", "history_lost"), ("nobody:5", "epoch_changed"), ("9999", "future")):
            changes, position = poll(http, f"table=users&since={since}&timeout=0")
            if reason:
                equal([(c["type"], c["reason"]) for c in changes], [("resync", reason)], since)
            equal(position.rpartition(":")[2], "201")
        for query, status, code in (("table=nobody", 404, "NOT_FOUND"), ("table=users&filter=nope%3D1", 400, "INVALID_FILTER"),
                                    ("timeout=61", 400, "INVALID_FORMAT"), ("timeout=x", 400, "INVALID_FORMAT"), ("timeout=-1", 400, "INVALID_FORMAT"),
                                    ("timeout=", 400, "INVALID_FORMAT"), ("limit=0", 400, "INVALID_FORMAT"), ("limit=10001", 400, "INVALID_FORMAT"),
                                    ("snapshot=1", 400, "INVALID_FORMAT"), ("batch=1", 400, "INVALID_FORMAT"), ("nope=1", 400, "INVALID_FORMAT"),
                                    ("timeout=1&timeout=1", 400, "INVALID_FORMAT"), ("since=x", 400, "INVALID_FORMAT"), ("a=%zz", 400, "INVALID_FORMAT")):
            answer = http.request("GET", "/api/changes?" + query)
            equal((answer.status, answer.code), (status, code), query)
        equal(http.request("GET", "/api/changes?timeout=0", b"x").status, 400)
        equal(http.request("POST", "/api/changes", {}).status, 405)
        head = http.request("HEAD", "/api/changes?table=users")
        equal((head.status, head.body, head.headers["Content-Type"]), (200, b"", "application/json"))


@case("an answer is no larger than may wait for a client; a change that is ends the poll with an error")
def poll_queue():
    with Directory() as d, Server(d.file("p.db"), "--max-queue", "64KiB") as server:
        http = Http(server)
        http.sql(USERS)
        for i in range(60):
            http.sql("INSERT INTO users(name) VALUES(hex(zeroblob(2000)))")
        position, seen = "0", 0
        while True:
            changes, position = poll(http, f"table=users&since={position}&timeout=0")
            seen += len([c for c in changes if c["type"] == "database_change"])
            if not changes:
                break
            check(len(dumps(changes)) < 65536, "%d bytes", len(dumps(changes)))
        equal(seen, 60)
        http.sql("INSERT INTO users(name) VALUES(hex(zeroblob(50000)))")
        answer = http.request("GET", f"/api/changes?table=users&since={position}&timeout=0")
        equal((answer.status, answer.code), (400, "LIMIT_EXCEEDED"))


@case("500 long polls wait without a thread each; one change answers them all; those that leave are forgotten")
def crowd():
    with Directory() as d, Server(d.file("p.db")) as server:
        server.sql(USERS)
        before = server.threads()
        sockets = []
        for i in range(500):
            s = RawSocket(server, timeout=30)
            s.send(f"GET /api/changes?table=users&filter=age%3D{i % 10}&timeout=60 HTTP/1.1\r\nHost: {s.host}\r\n\r\n".encode())
            sockets.append(s)
        deadline = time.monotonic() + seconds(20)
        while server.get("/health").json["connectedClients"] < 500 and time.monotonic() < deadline:
            time.sleep(0.05)
        equal(server.get("/health").json["connectedClients"], 500)
        check(server.threads() <= before + 2, "%d threads", server.threads() - before)
        for s in sockets[400:]:
            s.close()
        server.sql("INSERT INTO users(name,age) VALUES('x',3)")
        for i, s in enumerate(sockets[:400]):
            if i % 10 == 3:
                check(s.head().startswith("HTTP/1.1 200 "), "no answer")
        deadline = time.monotonic() + seconds(20)
        while server.get("/health").json["connectedClients"] > 360 and time.monotonic() < deadline:
            time.sleep(0.05)
        equal(server.get("/health").json["connectedClients"], 360)
        for s in sockets[:400]:
            s.close()


@case("a long poll that waits when the server stops is told to come back")
def stop():
    with Directory() as d:
        server = Server(d.file("p.db"))
        s = RawSocket(server)
        s.send(f"GET /api/changes?timeout=60 HTTP/1.1\r\nHost: {s.host}\r\n\r\n".encode())
        while server.get("/health").json["connectedClients"] < 1:
            time.sleep(0.02)
        server.stop()
        head = s.head()
        check(head.startswith("HTTP/1.1 503 ") and "\r\nRetry-After: 1" in head, "%s", head)


# ---- /api/realtime ---------------------------------------------------------------------------

def sync(http, *operations):
    return http.request("POST", "/api/realtime", {"type": "SYNC", "operations": list(operations)})


@case("GET /api/realtime and /api/realtime/stats")
async def realtime():
    with Directory() as d, Server(d.file("s.db"), "--loops", 3) as server:
        answer = server.get("/api/realtime").json
        equal((answer["status"], answer["wsUrl"], answer["userId"]), ("ready", server.ws_url, None))
        equal(server.get("/api/realtime", {"Host": f"localhost:{server.port}"}).json["wsUrl"], f"ws://localhost:{server.port}/ws")
        clients = [await Client.open(server) for _ in range(7)]
        for i, client in enumerate(clients):
            for _ in range(i):
                await client.request("ping")
        stats = (await in_thread(server.get, "/api/realtime/stats")).json
        equal((stats["clientCount"], len(stats["clients"])), (7, 7))
        wanted = {c.ack["data"]["connectionId"]: i for i, c in enumerate(clients)}
        equal({c["id"]: c["messageCount"] for c in stats["clients"]}, wanted)
        for c in stats["clients"]:
            equal((c["userId"], c["isAlive"]), (None, True))
            check(abs(c["connectedAt"] - time.time() * 1000) < 60000, "%s", c)
        few = server.get("/api/realtime/stats?limit=3").json
        equal((few["clientCount"], len(few["clients"])), (7, 3))
        equal(server.get("/api/realtime/stats?limit=x").status, 400)
        for path in ("/api/realtime", "/api/realtime/stats"):
            equal(server.post(path, None, method="HEAD").body, b"")
            check("GET, HEAD" in server.post(path, None, method="OPTIONS").headers["Allow"], path)
            equal(server.post(path, None, method="DELETE").status, 405)
        for c in clients:
            await c.close()


@case("SYNC: rows by name in one transaction")
def sync_rows():
    with Directory() as d, Server(d.file("s.db")) as server:
        http = Http(server)
        http.sql(USERS)
        http.sql('CREATE TABLE "odd ""name"("a ""b" TEXT, "order" BLOB)')
        answer = sync(http, {"type": "INSERT", "table": "users", "data": {"name": "Ada", "age": 36}},
                      {"type": "insert", "table": "USERS", "data": {"NAME": "Bob"}},
                      {"type": "UPDATE", "table": "users", "data": {"age": 37}, "key": {"id": 1}},
                      {"type": "UPDATE", "table": "users", "data": {"age": 5}, "where": {"age": None, "name": "Bob"}},
                      {"sql": "SELECT name, age FROM users WHERE age > ? ORDER BY id", "params": [0]})
        equal(answer.status, 200, str(answer))
        body = answer.json
        equal(body["success"], True)
        equal([r["changes"] for r in body["results"]], [1, 1, 1, 1, 0])
        equal(body["results"][4]["rows"], [["Ada", 37], ["Bob", 5]])
        equal(body["seq"], 6)
        check(abs(body["timestamp"] - time.time() * 1000) < 60000, "%s", body)
        equal(sync(http, {"type": "DELETE", "table": "users", "key": {"id": 2}}, {"type": "DELETE", "table": "users", "key": {"id": 99}}
                   ).json["results"][1]["changes"], 0)
        nasty = 'x"; DROP TABLE users; --'
        equal(sync(http, {"type": "INSERT", "table": 'odd "name', "data": {'a "b': nasty, "order": {"$base64": "AAE="}}},
                   {"type": "UPDATE", "table": 'odd "name', "data": {"order": 1.5}, "key": {"rowid": 1}}).status, 200)
        equal(http.sql('SELECT * FROM "odd ""name"')["rows"], [[nasty, 1.5]])
        equal(sync(http).json["results"], [])


@case("SYNC: one that fails undoes all, and says which it was")
def sync_errors():
    good = {"type": "INSERT", "table": "users", "data": {"name": "x"}}
    with Directory() as d, Server(d.file("s.db")) as server:
        http = Http(server)
        http.sql(USERS)
        for bad, status, code in (
                ({"type": "INSERT", "table": "nobody", "data": {"a": 1}}, 404, "NOT_FOUND"),
                ({"type": "INSERT", "table": "sqlite_schema", "data": {"name": 1}}, 404, "NOT_FOUND"),
                ({"type": "INSERT", "table": "users", "data": {"nope": 1}}, 404, "NOT_FOUND"),
                ({"type": "UPDATE", "table": "users", "data": {"age": 1}, "key": {"name\" IS NOT NULL --": 1}}, 404, "NOT_FOUND"),
                ({"type": "INSERT", "table": "users", "data": {"name": None}}, 400, "SQL_ERROR"),
                ({"sql": "SELECT nope"}, 400, "SQL_ERROR"), ({"sql": "COMMIT"}, 403, "FORBIDDEN"),
                ({"sql": "ATTACH 'x' AS y"}, 403, "FORBIDDEN")):
            answer = sync(http, good, bad)
            equal((answer.status, answer.code), (status, code), str(bad))
            equal((answer.json["success"], answer.json["results"], answer.json["error"]["operation"]), (False, [], 1), str(bad))
        for bad in ({"type": "INSERT", "table": "users"}, {"type": "UPDATE", "table": "users", "data": {"age": 1}},
                    {"type": "UPDATE", "table": "users", "data": {}, "key": {"id": 1}}, {"type": "DELETE", "table": "users"},
                    {"type": "DELETE", "table": "users", "key": {}}, {"type": "DELETE", "table": 7, "key": {"id": 1}},
                    {"type": "DELETE", "table": "users", "key": {"id": 1}, "where": {"id": 1}}, {"type": "MERGE", "table": "users", "data": {}},
                    {"type": "INSERT", "table": "users", "data": {"name": []}}, {"type": "INSERT", "table": "users", "data": {"name": "x"}, "key": {"id": 1}},
                    {"sql": 5}, {}, 5, None):
            answer = sync(http, good, bad)
            equal((answer.status, answer.code), (400, "INVALID_FORMAT"), str(bad))
            check("operations[1]" in answer.json["error"]["message"], "%s", answer)
        equal(http.sql("SELECT count(*) FROM users")["rows"], [[0]])
        for body, headers, status in ((b"{}", {}, 400), (b"[]", {}, 400), (b"{", {}, 400), (b'{"type":"SYNC"}', {}, 400),
                                      (b'{"type":"PUSH","operations":[]}', {}, 400), (b'{"type":"SYNC","operations":{}}', {}, 400),
                                      (b'{"type":"SYNC","operations":[],"x":1}', {}, 400), (b"\xff", {}, 400),
                                      (b'{"type":"SYNC","operations":[]}', {"Content-Type": "text/plain"}, 415),
                                      (b'{"type":"SYNC","operations":[]}', {"Origin": "http://evil.example"}, 403)):
            equal(http.request("POST", "/api/realtime", body, headers).status, status, f"{body} {headers}")


@case("SYNC over the socket")
async def sync_socket():
    with Directory() as d, Server(d.file("s.db")) as server:
        server.sql(USERS)
        client = await Client.open(server)
        payload = await ask(client, "sync", operations=[{"type": "INSERT", "table": "users", "data": {"name": "x"}},
                                                        {"sql": "SELECT name FROM users"}])
        equal((payload["results"][0]["changes"], payload["results"][1]["rows"]), (1, [["x"]]))
        error = await refused(client, "NOT_FOUND", "sync", operations=[{"type": "DELETE", "table": "users", "key": {"nope": 1}}])
        equal(error["operation"], 0)
        await refused(client, "INVALID_FORMAT", "sync")
        await client.close()


if __name__ == "__main__":
    main()
