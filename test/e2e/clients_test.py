#!/usr/bin/python3
"""Clients that people already have: python3-websockets, npm `ws`, curl, and `new WebSocket` in a browser."""
import asyncio
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
import exposition  # noqa: E402
from harness import Authority, Directory, Server, Skip, case, check, equal, in_thread, main, seconds, websockets  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def start(directory, *options, **named):
    server = Server(directory.file("clients.db"), "--heartbeat", "1", "--compress-min-size", "100", *options, **named)
    server.sql("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, age INTEGER)")
    return server


def node():
    program = shutil.which("node") or shutil.which("nodejs")
    if not program:
        raise Skip("node is not installed")
    if not os.path.isdir(os.path.join(HERE, "node_modules", "ws")):
        raise Skip("npm `ws` is not installed: npm ci in test/e2e")
    return program


@case("python3-websockets as its users write it, with its default compression and pings")
async def python():
    with Directory() as directory:
        server = start(directory)
        async with websockets().connect(server.ws_url) as socket:
            equal(json.loads(await socket.recv())["type"], "connection:ack", "first message")
            await socket.send(json.dumps({"type": "subscribe", "table": "users", "filter": ["age>=18", "name!=Bob"]}))
            equal(json.loads(await socket.recv())["type"], "subscribed", "reply")
            await in_thread(server.sql, "INSERT INTO users VALUES (1, 'Kid', 3), (2, 'Ada', 36), (3, 'Bob', 40)")
            message = json.loads(await asyncio.wait_for(socket.recv(), seconds(10)))
            equal((message["event"], message["data"]), ("INSERT", {"id": 2, "name": "Ada", "age": 36}), "message")
            await asyncio.wait_for(await socket.ping(), seconds(10))
            await asyncio.sleep(2.5)  # two heartbeats
            await in_thread(server.sql, "DELETE FROM users")
            equal(json.loads(await asyncio.wait_for(socket.recv(), seconds(10)))["event"], "DELETE", "event")
        equal(socket.close_code, 1000, "close code")
        server.stop()


@case("npm ws: subscribes, receives what its filter says, answers the server's pings")
def npm_ws():
    with Directory() as directory:
        server = start(directory)
        process = subprocess.Popen([node(), os.path.join(HERE, "ws_client.mjs"), server.ws_url, "users", "age>=18", "3"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            check(json.loads(process.stdout.readline())["ready"], "not ready")
            lines = []
            for line in process.stdout:  # the first ping, then the changes
                lines.append(json.loads(line))
                if "ping" in lines[-1]:
                    break
            server.sql("INSERT INTO users VALUES (1, 'Kid', 3), (2, 'Ada', 36), (3, '" + "x" * 70000 + "', 40)")
            server.sql("UPDATE users SET age = 18 WHERE id = 1")
            out, err = process.communicate(timeout=seconds(20))
            lines = [json.loads(line) for line in out.splitlines()]
            changes = [m for m in lines if m.get("type") == "database_change"]
            equal([(m["event"], m["key"]["id"], m.get("transition")) for m in changes],
                  [("INSERT", 2, None), ("INSERT", 3, None), ("UPDATE", 1, "enter")], err)
            equal(len(changes[1]["data"]["name"]), 70000, "length of a long text")
            equal(lines[-1], {"closed": 1000}, "close code")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        server.stop()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@case("a browser: new WebSocket and fetch on the same origin work, a page of another origin is refused")
def browser():
    with Directory() as directory:
        server = start(directory)
        browse(directory, server)
        server.stop()


@case("the same over wss and https")
def secure_browser():
    with Directory() as directory:
        authority = Authority(directory.path)
        cert, key = authority.issue("server")
        server = start(directory, "--tls-cert", cert, "--tls-key", key, authority=authority)
        browse(directory, server)
        check(server.said("dialect=native tls=TLSv1.3"), "no connection with TLS:\n%s", server.stderr()[-2000:])
        server.stop()


def browse(directory, server):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        raise Skip("no Chromium is installed")
    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HERE))
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    try:
        done = subprocess.run([node(), os.path.join(HERE, "browser.mjs"), program, directory.file("profile"), server.url,
                               f"http://127.0.0.1:{foreign.server_address[1]}/package.json"],
                              capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    finally:
        foreign.shutdown()
        foreign.server_close()
    equal(done.returncode, 0, done.stderr)
    saw = json.loads(done.stdout)
    change = next(m for m in saw["seen"] if m["type"] == "database_change")
    equal(change["data"], {"id": 2, "name": "Zoë", "age": 20}, "change")
    equal(next(m for m in saw["seen"] if m["type"] == "fetch")["status"], 200, "status of fetch")
    equal((saw["code"], saw["clean"]), (1000, True), "close")
    compression = server.get("/api/websocket/health").json["compression"]
    check(compression["messages"] > 0, "nothing went compressed: %s", compression)
    equal(saw["foreign"], "refused", "a page of another origin")
    equal(server.sql("SELECT count(*) FROM users")["rows"], [[2]], "rows after the other page's attempt")


@case("curl upgrades and sees the greeting")
def curl():
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    with Directory() as directory:
        server = start(directory)
        done = subprocess.run(["curl", "-sS", "-i", "-N", "--http1.1", "--max-time", "1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
                               "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", server.url + "/ws"],
                              capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        check(b" 101 " in done.stdout.split(b"\r\n")[0] and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in done.stdout
              and b"connection:ack" in done.stdout, "%r", done.stdout)
        server.stop()


def ask(server, path, *options):
    """(status, content type, body) as curl has them."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "-w", "\\n%{http_code} %{content_type}", *options, server.url + path],
                          capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    equal((done.returncode, done.stderr), (0, ""), f"curl {path}")
    body, _, last = done.stdout.rpartition("\n")
    status, _, content = last.partition(" ")
    return int(status), content, body


def posted(server, path, body):
    status, content, text = ask(server, path, "-H", "Content-Type: application/json", "-d", json.dumps(body))
    equal((status, content), (200, "application/json"), f"POST {path}: {text[:300]}")
    return json.loads(text)


def got(server, path):
    status, content, text = ask(server, path)
    equal((status, content), (200, "application/json"), f"GET {path}: {text[:300]}")
    return json.loads(text)


@case("curl asks every endpoint")
def endpoints():
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    with Directory() as directory:
        server = start(directory)
        sql = posted(server, "/api/sql", {"sql": "INSERT INTO users(name, age) VALUES (?, 36) RETURNING id", "params": ["Ada"]})
        equal((sql["columns"], sql["rows"], sql["changes"], sql["seq"]), (["id"], [[1]], 1, 2), "POST /api/sql")
        health = got(server, "/health")
        equal((health["status"], health["connectedClients"], health["database"]["seq"]), ("ok", 0, 2), "/health")
        check({"activeConnections", "healthyConnections", "averageLatency", "compression"} <= set(got(server, "/api/websocket/health")), "figures")
        equal(set(got(server, "/api/ws/status")), {"connectedClients", "uptime"}, "/api/ws/status")
        equal([t["name"] for t in got(server, "/api/tables")["tables"]], ["users"], "/api/tables")
        equal([c["name"] for c in got(server, "/api/tables/users")["columns"]], ["id", "name", "age"], "/api/tables/users")
        realtime = got(server, "/api/realtime")
        equal((realtime["status"], realtime["wsUrl"]), ("ready", server.ws_url), "/api/realtime")
        equal(got(server, "/api/realtime/stats")["clientCount"], 0, "/api/realtime/stats")
        sync = posted(server, "/api/realtime", {"type": "SYNC", "operations": [{"type": "INSERT", "table": "users", "data": {"name": "Bob"}}]})
        equal((sync["success"], len(sync["results"])), (True, 1), "POST /api/realtime")
        equal([c["data"]["name"] for c in got(server, "/api/changes?table=users&events=insert&since=2")], ["Bob"], "long poll")
        equal(posted(server, "/api/ws/broadcast", {"channel": "room:1", "type": "said", "data": 1}), {"success": True, "delivered": 0}, "broadcast")
        status, content, body = ask(server, "/metrics")
        check(status == 200 and content.startswith("text/plain"), "/metrics: %s %s", status, content)
        families = exposition.parse(body)
        exposition.check(families)
        check(len(families) > 10, "only %d families", len(families))
        for path, kind in (("/", "text/html"), ("/rowtap.js", "text/javascript"), ("/console.css", "text/css")):
            status, content, body = ask(server, path)
            check(status == 200 and content.startswith(kind) and len(body) > 1000, "%s: %s %s", path, status, content)
        status, content, body = ask(server, "/nowhere")
        equal((status, content, json.loads(body)["error"]["code"]), (404, "application/json", "NOT_FOUND"), "/nowhere")
        server.stop()


@case("all that the console loads is served, and nothing comes from elsewhere")
def console_files():
    with Directory() as directory:
        server = start(directory)
        seen, todo = set(), ["/"]
        while todo:
            path = todo.pop()
            answer = server.get(path)
            text = answer.body.decode()
            equal(answer.status, 200, path)
            seen.add(path)
            names = re.findall(r"""(?:src|href)="(/[^"]+)"|from '\./([^']+)'""", text)
            todo += [p for p in ("/" + (a or b).lstrip("/") for a, b in names) if p not in seen | set(todo)]
            foreign = re.findall(r"""(?:src=|href=|@import|url\()\s*["']?(?:https?:)?//[^"' )]+""", text)
            equal(foreign, [], f"addresses of others in {path}")
        check({"/console.js", "/console.css", "/rowtap.js"} <= seen and len(seen) > 6, "%s", seen)
        server.stop()


if __name__ == "__main__":
    main()
