"""Section H: the opening handshake and the HTTP in front of it, as clients should not speak it.

A refusal is judged as a whole: the status, the JSON that says why, the length announced, and what becomes
of the connection. Where the answer says that it stays open a further request must be answered, so nothing
of the bad one may be left over; where it does not, the server ends it, without a reset that would take
the answer away from the client.
"""
import asyncio
import json

from harness import seconds, shorten

from . import table
from .table import clean, expect, pong, reply, say, section
from .wire import KEY, PING, TEXT, Failure, Peer, close, frame

DEFAULTS = (("Host", None), ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", KEY))
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def request(start="GET /ws HTTP/1.1", *more, without=(), **instead):
    """A handshake; `instead` replaces headers (Sec_WebSocket_Key="…"), `more` adds lines as they are."""
    def build(peer):
        lines = [start.replace("HERE", peer.host)]
        for name, value in DEFAULTS:
            value = instead.get(name.replace("-", "_"), value if value is not None else peer.host)
            if name not in without:
                lines.append(f"{name}: {value}")
        lines += [line.replace("HERE", peer.host) for line in more]
        return "\r\n".join(lines + ["", ""]).encode("latin-1")
    return build


class Handshake:
    def __init__(self, number, title, build, judge, behind=b"", chop=None, pause=0.0, on="default"):
        self.number, self.title, self.build, self.judge = number, title, build, judge
        self.behind, self.chop, self.pause, self.on = behind, chop, pause, on

    async def run(self, servers):
        peer = await Peer(servers[self.on]).connect()
        try:
            data = self.build(peer) if callable(self.build) else self.build.replace(b"HERE", peer.host.encode())
            await self.say(peer, data + self.behind)
            await self.judge(peer)
        except asyncio.TimeoutError:
            raise Failure("no answer in time") from None
        except ConnectionError as error:
            raise Failure(f"{type(error).__name__}: the server does not take what is sent") from None
        finally:
            peer.end()

    async def say(self, peer, data):
        size = self.chop or len(data) or 1
        try:
            for i in range(0, len(data), size):
                await peer.send(data[i:i + size])
                if self.pause:
                    await asyncio.sleep(self.pause)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered and gone already: what it said is judged


def accepted(key=KEY, *after):
    async def judge(peer):
        await peer.welcomed(await peer.head(), key)
        for step in after or (clean(),):
            await step(peer)
    return judge


def refused(*statuses, words="", headers=(), body=True, stays=None):
    """`stays`: whether the connection must be kept (True), must end (False), or may do either."""
    async def judge(peer):
        head = await peer.head()
        if head is None:
            raise Failure("the connection ended without an answer")
        if head.status not in statuses:
            raise Failure(f"answered with {head.status}, wanted {' or '.join(map(str, statuses))}")
        for name, value in headers:
            if head.headers.get(name.lower()) != value:
                raise Failure(f"{name} is {head.headers.get(name.lower())!r}, wanted {value!r}")
        await judge_body(peer, head, body, words)
        kept = "keep-alive" in head.headers.get("connection", "").lower()
        if stays is not None and stays != kept:
            raise Failure(f"Connection: {head.headers.get('connection')}")
        await (still_there(peer) if kept else peer.ended())
    return judge


async def judge_body(peer, head, body, words):
    size = int(head.headers.get("content-length", "-1"))
    if size < 0:
        raise Failure("an answer without Content-Length")
    if not body:
        return
    text = await peer.take(size, seconds(20))
    if head.status < 400:
        return
    said = json.loads(text).get("error", {})
    if not said.get("message") or not isinstance(said.get("code"), str):
        raise Failure(f"the body of {head.status} is {shorten(repr(text))}")
    if words not in said["message"]:
        raise Failure(f"the message is {said['message']!r}")


async def still_there(peer):
    """The connection is kept: the next request on it gets the next answer."""
    await peer.send(HEALTH)
    head = await peer.head()
    if head is None or head.status != 200:
        raise Failure(f"the connection was to be kept; the next request got {head and head.status}")
    if json.loads(await peer.take(int(head.headers["content-length"]), seconds(20))).get("status") != "ok":
        raise Failure("the next answer on the connection is another's")


def add(number, title, build, judge, **options):
    section("H handshake").append(Handshake("H." + number, title, build, judge, **options))


def numbered(prefix, rows, judge, build=None):
    for i, (title, what) in enumerate(rows, 1):
        add(f"{prefix}.{i}", title, build(what) if build else what, judge)


def good():
    ok = accepted()
    add("1.1", "as RFC 6455 shows it", request(), ok)
    add("1.2", "byte by byte", request(), ok, chop=1)
    add("1.3", "every two bytes a pause", request(), ok, chop=2, pause=0.005)
    for i, value in enumerate(("WebSocket", "WEBSOCKET", "h2c, websocket", "websocket, h2c", "foo,WebSocket"), 1):
        add(f"1.5.{i}", f"Upgrade: {value}", request(Upgrade=value), ok)
    for i, value in enumerate(("upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade, keep-alive", "foo,  upgrade ,bar", "close, upgrade", ",Upgrade,,"), 1):
        add(f"1.6.{i}", f"Connection: {value}", request(Connection=value), ok)
    add("1.7.1", "two Connection lines", request("GET /ws HTTP/1.1", "Connection: keep-alive"), ok)
    add("1.7.2", "two Connection lines, upgrade in the second", request("GET /ws HTTP/1.1", "Connection: Upgrade", Connection="keep-alive"), ok)
    add("1.7.3", "two Upgrade lines", request("GET /ws HTTP/1.1", "Upgrade: websocket", Upgrade="h2c"), ok)
    add("1.8.1", "names in small letters", lambda peer: lower_names(request()(peer)), ok)
    add("1.8.2", "names in capitals", lambda peer: lower_names(request()(peer), bytes.upper), ok)
    add("1.8.3", "values with blanks around them", lambda peer: request()(peer).replace(b": ", b":    ").replace(b"\r\n", b"  \r\n", 6).replace(
        b" HTTP/1.1  ", b" HTTP/1.1", 1).replace(b"\r\n  \r\n", b"\r\n\r\n"), ok)
    add("1.8.4", "values without a blank before them", lambda peer: request()(peer).replace(b": ", b":"), ok)
    for i, host in enumerate(("localhost", "LOCALHOST", "127.0.0.1", "localhost:1", "127.0.0.1:80", "127.1.2.3", "[::1]", "[::1]:8080"), 1):
        add(f"1.9.{i}", f"Host: {host}", request(Host=host), ok)
    for i, target in enumerate(("/ws?", "/ws?token=abc", "/ws?a=b&c=d", "/ws?x=%20%ff", "/ws?" + "q" * 8000), 1):
        add(f"1.10.{i}", f"the target {target[:20]}", request(f"GET {target} HTTP/1.1"), ok)
    add("1.11.1", "the target in absolute form", request("GET http://HERE/ws HTTP/1.1"), but_for_tls(ok))
    add("1.11.3", "the target in absolute form, ws: too", request("GET ws://HERE/ws HTTP/1.1"), but_for_tls(ok))
    add("1.11.2", "the target in absolute form, with a query", request("GET http://HERE/ws?x=1 HTTP/1.1"), but_for_tls(ok))
    for i, more in enumerate(("Content-Length: 0", "Origin: http://HERE", "Cookie: a=b; c=d", "User-Agent: x", "Cache-Control: no-cache", "X-Ä: é", "X-Empty:",
                              "X-Ü: \xff\xfe", "X-8K: " + "v" * 8000, "Expect: nothing"), 1):
        if "Ä" not in more and "Ü" not in more and "Expect" not in more:
            add(f"1.12.{i}", f"also {more[:24]}", request("GET /ws HTTP/1.1", more), ok)
    add("1.12.11", "a value with bytes past ASCII", request("GET /ws HTTP/1.1", "X-Name: \xe9\xff"), ok)
    add("1.12.12", "50 more headers", request("GET /ws HTTP/1.1", *(f"X-{i}: {i}" for i in range(50))), ok)
    for i, key in enumerate(("AAAAAAAAAAAAAAAAAAAAAA==", "/////////////////////w==", "+/+/+/+/+/+/+/+/+/+/+w==", "x3JJHMbDL1EzLkh9GBhXDw=="), 1):
        add(f"1.13.{i}", f"the key {key}", request(Sec_WebSocket_Key=key), accepted(key))
    add("1.13.5", "a key with blanks around it", lambda peer: request(Sec_WebSocket_Key="  " + KEY + "  ")(peer), ok)
    for i, offer in enumerate(("chat", "chat, superchat", "rowtap.v9", "a,b,c", "soap", "x" * 1000), 1):
        add(f"1.14.{i}", f"the subprotocols {offer[:20]} offered: none is spoken", request("GET /ws HTTP/1.1", f"Sec-WebSocket-Protocol: {offer}"), ok)
    for i, offer in enumerate(("x-webkit-deflate-frame", "foo; bar=1", "permessage-bzip2", "foo, bar; baz; x=\"y\"", "bbf-usp-protocol"), 1):
        add(f"1.15.{i}", f"the extension {offer} offered: it is not spoken", request("GET /ws HTTP/1.1", f"Sec-WebSocket-Extensions: {offer}"), ok)


def lower_names(data, change=bytes.lower):
    first, *lines = data.split(b"\r\n")
    return b"\r\n".join([first] + [change(n) + colon + v for n, colon, v in (line.partition(b":") for line in lines)])


def methods():
    for i, method in enumerate(("POST", "PUT", "DELETE", "PATCH"), 1):
        add(f"2.{i}", f"{method} instead of GET", request(f"{method} /ws HTTP/1.1"), refused(405, headers=[("Allow", "GET, OPTIONS")]))
    add("2.5", "HEAD", request("HEAD /ws HTTP/1.1"), refused(405, body=False))
    add("2.6", "OPTIONS", request("OPTIONS /ws HTTP/1.1"), refused(200, headers=[("Allow", "GET, OPTIONS")]))
    for i, method in enumerate(("TRACE", "FOO", "get", "Get", "GETGET", "X" * 100, "PRI"), 7):
        add(f"2.{i}", f"the method {method[:20]}", request(f"{method} /ws HTTP/1.1"), refused(501, 405, stays=False))
    add("2.14", "CONNECT", request("CONNECT HERE HTTP/1.1"), refused(400, 405, 501))
    for i, (title, data) in enumerate((("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"x" * 200),
                                       ("a frame", frame(TEXT, b"{}", key=b"\0\0\0\0")), ("noise", bytes(range(256)) * 2), ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
                                       ("only a method", b"GET\r\n\r\n"), ("no version", b"GET /ws\r\n\r\n"), ("two blanks", b"GET  /ws  HTTP/1.1\r\nHost: HERE\r\n\r\n"),
                                       ("a blank in the target", b"GET /w s HTTP/1.1\r\nHost: HERE\r\n\r\n"), ("a method with a colon", b"G:T /ws HTTP/1.1\r\nHost: HERE\r\n\r\n")), 1):
        if title != "two blanks":
            add(f"2.15.{i}", title, data, refused(400, 501, 505, stays=False))


def versions():
    for i, version in enumerate(("HTTP/1.0", "HTTP/2.0", "HTTP/3", "HTTP/0.9", "HTTP/1.2", "HTTP/11", "http/1.1", "HTTP/1.1.1", "HTTP/", "HTTP", "HTTPS/1.1", "HTTP/1,1"), 1):
        add(f"3.{i}", f"the version {version}", request(f"GET /ws {version}"), refused(400, 426, 505, stays=False))
    need = refused(426, headers=[("Sec-WebSocket-Version", "13")])
    numbered("4", [(f"WebSocket version {v!r}", v) for v in
                   ("0", "7", "8", "12", "14", "99", "255", "256", "-1", "13, 8", "8, 13", "013", "+13", "13.0", "0x0d", "1 3", "", "13;", "thirteen", "1" * 300)],
             need, lambda v: request(Sec_WebSocket_Version=v))
    add("4.21", "no WebSocket version", request(without=["Sec-WebSocket-Version"]), need)
    add("4.22", "two versions, 13 and 13", request("GET /ws HTTP/1.1", "Sec-WebSocket-Version: 13"), need)
    add("4.23", "two versions, 13 and 8", request("GET /ws HTTP/1.1", "Sec-WebSocket-Version: 8"), need)
    add("4.24", "two versions, 8 and 13", request("GET /ws HTTP/1.1", "Sec-WebSocket-Version: 13", Sec_WebSocket_Version="8"), need)


def keys():
    no = refused(400, words="Sec-WebSocket-Key")
    numbered("5", [(f"the key {k[:26]!r}", k) for k in
                   ("", "=", "==", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZWE=",
                    "dGhlIHNhbXBsZSBub25jZWFi", "dGhlIHNhbXBsZSBub25jZ-==", "dGhlIHNhbXBsZSBub25jZ_==", "dGhlIHNhbXBsZSBub25j Q==", "dGhl=HNhbXBsZSBub25jZQ==", "=" * 24,
                    "!" * 24, "dGhlIHNhbXBsZSBub25jZQ==" * 2, "A" * 4000, "\xe9" * 24, KEY + "," + KEY, KEY + ";", "0123456789012345")], no,
             lambda k: request(Sec_WebSocket_Key=k))
    add("5.22", "no key", request(without=["Sec-WebSocket-Key"]), no)
    add("5.23", "the same key twice", request("GET /ws HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"), no)
    add("5.24", "two keys", request("GET /ws HTTP/1.1", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), no)


def not_an_upgrade():
    no = refused(426, 400, headers=[("Upgrade", "websocket")])
    add("6.1", "no Upgrade", request(without=["Upgrade"]), no)
    add("6.2", "no Connection", request(without=["Connection"]), no)
    add("6.3", "neither", request(without=["Upgrade", "Connection"]), no)
    for i, value in enumerate(("", "h2c", "web socket", "websockets", "xwebsocket", "websocket13", "TLS/1.0"), 4):
        add(f"6.{i}", f"Upgrade: {value}", request(Upgrade=value), no)
    for i, value in enumerate(("", "keep-alive", "close", "upgraded", "not-upgrade", "up grade", "Upgrade;x"), 11):
        add(f"6.{i}", f"Connection: {value}", request(Connection=value), no)
    for i, path in enumerate(("/nope", "/ws/", "/WS", "/ws/x", "//ws", "/wss", "/w", "/ws.", "/ws;x", "/ws%00", "/ws%2f", "/../ws/..", "/.ws"), 1):
        add(f"6.18.{i}", f"an upgrade at {path}", request(f"GET {path} HTTP/1.1"), refused(404))
    add("6.18.14", "an upgrade at /health is a GET of it", request("GET /health HTTP/1.1"), refused(200))


def hosts():
    bad = refused(400, 403)
    add("7.1", "no Host", request(without=["Host"]), refused(400))
    add("7.2", "Host twice", request("GET /ws HTTP/1.1", "Host: HERE"), refused(400))
    add("7.3", "Host twice, one of them foreign", request("GET /ws HTTP/1.1", "Host: evil.example"), refused(400))
    for i, host in enumerate(("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost", "10.0.0.1", "[::2]", "0x7f000001"), 4):
        add(f"7.{i}", f"Host: {host}", request(Host=host), refused(403))
    numbered("7.12", [(f"Host: {h[:30]!r}", h) for h in
                      ("", " ", "a b", "localhost:99999", "localhost:x", "user@localhost", "localhost/", "localhost,localhost", "[::1", "::1]", "[]", ":80", "localhost:-1",
                       "http://localhost", "\xe9", "h" * 300, "h" * 5000, "localhost:80:80")], bad, lambda h: request(Host=h))
    for i, origin in enumerate(("http://evil.example", "https://evil.example", "null", "file://", "http://localhost.evil.example", "chrome-extension://abc", "HERE", "",
                                "http://HERE.evil.example", "http://evil.example, http://HERE", "x" * 2000), 1):
        add(f"7.13.{i}", f"Origin: {origin[:30]}", request("GET /ws HTTP/1.1", f"Origin: {origin}"), refused(403))
    add("7.13.12", "two Origins", request("GET /ws HTTP/1.1", "Origin: http://HERE", "Origin: http://HERE"), refused(400, 403))
    add("7.14.1", "an absolute target with a foreign name", request("GET http://evil.example/ws HTTP/1.1"), refused(400, 403, 421))
    add("7.14.3", "an absolute target with a foreign name and our port",
        lambda peer: request(f"GET http://evil.example:{peer.server.port}/ws HTTP/1.1")(peer), but_for_tls(refused(403)))
    add("7.14.2", "an absolute target with a foreign name and Host", request("GET http://evil.example/ws HTTP/1.1", Host="evil.example"), refused(400, 403, 421))


def targets():
    for i, target in enumerate(("ws", "*", "?", "#", "http:", "http://", "ftp://HERE/ws", "HERE/ws", "\\ws", "wsx://HERE/ws", "http://HERE:99999/ws"), 1):
        add(f"8.{i}", f"the target {target}", request(f"GET {target} HTTP/1.1"), refused(400, 403, 404, 421))
    add("8.12", "OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: HERE\r\n\r\n", refused(200, 204, 404, 405))
    add("8.13", "a target with bytes past ASCII", b"GET /ws\xff\xfe HTTP/1.1\r\nHost: HERE\r\n\r\n", refused(400, 404))
    add("8.14", "a target with a NUL", b"GET /ws\x00 HTTP/1.1\r\nHost: HERE\r\n\r\n", refused(400))
    add("8.15", "a fragment in the target", request("GET /ws#x HTTP/1.1"), refused(400, 404))


WRITE = (b"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"
         b'{"sql":"SELECT 1"}')
SMUGGLED = b"GET /api/tables HTTP/1.1\r\nHost: localhost\r\n\r\n"


def bodies():
    no = refused(400, stays=False)
    add("9.1", "a body", request("GET /ws HTTP/1.1", "Content-Length: 5"), no, behind=b"hello")
    add("9.2", "a body that is a request", request("GET /ws HTTP/1.1", f"Content-Length: {len(SMUGGLED)}"), no, behind=SMUGGLED)
    add("9.3", "a chunked body", request("GET /ws HTTP/1.1", "Transfer-Encoding: chunked"), no, behind=b"5\r\nhello\r\n0\r\n\r\n")
    add("9.4", "an empty chunked body", request("GET /ws HTTP/1.1", "Transfer-Encoding: chunked"), no, behind=b"0\r\n\r\n")
    framings = (("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 5"), ("Content-Length: 5", "Content-Length: 5"),
                ("Content-Length: 5", "Content-Length: 6"), ("Content-Length: 0", "Content-Length: 44"), ("Content-Length: +5",), ("Content-Length: -1",), ("Content-Length: 0x5",),
                ("Content-Length: 5,5",), ("Content-Length: 5 5",), ("Content-Length: ",), ("Content-Length: five",), ("Content-Length: 99999999999999999999",),
                ("Content-Length: 5.0",), ("Transfer-Encoding: chunked, identity",), ("Transfer-Encoding: xchunked",), ("Transfer-Encoding: identity",),
                ("Transfer-Encoding: gzip, chunked",), ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
                ("Transfer-Encoding : chunked",), ("Transfer-Encoding: \x0bchunked",), ("Transfer-Encoding:\r\n chunked",), (" Transfer-Encoding: chunked",), ("Content-Length : 5",),
                ("Transfer-Encoding: \"chunked\"",), ("Transfer-Encoding: chunked;q=1",), ("Content_Length: 5", "Content-Length: 5", "Content-Length: 0"))
    for i, lines in enumerate(framings, 1):
        title = " and ".join(lines)
        add(f"9.5.{i}", f"an upgrade with {title}"[:90], request("GET /ws HTTP/1.1", *lines), refused(400, 411, 413, 501, stays=False), behind=b"0\r\n\r\n" + SMUGGLED)
        post = "\r\n".join(("POST /api/sql HTTP/1.1", "Host: HERE", "Content-Type: application/json", *lines, "", "")).encode("latin-1")
        add(f"9.6.{i}", f"a write with {title}"[:90], post, refused(400, 411, 413, 501, stays=False), behind=b"0\r\n\r\n" + SMUGGLED)
    post = b"POST /api/sql HTTP/1.1\r\nHost: HERE\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for i, body in enumerate((b"x\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"2 {}\r\n0\r\n\r\n", b"ffffffffffffffffffff\r\n{}", b"0x2\r\n{}\r\n0\r\n\r\n", b"\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"), 1):
        add(f"9.7.{i}", f"a chunk like {body[:16]!r}", post, refused(400, 413, stays=False), behind=body + SMUGGLED)


def syntax():
    no = refused(400, stays=False)

    def with_line(line):
        line = line if isinstance(line, bytes) else line.encode("latin-1")
        return lambda peer: request()(peer)[:-2] + line + b"\r\n\r\n"

    lines = (b"Folded: a\r\n b", b"Folded: a\r\n\tb", b"No colon", b": no name", b"Space : x", b"Sp ace: x", b"\xe9: x", b"A\x00: x", b"A: \x00", b"A: x\x00y", b"A: \x01", b"A: \x1b[0m",
             b"A: \x7f", b"A\x7f: x", b"(A): x\r\n x", b"A: a\rb", b"\rA: x", b"A\r: x", b"A\tB: x", b"@: x\r\n\ty: z", b"[x]", b"A: b\r\r\n")
    for i, line in enumerate(lines, 1):
        add(f"10.{i}", f"a header line {line!r}", with_line(line), no)
    add("10.30", "a blank before the first header", lambda peer: request()(peer).replace(b"\r\nHost", b"\r\n Host", 1), no)
    add("10.31", "only line feeds", lambda peer: request()(peer).replace(b"\r\n", b"\n"), no)
    add("10.32", "only carriage returns", lambda peer: request()(peer).replace(b"\r\n", b"\r") + b"\r\n\r\n", no)
    add("10.33", "a NUL in the method", lambda peer: b"G\0ET" + request()(peer)[3:], no)
    add("10.34", "a control byte in the version", lambda peer: request("GET /ws HTTP/1.1\x02")(peer), no)
    add("10.35", "a word behind the version", request("GET /ws HTTP/1.1 x"), no)
    add("10.36", "no header at all", b"GET /ws HTTP/1.1\r\n\r\n", refused(400))
    add("10.37", "many blanks between the words of the first line", request("GET   /ws   HTTP/1.1"), no)
    add("10.39", "a line end behind the method", request("GET \r\n/ws HTTP/1.1"), no)
    add("10.40", "a line feed alone behind the first line", lambda peer: request()(peer).replace(b"\r\n", b"\n", 1), no)
    add("10.41", "a line feed alone behind a header", lambda peer: request()(peer).replace(b"websocket\r\n", b"websocket\n", 1), no)
    add("10.42", "an empty line with a blank behind the first line", lambda peer: request()(peer).replace(b"\r\n", b"\r\n \r\n", 1), no)
    add("10.43", "an empty line behind the first line", lambda peer: request()(peer).replace(b"\r\n", b"\r\n\r\n", 1), refused(400))
    add("10.38", "the head ends with the connection", request_cut(), half_closed())


def request_cut():
    return lambda peer: request()(peer)[:-20]


def but_for_tls(judge):
    """With TLS a target in absolute form is answered 421."""
    misdirected = refused(421, stays=False)

    async def either(peer):
        return await (misdirected if peer.server.tls else judge)(peer)
    return either


def half_closed():
    """The client stops within its head: there is nothing to answer, or a 400; but no reset and no waiting."""
    async def judge(peer):
        import socket
        peer.socket.shutdown(socket.SHUT_WR)
        head = await peer.head(4)
        if head and head.status not in (400, 408):
            raise Failure(f"answered with {head.status}")
    return judge


def sizes():
    big = refused(431, 414, stays=False)
    for i, size in enumerate((16 * 1024, 17000, 32 * 1024, 64 * 1024, 256 * 1024, 1024 * 1024), 1):
        add(f"11.{i}", f"a header of {size} bytes", request("GET /ws HTTP/1.1", "X: " + "v" * size), big)
        add(f"11.{i}.2", f"a target of {size} bytes", request("GET /ws?" + "q" * size + " HTTP/1.1"), big)
        add(f"11.{i}.3", f"small headers of {size} bytes together", request("GET /ws HTTP/1.1", *["X: y"] * (size // 6)), big)
        add(f"11.{i}.4", f"a head of {size} bytes without an end", b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX: " + b"v" * size, big)
        add(f"11.{i}.5", f"a method of {size} bytes", b"G" * size, big)
    for i, count in enumerate((65, 100, 1000), 7):
        add(f"11.{i}", f"{count} headers", request("GET /ws HTTP/1.1", *["X: y"] * count), refused(431, stays=False))
    for i, size in enumerate((4 * 1024, 8 * 1024, 12 * 1024, 15 * 1024), 10):
        add(f"11.{i}", f"a header of {size} bytes, within the limit", request("GET /ws HTTP/1.1", "X: " + "v" * size), accepted())
        add(f"11.{i}.2", f"a target of {size} bytes, within the limit", request("GET /ws?" + "q" * size + " HTTP/1.1"), accepted())
    add("11.14", "a header of 15 KiB byte by byte", request("GET /ws HTTP/1.1", "X: " + "v" * 15 * 1024), accepted(), chop=512)


def slow():
    """A head that does not come is answered with 408, and no one waits for it for ever."""
    late = refused(408, stays=False)
    for i, (title, data) in enumerate((("half a first line", b"GET /ws HT"), ("a first line", b"GET /ws HTTP/1.1\r\n"),
                                       ("a head without its last line end", request_cut()), ("one byte", b"G")), 1):
        add(f"15.{i}", f"{title}, then nothing", data, late)
    add("15.5", "nothing at all", b"", nothing())
    add("15.6", "empty lines, then nothing", b"\r\n" * 10, nothing(400, 408))


def nothing(*statuses):
    async def judge(peer):
        head = await peer.head(15)
        if head and head.status not in statuses:
            raise Failure(f"answered with {head.status}")
    return judge


def early():
    """Bytes right behind the head, which a client must not send before it has the answer (section 4.1).
    The server may take them or refuse, but none may be lost or taken for anything else."""
    hello = frame(TEXT, say("early"))
    after = (expect(reply("early")), clean())
    health = after_health
    rows = (
        ("the first message in the packet of the handshake", request(), after, hello),
        ("a ping, a message and a Close behind the handshake", request(), (expect(pong(b"p"), reply("early")), table.closed(1000)),
         frame(PING, b"p") + hello + close(1000)),
        ("100 messages behind the handshake", request(), (expect(*(reply(i) for i in range(100))), clean()), b"".join(frame(TEXT, say(i)) for i in range(100))),
        ("a message of 60000 bytes behind the handshake", request(), (expect(reply("big")), clean()), frame(TEXT, say("big", 60000))),
        ("half a message behind the handshake", request(), (table.silence(0.2), table.send(hello[20:]), *after), hello[:20]),
        ("a byte of a message behind the handshake", request(), (table.silence(0.2), table.send(hello[1:]), *after), hello[:1]),
        ("a violation behind the handshake", request(), (table.fails(1002),), frame(3)),
        ("a message whose bytes are an HTTP request", request(), (expect(table.NOT_JSON), clean()), frame(TEXT, SMUGGLED, key=b"\0\0\0\0")),
        ("an empty line in front and a message behind", lambda peer: b"\r\n" + request()(peer), after, hello),
    )
    for i, (title, build, steps, behind) in enumerate(rows, 1):
        add(f"12.{i}", title, build, taken_or_refused(*steps), behind=behind)
        add(f"12.{i}.2", "the same byte by byte", build, taken_or_refused(*steps), behind=behind[:3000], chop=1) if len(behind) < 3000 else None
    add("12.20", "a request, the handshake and a message in one packet", lambda peer: HEALTH + request()(peer), health(taken_or_refused(*after)), behind=hello)
    add("12.21", "three requests, the handshake and a message in one packet", lambda peer: HEALTH * 3 + request()(peer), health(taken_or_refused(*after), 3),
        behind=hello)
    add("12.22", "three requests and the handshake in one packet", lambda peer: HEALTH * 3 + request()(peer), health(accepted(), 3))
    add("12.23", "a handshake after one refused", lambda peer: request(Sec_WebSocket_Version="8")(peer), after_refusal())
    add("12.24", "an empty line in front", lambda peer: b"\r\n" + request()(peer), taken_or_refused(clean()))
    add("12.25", "a write and the handshake in one packet", lambda peer: WRITE + request()(peer), health(accepted()))


def taken_or_refused(*steps):
    async def judge(peer):
        head = await peer.head()
        if head and head.status == 400:
            await judge_body(peer, head, True, "RFC 6455 section 4.1")
            return await peer.ended()
        await peer.welcomed(head)
        for step in steps:
            await step(peer)
    return judge


def after_health(judge, count=1):
    async def both(peer):
        for _ in range(count):
            head = await peer.head()
            if not head or head.status != 200:
                raise Failure(f"the request in front got {head and head.status}")
            await peer.take(int(head.headers["content-length"]), seconds(20))
        await judge(peer)
    return both


def after_refusal():
    async def judge(peer):
        head = await peer.head()
        if not head or head.status != 426:
            raise Failure(f"answered with {head and head.status}")
        await peer.take(int(head.headers["content-length"]), seconds(20))
        if "keep-alive" not in head.headers.get("connection", "").lower():
            return await peer.ended()
        await peer.send(request()(peer))
        await accepted()(peer)
    return judge


for build_ in (good, methods, versions, keys, not_an_upgrade, hosts, targets, bodies, syntax, sizes, slow, early):
    build_()
