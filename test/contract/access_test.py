#!/usr/bin/python3
"""Who may ask at all, and how much: Host and Origin as an attacker would send them, content types,
the headers of pages, --listen, --rate, --trusted-proxy, --max-connections-per-address and the bounds
on what all clients together make the server hold."""
import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, RawSocket, Server, case, check, equal, error_code, main, note, run, seconds  # noqa: E402


def ask(server, lines, path="/api/tables", method="GET", version="1.1", body=""):
    """A request with exactly these header lines; the status of its answer, 0 when there is none."""
    raw = RawSocket(server)
    try:
        raw.send(f"{method} {path} HTTP/{version}\r\n".encode() + "".join(f"{x}\r\n" for x in lines).encode("latin-1")
                 + b"Connection: close\r\n\r\n" + body.encode())
        head = raw.head()
        return int(head.split()[1]) if head.startswith("HTTP/") else 0
    finally:
        raw.close()


def upgrade(server, lines):
    return ask(server, lines + ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], "/ws")


# ---- Host: a name of somebody else's that resolves to this machine ---------------------------

GOOD_HOSTS = ["localhost", "LocalHost", "localhost:{port}", "127.0.0.1", "127.0.0.1:{port}", "[::1]", "[::1]:{port}", "localhost:",
              "127.0.0.2:1", "app.test", "APP.TEST:{port}"]
BAD_HOSTS = ["evil.test", "evil.test:{port}", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test.", "localhost.", "app.test.",
             "0.0.0.0:{port}", "[::]:{port}", "10.0.0.1", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]",
             "[::1%25lo]", "localhost@evil.test", "evil.test@localhost", "localhost:{port}@evil.test", "localhost,evil.test",
             "localhost evil.test", "localhost/evil.test", "localhost:{port}:{port}", "localhost:+80", "localhost:99999",
             "localhost:-1", "[localhost]", "[127.0.0.1]", "[::1", "::1", "", ":{port}", "loc\xe4lhost", "x" * 300, "localhost\t.",
             "xn--localhost", "sub.app.test", "app.test.evil.test", "app_test"]


@case("Host: only the server's own names, however the others are written")
def hosts():
    with Directory() as d, Server(d.file("a.db"), "--origin", "http://app.test") as server:
        for host in GOOD_HOSTS:
            name = host.format(port=server.port)
            equal(ask(server, [f"Host: {name}"]), 200, f"Host: {name}")
            equal(upgrade(server, [f"Host: {name}"]), 101, f"upgrade with Host: {name}")
        for host in BAD_HOSTS:
            name = host.format(port=server.port)
            for path in ("/", "/health", "/metrics", "/api/tables", "/api/changes", "/rowtap.js", "/nothing"):
                check(ask(server, [f"Host: {name}"], path) in (400, 403), "%s with Host: %r is let in", path, name)
            check(upgrade(server, [f"Host: {name}"]) in (400, 403), "an upgrade with Host: %r is let in", name)
        for lines in (["Host: localhost", "Host: localhost"], ["Host: localhost", "Host: evil.test"], []):
            equal(ask(server, lines), 400, str(lines))
        # A target that is a whole URL stands for Host; neither may be another's.
        port = server.port
        check(ask(server, ["Host: localhost"], f"http://evil.test:{port}/api/tables") in (400, 403, 421))
        check(ask(server, ["Host: evil.test"], f"http://localhost:{port}/api/tables") in (400, 403, 421))
        check(ask(server, ["Host: localhost"], f"http://localhost@evil.test:{port}/api/tables") in (400, 403, 421))
        # Names that others send along are nobody's business.
        equal(ask(server, ["Host: evil.test", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"]), 403)


# ---- Origin: a page of somebody else's -------------------------------------------------------

GOOD_ORIGINS = ["http://localhost:{port}", "HTTP://LOCALHOST:{port}", "https://localhost:{port}", "http://app.test", "http://app.test:80",
                "http://APP.test"]
BAD_ORIGINS = ["null", "", "http://evil.test", "http://localhost", "http://localhost:1", "http://127.0.0.1:{port}", "http://[::1]:{port}",
               "http://localhost.:{port}", "http://localhost:{port}.evil.test", "http://localhost:{port}@evil.test",
               "http://evil.test@localhost:{port}", "http://localhost:{port}/", "http://localhost:{port}#", "http://localhost:{port}?",
               "http://evil.test/http://localhost:{port}", "ftp://localhost:{port}", "file://", "localhost:{port}", "//localhost:{port}",
               "http://localhost:{port} http://evil.test", "http://evil.test http://localhost:{port}", "http://localhost:{port},null",
               "https://app.test", "http://app.test:81", "http://app.test.", "http://sub.app.test", "http://xapp.test", "http://app.tes",
               "chrome-extension://abc", "*", "true", "http://localhost:0{port}0"]
GUARDED = [("GET", "/api/tables", ""), ("GET", "/api/changes?timeout=0", ""), ("GET", "/api/realtime", ""), ("GET", "/api/realtime/stats", ""),
           ("GET", "/api/ws/status", ""), ("POST", "/api/sql", '{"sql":"SELECT 1"}'), ("POST", "/api/realtime", '{"type":"SYNC","operations":[]}'),
           ("POST", "/api/ws/broadcast", '{"message":1}'), ("OPTIONS", "/api/sql", "")]


def with_body(lines, body):
    return lines + ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else lines


@case("Origin: the API and the WebSocket are for the server's own pages and those of --origin")
def origins():
    with Directory() as d, Server(d.file("a.db"), "--origin", "http://app.test") as server:
        host = f"Host: localhost:{server.port}"
        for origin in GOOD_ORIGINS:
            line = "Origin: " + origin.format(port=server.port)
            equal(upgrade(server, [host, line]), 101, line)
            for method, path, body in GUARDED:
                equal(ask(server, with_body([host, line], body), path, method, body=body), 200, f"{method} {path} with {line}")
        for origin in BAD_ORIGINS:
            line = "Origin: " + origin.format(port=server.port)
            equal(upgrade(server, [host, line]), 403, line)
            for method, path, body in GUARDED:
                equal(ask(server, with_body([host, line], body), path, method, body=body), 403, f"{method} {path} with {line}")
        for lines in (["Origin: http://app.test", "Origin: http://evil.test"], ["Origin: http://evil.test", "Origin: http://app.test"],
                      ["Origin: http://app.test", "Origin: http://app.test"]):
            equal(ask(server, [host, *lines]), 403, str(lines))
            equal(upgrade(server, [host, *lines]), 403, str(lines))


@case("CORS: only --origin may read answers, nobody gets * or credentials")
def cors():
    with Directory() as d, Server(d.file("a.db"), "--origin", "http://app.test") as server:
        def allowed(origin):
            answer = server.get("/health", {"Origin": origin} if origin else {})
            check("Access-Control-Allow-Credentials" not in answer.headers, "credentials")
            equal(answer.headers["Vary"], "Origin", "Vary")
            return answer.headers["Access-Control-Allow-Origin"]
        equal(allowed("http://app.test"), "http://app.test")
        for origin in (None, "null", "http://evil.test", f"http://{server.host}:{server.port}"):
            equal(allowed(origin), None, str(origin))
        answer = server.post("/api/sql", None, {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}, "OPTIONS")
        equal((answer.status, answer.headers["Access-Control-Allow-Methods"]), (403, None), "preflight of another page")


@case("what other pages embed is refused too, where the browser tells; links work")
def embedded():
    with Directory() as d, Server(d.file("a.db")) as server:
        for site, mode, wanted in (("cross-site", "no-cors", 403), ("same-site", "no-cors", 403), ("Cross-Site", None, 403),
                                   ("cross-site", "websocket", 403), ("cross-site", "navigate", 200), ("same-origin", "cors", 200),
                                   ("none", "navigate", 200), (None, None, 200)):
            headers = {k: v for k, v in (("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)) if v}
            equal(server.get("/api/tables", headers).status, wanted, str(headers))
            equal(server.get("/rowtap.js", headers).status, 200, f"/rowtap.js {headers}")


@case("a body is JSON and says so, for each that takes one")
def content_types():
    posts = [(p, b) for m, p, b in GUARDED if m == "POST"]
    with Directory() as d, Server(d.file("a.db")) as server:
        for path, body in posts:
            for good in ("application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=utf-8"):
                equal(server.post(path, body, {"Content-Type": good}).status, 200, f"{path} {good}")
            for bad in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json", "application/jsonx",
                        "application/json-patch+json", "text/plain; application/json", "application/json,text/plain", "*/*", "text/json"):
                answer = server.post(path, body, {"Content-Type": bad})
                equal((answer.status, answer.code), (415, "INVALID_FORMAT"), f"{path} {bad}")
            equal(ask(server, ["Host: localhost", f"Content-Length: {len(body)}"], path, "POST", body=body), 415, f"{path} without a type")


@case("headers: nobody guesses types, frames pages or learns where they were")
def headers():
    with Directory() as d, Server(d.file("a.db")) as server:
        for path in ("/", "/rowtap.js", "/console.js", "/console.css", "/health", "/metrics", "/api/tables", "/nothing", "/api/sql"):
            answer = server.get(path)
            equal(answer.headers["X-Content-Type-Options"], "nosniff", path)
            check("Server" not in answer.headers, "%s says what serves it: %s", path, answer.headers["Server"])
        page = server.get("/").headers
        policy = dict(p.strip().partition(" ")[::2] for p in page["Content-Security-Policy"].split(";"))
        equal(policy["default-src"], "'none'")
        equal(policy["frame-ancestors"], "'none'")
        equal(policy["script-src"], "'self'")
        equal(policy["base-uri"], "'none'")
        name = f"{server.host}:{server.port}"
        equal(policy["connect-src"], f"'self' ws://{name} wss://{name}")
        equal((page["X-Frame-Options"], page["Referrer-Policy"], page["Cross-Origin-Opener-Policy"]), ("DENY", "no-referrer", "same-origin"))
        check("unsafe" not in page["Content-Security-Policy"], "inline code is allowed")


@case("--listen beyond this machine is refused unless told --insecure")
def listen():
    with Directory() as d:
        for address in ("0.0.0.0:0", "*:0", "[::]:0", "192.0.2.1:80", "[2001:db8::1]:80", "128.0.0.1:80", "[::ffff:127.0.0.1]:80"):
            status, _, err = run("serve", d.file("a.db"), "--listen", address, env={"ROWTAP_LISTEN": "127.0.0.1:0"})
            equal(status, 2, address)
            check("--insecure" in err and address in err, "%s", err)
            status, _, err = run("serve", d.file("a.db"), "--listen", "127.0.0.1:0", "--listen", address)
            equal(status, 2, f"beside another, {address}")
            status, _, err = run("serve", d.file("a.db"), env={"ROWTAP_LISTEN": f"127.0.0.1:0,{address}"})
            equal(status, 2, f"from the environment, {address}")
        with Server(d.file("a.db"), "--insecure", listen="0.0.0.0:0") as server:
            server.host = "127.0.0.1"
            equal(server.get("/health").status, 200)
            equal(ask(server, ["Host: evil.test"]), 403, "Host is checked all the same")


# ---- how much --------------------------------------------------------------------------------

def connected(server, **headers):
    raw = RawSocket(server)
    head = raw.upgrade(**headers)
    check(head.startswith("HTTP/1.1 101 "), "%s", head)
    equal(raw.message()["type"], "connection:ack")
    return raw


def send_many(raw, count, message):
    """(how many were done, the refusals)"""
    for i in range(count):
        raw.text({**message, "requestId": i})
    answers = [raw.message() for _ in range(count)]
    return sum(error_code(a) != "RATE_LIMITED" for a in answers), [a for a in answers if error_code(a) == "RATE_LIMITED"]


KINDS = [("commands", {"type": "ping"}), ("commands", {"type": "subscribe", "table": "none"}), ("commands", {"type": "nonsense"}),
         ("queries", {"type": "request", "payload": {"action": "sql", "sql": "SELECT 1"}}),
         ("broadcasts", {"type": "broadcast", "channel": "room", "data": 1})]


@case("--rate: each kind of message has its own, and what is refused says when to go on")
def kinds():
    for kind, message in KINDS:
        with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--rate", f"{kind}=0.1/5") as server:
            raw = connected(server)
            done, refused = send_many(raw, 8, message)
            equal(done, 5, kind)
            for r in refused:
                check(0 < r["error"]["retryAfter"] <= 10000 and r["data"]["retryAfter"] == r["error"]["retryAfter"], "%s", r)
                check(isinstance(r["requestId"], int) and kind in r["error"]["message"], "%s", r)
            other = {"type": "ping"} if kind != "commands" else {"type": "broadcast", "channel": "room", "data": 1}
            equal(send_many(raw, 8, other)[0], 8, f"another kind than {kind}")
            raw.close()


@case("--rate: waiting as told is enough; cursors and query:start have theirs; nobody on this machine without --limit-loopback")
def waiting():
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--rate", "commands=20/5", "--rate", "cursors=0.1/3",
                                  "--rate", "queries=0.1/2") as server:
        raw = connected(server)
        for _ in range(4):
            done, refused = send_many(raw, 6, {"type": "ping"})
            check(done >= 1, "nothing was done")
            time.sleep((refused[-1]["error"]["retryAfter"] if refused else 50) / 1000 + 0.001)
            raw.text({"type": "ping", "requestId": "again"})
            equal(raw.message()["type"], "pong", "after waiting as told")
            time.sleep(0.3)
        raw.text({"type": "subscribe", "channel": "collaboration"})
        equal(raw.message()["type"], "subscribed")
        for i in range(5):
            raw.text({"type": "user:cursor", "data": {"table": "t", "row": i, "column": "a"}})
        equal([error_code(raw.message()) for _ in range(2)], ["RATE_LIMITED"] * 2, "cursors")
        for i in range(3):
            raw.text({"type": "query:start", "data": {"queryId": f"q{i}", "sql": "SELECT 1"}})
        types = []
        while sum(t in ("query:complete", "error") for t in types) < 3:
            message = raw.message()
            types.append(message["type"])
            if message["type"] == "error":
                equal((error_code(message), message["error"]["queryId"]), ("RATE_LIMITED", "q2"))
        raw.close()
    with Directory() as d, Server(d.file("a.db"), "--rate", "commands=0.1/1", "--rate", "http=0.1/1") as server:
        raw = connected(server)
        equal(send_many(raw, 50, {"type": "ping"})[0], 50)
        for _ in range(5):
            equal(server.get("/health").status, 200)
        raw.close()


@case("HTTP: 429 with Retry-After; SQL counts as over the socket; an EventSource is told to come back")
def http():
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--rate", "queries@address=0.1/3", "--rate", "broadcasts@address=0.1/2",
                                  "--rate", "http@address=2/60") as server:
        raw = connected(server)
        equal(send_many(raw, 2, KINDS[3][1])[0], 2)
        equal(server.post("/api/sql", {"sql": "SELECT 1"}).status, 200)
        for path, body in (("/api/sql", {"sql": "SELECT 1"}), ("/api/realtime", {"type": "SYNC", "operations": []})):
            answer = server.post(path, body)
            equal((answer.status, answer.code), (429, "RATE_LIMITED"), path)
            check(1 <= int(answer.headers["Retry-After"]) <= 10 and 0 < answer.json["error"]["retryAfter"] <= 10000, "%s", answer)
        equal(send_many(raw, 1, KINDS[3][1])[0], 0, "the socket has the same bucket of the address")
        equal([server.post("/api/ws/broadcast", {"message": 1}).status for _ in range(3)], [200, 200, 429])
        statuses = [server.get("/api/ws/status").status for _ in range(70)]
        check(40 <= statuses.count(200) < 65 and set(statuses) == {200, 429}, "%s", statuses)
        stream = server.get("/api/changes", {"Accept": "text/event-stream"})
        equal((stream.status, stream.body[:7]), (200, b"retry: "), "an event stream")
        check(RawSocket(server).upgrade().startswith("HTTP/1.1 429 "), "an upgrade")
        time.sleep(12)
        equal(server.get("/health").status, 200, "after a pause")
        raw.close()


@case("with tokens each user has buckets of their own, over all connections and HTTP, and the tier of the role")
def users():
    with Directory() as d:
        secret = d.file("secret")
        with open(secret, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("correct horse battery staple, forty characters")

        def bearer(user, *role):
            status, out, err = run("token", "--secret-file", secret, "--sub", user, *role)
            equal(status, 0, err)
            return {"Authorization": f"Bearer {out.strip()}"}
        ann, bob, admin = bearer("ann"), bearer("bob", "--role", "reader"), bearer("eve", "--role", "admin")
        with Server(d.file("a.db"), "--limit-loopback", "--jwt-secret-file", secret, "--rate", "queries@user=0.1/6",
                    "--rate", "admin:queries@user=0.1/9", "--rate", "http@user=0.1/12", "--rate", "admin:http@user=off") as server:
            def asks(who, times):
                return [server.post("/api/sql", {"sql": "SELECT 1"}, who).status for _ in range(times)]
            first, second = connected(server, **ann), connected(server, **ann)
            equal(send_many(first, 3, KINDS[3][1])[0] + send_many(second, 2, KINDS[3][1])[0], 5)
            equal(asks(ann, 3), [200, 429, 429], "the user's sixth query, and more")
            equal(send_many(first, 1, KINDS[3][1])[0] + send_many(second, 1, KINDS[3][1])[0], 0)
            equal(asks(bob, 7), [200] * 6 + [429], "another user of the same address, whose role has no tier")
            other = connected(server, **admin)
            equal(send_many(other, 8, KINDS[3][1])[0] + asks(admin, 3).count(200), 9, "the tier of a role")
            # With a new token for the same it is the same bucket.
            first.text({"type": "auth", "token": bearer("ann")["Authorization"][7:], "requestId": "t"})
            equal(first.message()["data"]["success"], True)
            equal(send_many(first, 1, KINDS[3][1])[0], 0, "after renewal")
            # Requests are counted to the user as well: bob has made seven.
            equal([server.get("/api/tables", bob).status for _ in range(7)], [200] * 5 + [429] * 2)
            equal([server.get("/api/tables", admin).status for _ in range(20)], [200] * 20)
            equal(server.get("/health").status, 200, "what needs no token is nobody's")
            for raw in (first, second, other):
                raw.close()


@case("who goes on all the same waits longer, is closed with 1008, and may not come back at once")
def stubborn():
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--rate", "commands=10/10") as server:
        good, raw = connected(server, X_Ignored="x"), connected(server)
        begun, longest, code, sent = time.monotonic(), 0, None, 0
        raw.socket.settimeout(seconds(20))
        while code is None and time.monotonic() - begun < seconds(20):
            raw.text({"type": "ping", "requestId": sent})
            sent += 1
            opcode, payload = raw.read_frame()
            if opcode == 8:
                code, = struct.unpack(">H", payload[:2])
            elif b"retryAfter" in payload:
                longest = max(longest, int(re.search(rb'"retryAfter":(\d+)', payload)[1]))
                time.sleep(0.001)
        taken = time.monotonic() - begun
        note(f"closed with {code} after {taken:.1f} s and {sent} messages, longest wait {longest} ms")
        equal(code, 1008)
        check(taken > 4.5 and sent > 1000 and longest > 500, "%.1f s, %d messages, %d ms", taken, sent, longest)
        head = RawSocket(server).upgrade()
        check(head.startswith("HTTP/1.1 429 ") and "\r\nRetry-After: 1\r\n" in head + "\r\n", "%s", head)
        equal(server.get("/health").status, 200, "HTTP is another matter")
        good.text({"type": "ping", "requestId": 1})
        equal(good.message()["type"], "pong", "others of the address are not closed")
        time.sleep(1.1)
        connected(server).close()
        check(server.said("stubborn client closed"), "the log does not say so")
        good.close()
        raw.close()


@case("handshakes have a rate; --max-connections-per-address bounds sockets, streams and polls of an address")
def connections():
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--max-connections-per-address", 3) as server:
        held = [connected(server) for _ in range(2)]
        stream = RawSocket(server)
        stream.send(f"GET /api/changes HTTP/1.1\r\nHost: {stream.host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        check(stream.head().startswith("HTTP/1.1 200 "), "a stream")
        full = RawSocket(server)
        head = full.upgrade()
        check(head.startswith("HTTP/1.1 429 ") and "\r\nRetry-After: " in head, "%s", head)
        answer = server.get("/api/changes?timeout=0")
        equal((answer.status, answer.code), (429, "LIMIT_EXCEEDED"))
        equal(server.get("/api/changes", {"Accept": "text/event-stream"}).body[:6], b"retry:")
        equal(server.get("/health").json["connectedClients"], 3)
        held.pop().close()
        end = time.monotonic() + seconds(10)
        while server.get("/health").json["connectedClients"] > 2 and time.monotonic() < end:
            time.sleep(0.02)
        held.append(connected(server))
        for s in held + [stream, full]:
            s.close()
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--rate", "handshakes@address=0.1/3") as server:
        heads = []
        for _ in range(5):
            raw = RawSocket(server)
            heads.append(raw.upgrade()[9:12])
            raw.close()
        equal(heads, ["101"] * 3 + ["429"] * 2)


@case("X-Forwarded-For counts from --trusted-proxy alone, and from the right")
def proxies():
    with Directory() as d, Server(d.file("a.db"), "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8",
                                  "--max-connections-per-address", 1) as server:
        def come(forwarded):
            return connected(server, **({"X_Forwarded_For": forwarded} if forwarded else {}))

        def full(forwarded):
            raw = RawSocket(server)
            head = raw.upgrade(X_Forwarded_For=forwarded)
            raw.close()
            return head.startswith("HTTP/1.1 429 ")
        held = [come(None), come(None), come("1.2.3.4"), come("5.6.7.8")]
        for same in ("1.2.3.4", "9.9.9.9, 1.2.3.4", "1.2.3.4, 10.1.1.1", "1.2.3.4:4711, 10.1.1.1 , 127.0.0.1", "junk, 1.2.3.4", "::ffff:1.2.3.4"):
            check(full(same), "%s is not 1.2.3.4", same)
        held += [come("1.2.3.4, 2.2.2.2"), come("2001:db8::1")]
        check(full("2001:db8::ffff"), "one /64 is one address")
        # Claiming to be this machine exempts nobody.
        held.append(come("127.0.0.1"))
        check(full("127.0.0.1"), "forged loopback")
        check(server.said("address=1.2.3.4 "), "the log has the client's address")
        for s in held:
            s.close()
    with Directory() as d, Server(d.file("a.db"), "--limit-loopback", "--max-connections-per-address", 1) as server:
        held = connected(server, X_Forwarded_For="1.2.3.4")
        head = RawSocket(server).upgrade(X_Forwarded_For="5.6.7.8")
        check(head.startswith("HTTP/1.1 429 "), "who is not trusted is believed")
        held.close()
    for bad in ("10.0.0.1/8", "localhost", "10.0.0.0/33", ""):
        with Directory() as d:
            status, _, err = run("serve", d.file("a.db"), "--trusted-proxy", bad)
            equal(status, 2, bad)
            check("--trusted-proxy" in err, "%s", err)


@case("subscriptions of all together are bounded, to tables and channels")
def subscriptions():
    with Directory() as d, Server(d.file("a.db"), "--max-all-subscriptions", 10) as server:
        server.sql("CREATE TABLE t(a)")
        one, two = connected(server), connected(server)
        for i in range(5):
            one.text({"type": "subscribe", "table": "t"})
            equal(one.message()["type"], "subscribed")
            two.text({"type": "subscribe", "channel": f"room:{i}"})
            equal(two.message()["type"], "subscribed")
        for raw, what in ((one, {"channel": "x"}), (two, {"table": "t"})):
            raw.text({"type": "subscribe", "requestId": 1, **what})
            answer = raw.message()
            equal(error_code(answer), "LIMIT_EXCEEDED")
            check("--max-all-subscriptions" in answer["error"]["message"], "%s", answer)
        one.text({"type": "unsubscribe", "subscription": "s1"})
        equal(one.message()["type"], "unsubscribed")
        two.text({"type": "subscribe", "table": "t"})
        equal(two.message()["type"], "subscribed")
        one.close()
        end = time.monotonic() + seconds(10)
        answer = {}
        while answer.get("type") != "subscribed" and time.monotonic() < end:
            two.text({"type": "subscribe", "channel": "later"})
            answer = two.message()
        equal(answer["type"], "subscribed")
        two.close()


if __name__ == "__main__":
    main()
