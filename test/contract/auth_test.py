#!/usr/bin/python3
"""Tokens: who is let in, by which way of showing one, for how long, and what the log says of it. The tokens
are made here with hmac and the program openssl, not with the server's own code."""
import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, Http, RawSocket, Server, case, check, equal, error_code, in_thread, main, run, seconds  # noqa: E402

SECRET = b"correct horse battery staple, and more"
TABLE = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n INT)"
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


# ---- tokens ----------------------------------------------------------------------------------

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n):
    return b64(n.to_bytes((n.bit_length() + 7) // 8, "big"))


def openssl(*arguments, data=None):
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60)
    check(done.returncode == 0, "openssl %s: %s", arguments, done.stderr)
    return done.stdout


def raw_ecdsa(der):
    """r and s side by side, out of SEQUENCE { INTEGER, INTEGER }."""
    at, parts = 2, b""
    for _ in range(2):
        length = der[at + 1]
        parts += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return parts


class Signer:
    """A key pair of openssl's, in files."""

    def __init__(self, directory, alg, name):
        self.alg, self.name = alg, name
        self.private, self.public = directory.file(name + ".key"), directory.file(name + ".pem")
        kind = {"RS256": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                "ES256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "EdDSA": ["ED25519"]}[alg]
        openssl("genpkey", "-algorithm", *kind, "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        self.directory = directory

    def sign(self, text):
        if self.alg == "EdDSA":
            path = self.directory.file("to-sign")
            with open(path, "wb") as file:
                file.write(text)
            return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", path)
        signature = openssl("dgst", "-sha256", "-sign", self.private, data=text)
        return raw_ecdsa(signature) if self.alg == "ES256" else signature

    def jwk(self):
        der = openssl("pkey", "-pubin", "-in", self.public, "-outform", "DER")
        if self.alg == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "kid": self.name, "x": b64(der[-32:])}
        if self.alg == "ES256":
            return {"kty": "EC", "crv": "P-256", "kid": self.name, "x": b64(der[-64:-32]), "y": b64(der[-32:])}
        modulus = openssl("rsa", "-pubin", "-in", self.public, "-noout", "-modulus").decode()
        return {"kty": "RSA", "kid": self.name, "use": "sig", "n": number(int(modulus.split("=")[1], 16)), "e": number(65537)}


def token(sub="ann", ttl=600, key=SECRET, alg=None, header=None, **claims):
    """Signed by bytes (HMAC) or a Signer; ttl None leaves exp out."""
    alg = alg or (key.alg if isinstance(key, Signer) else "HS256")
    claims = {"sub": sub, **claims}
    if ttl is not None:
        claims.setdefault("exp", time.time() + ttl)
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": alg, **(header or {})}, claims)).encode()
    signature = key.sign(text) if isinstance(key, Signer) else hmac.new(key, text, HASHES[alg]).digest()
    return text.decode() + "." + b64(signature)


def write(path, content, mode=0o600):
    """As a careful administrator does it: all at once."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)
    return path


def bearer(text, **more):
    return {"Authorization": "Bearer " + text, **more}


class Guarded:
    """A server with the secret, in a directory of its own."""

    def __init__(self, *options, **claims):
        self.directory = Directory()
        self.options = options
        self.claims = claims

    def __enter__(self):
        self.directory.__enter__()
        self.secret = write(self.directory.file("secret"), SECRET + b"\n")
        self.server = Server(self.directory.file("a.db"), "--jwt-secret-file", self.secret, "--log-level", "debug", *self.options)
        answer = self.server.post("/api/sql", {"sql": TABLE}, bearer(token(**self.claims)))
        equal(answer.status, 200, "CREATE TABLE")
        return self.server

    def __exit__(self, *error):
        if error[0] is None:
            self.server.stop()
        self.directory.__exit__(*error)


def handshake(server, query="", headers=""):
    """The whole answer's head to an upgrade."""
    raw = RawSocket(server)
    raw.send(f"GET /ws{query} HTTP/1.1\r\nHost: {raw.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n{headers}\r\n".encode())
    head = raw.head()
    raw.socket.close()
    return head


def status(head):
    return int(head.split()[1])


# ---- the doors -------------------------------------------------------------------------------

CLOSED = [("GET", "/api/tables"), ("GET", "/api/tables/t"), ("GET", "/api/changes?table=t"), ("GET", "/api/realtime"),
          ("GET", "/api/realtime/stats"), ("GET", "/api/websocket/health"), ("GET", "/api/ws/status"), ("GET", "/metrics"),
          ("POST", "/api/sql"), ("POST", "/api/ws/broadcast"), ("POST", "/api/realtime")]
OPEN = ["/health", "/", "/rowtap.js", "/console.js", "/console.css"]


@case("without a token: 401 with a challenge, before anything is done; the pages and /health are open")
def closed_doors():
    with Guarded() as server:
        for method, path in CLOSED:
            answer = server.post(path, {"sql": "INSERT INTO t DEFAULT VALUES"} if method == "POST" else None, method=method)
            equal((answer.status, answer.code), (401, "UNAUTHORIZED"), path)
            equal(answer.headers["WWW-Authenticate"], 'Bearer realm="rowtap"', path)
        answer = server.get("/api/changes?table=t", {"Accept": "text/event-stream"})
        equal((answer.status, answer.code), (401, "UNAUTHORIZED"), "a stream")
        equal(server.post("/api/tables", None, method="HEAD").status, 401, "HEAD")
        for path in OPEN:
            equal(server.get(path).status, 200, path)
        equal(server.get("/api/nothing").status, 404, "what is not there")
        head = handshake(server)
        equal(status(head), 401, "the upgrade")
        check("www-authenticate: bearer" in head.lower() and "101" not in head, "%s", head)
        answer = server.post("/api/sql", {"sql": "SELECT count(*) FROM t"}, bearer(token()))
        equal(answer.json["rows"], [[0]], "rows that nobody may have written")


@case("each way of showing a token, and no two at once")
async def ways():
    with Guarded() as server:
        good, bad = token(), token(key=b"another secret")
        quoted = urllib.parse.quote(good, safe="")
        get = lambda query="", **headers: server.get("/api/realtime" + query, {k.replace("_", "-"): v for k, v in headers.items()})
        for answer in (get(Authorization="Bearer " + good), get(Authorization="bearer  " + good), get("?token=" + good),
                       get("?a=1&token=" + good + "&b"), get("?%74oken=" + quoted), get(Cookie="rowtap_token=" + good),
                       get(Cookie="a=b; rowtap_token=" + good + " ; c"), get(Cookie='rowtap_token="' + good + '"'),
                       get(Authorization="Basic YTpi", Cookie="rowtap_token=" + good),
                       get(Authorization="Bearer " + good, Cookie="rowtap_token=" + bad)):
            equal((answer.status, answer.json.get("userId")), (200, "ann"), "a good token")
        for answer in (get(Authorization="Bearer " + bad), get(Authorization="Bearer"), get(Authorization="Bearer "),
                       get(Authorization=good), get(Authorization="Basic " + good), get("?token=" + bad), get("?token="),
                       get("?token=%zz"), get("?Token=" + good), get(Cookie="Rowtap_token=" + good), get(Cookie="xrowtap_token=" + good),
                       get("?token=" + good + "&token=" + good), get("?token=" + good, Authorization="Bearer " + good),
                       get("?token=" + bad, Authorization="Bearer " + good), get(Cookie=f"rowtap_token={good}; rowtap_token={bad}"),
                       get(Authorization="Bearer " + bad, Cookie="rowtap_token=" + good), get("?token=" + "A" * 9000),
                       get("?token=" + good + "%00")):
            equal((answer.status, answer.code), (401, "UNAUTHORIZED"), "a bad token")
            check(good not in str(answer.body) and bad not in str(answer.body), "the answer has the token")
        check(status(handshake(server, headers=f"Authorization: Bearer {good}\r\n")) == 101, "Authorization")
        check(status(handshake(server, "?token=" + good)) == 101, "?token=")
        check(status(handshake(server, headers=f"Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n")) == 401, "two")
        check(status(handshake(server, "?token=" + bad)) == 401, "a bad one")
        client = await Client.open(server, extra_headers=bearer(good))
        equal(client.ack["data"]["userId"], "ann", "connection:ack")
        await client.close()
        answer = server.get("/api/changes?table=t&timeout=0.1&token=" + good)
        equal((answer.status, answer.json), (200, []), "a long poll")


@case("the cookie alone is good for what a page of the same origin asks, and not for another site's")
def cookies():
    with Guarded("--origin", "http://shop.example") as server:
        cookie = {"Cookie": "rowtap_token=" + token()}
        own, listed = f"http://{server.host}:{server.port}", "http://shop.example"
        write_ = lambda **headers: server.post("/api/sql", {"sql": "INSERT INTO t DEFAULT VALUES"}, {**cookie, **headers})
        equal([write_(Origin=o).status for o in (own, listed)], [200, 200], "allowed origins")
        for answer in (write_(), write_(Origin="http://evil.example"), write_(Origin="null"),
                       server.post("/api/ws/broadcast", {"message": 1}, cookie),
                       server.get("/api/tables", {**cookie, "Sec-Fetch-Site": "cross-site"}),
                       server.get("/api/tables", {**cookie, "Origin": "http://evil.example"})):
            equal((answer.status, answer.code), (403, "FORBIDDEN"), "forged")
        equal(server.get("/api/tables", cookie).status, 200, "reading")
        equal(server.get("/api/tables", {**cookie, "Sec-Fetch-Site": "same-origin"}).status, 200, "reading from a page")
        line = f"Cookie: rowtap_token={token()}\r\n"
        wanted = [("", 403), ("Origin: http://evil.example\r\n", 403), ("Origin: null\r\n", 403), (f"Origin: {own}\r\n", 101),
                  (f"Origin: {listed}\r\n", 101)]
        for origin, code in wanted:
            equal(status(handshake(server, headers=line + origin)), code, origin)
        # who shows the token himself is no browser that was tricked
        equal(server.post("/api/sql", {"sql": "SELECT 1"}, bearer(token())).status, 200, "no Origin, but a token")


@case("forged, expired and misdirected tokens of every kind are refused")
def forged():
    with Guarded("--jwt-issuer", "https://id.example", "--jwt-audience", "shop", "--jwt-leeway", "2",
                 iss="https://id.example", aud="shop") as server:
        ok = {"iss": "https://id.example", "aud": "shop"}
        now = time.time()
        head = lambda text: server.get("/api/realtime", bearer(text))
        good = token(**ok)
        h, c, s = good.split(".")
        none = b64(b'{"alg":"none"}')
        bad = [token(), token(iss="https://id.example"), token(aud="shop", iss="x"), token(**{**ok, "aud": ["bank"]}),
               token(**{**ok, "aud": 7}), token(ttl=-10, **ok), token(ttl=0, **{**ok, "exp": "9999999999"}),
               token(nbf=now + 60, **ok), token(iat=now + 60, **ok), token(nbf="x", **ok), token(sub=7, **ok), token(sub="", **ok),
               token(role=["admin"], **ok), token(key=b"guess", **ok), token(key=b"", **ok), token(key=SECRET + b"\n", **ok),
               f"{h}.{c}.", f"{h}.{c}", f"{none}.{c}.", f"{none}.{c}.{s}", f"{h}.{c}.{s}=", f"{h}.{c}.{s[:-1]}", f"{h}.{c}.{s}.{s}",
               f"{h}.{b64(b'{}')}.{s}", "", "x", "..", good.replace("_", "/").replace("-", "+") + "=", good.upper(),
               token(header={"crit": ["x"]}, **ok), token(header={"typ": "secevent+jwt"}, **ok), token(header={"kid": 7}, **ok)]
        for text in bad:
            answer = head(text)
            equal((answer.status, answer.code), (401, "UNAUTHORIZED"), text)
            equal(answer.headers["WWW-Authenticate"], 'Bearer realm="rowtap", error="invalid_token"', text)
        for text in [good, token(**{**ok, "aud": ["bank", "shop"]}), token(ttl=None, **ok), token(alg="HS384", **ok),
                     token(alg="HS512", **ok), token(nbf=now, iat=now, **ok), token(header={"kid": "any", "typ": "JWT"}, **ok)]:
            equal(head(text).status, 200, "a good token")
        # the leeway
        equal([head(token(ttl=-1, **ok)).status, head(token(ttl=-3, **ok)).status], [200, 401], "just expired, and longer ago")


@case("public keys: RS256, ES256 and EdDSA from PEM; the public key is no secret to sign with")
def public_keys():
    with Directory() as directory:
        signers = {alg: Signer(directory, alg, alg) for alg in ("RS256", "ES256", "EdDSA")}
        for alg, signer in signers.items():
            server = Server(directory.file(alg + ".db"), "--jwt-public-key-file", signer.public)
            with open(signer.public, "rb") as file:
                pem = file.read()
            der = openssl("pkey", "-pubin", "-in", signer.public, "-outform", "DER")
            equal(server.get("/api/realtime", bearer(token(key=signer))).json["userId"], "ann", alg)
            for forged_ in [token(key=pem), token(key=pem.strip()), token(key=der), token(key=b""), token(key=SECRET),
                            *(token(key=other) for other in signers.values() if other is not signer),
                            *(token(key=other, alg=alg) for other in signers.values() if other is not signer)]:
                answer = server.get("/api/realtime", bearer(forged_))
                equal((answer.status, answer.code), (401, "UNAUTHORIZED"), alg)
            server.stop()


@case("a JWKS file: kid selects, the file is read again when it changes, a bad one changes nothing")
def jwks():
    with Directory() as directory:
        one, two, three = (Signer(directory, alg, name) for alg, name in (("RS256", "k1"), ("ES256", "k2"), ("EdDSA", "k3")))
        signed = lambda signer, kid=None: token(key=signer, header={"kid": kid or signer.name})
        keys = lambda *signers: json.dumps({"keys": [s.jwk() for s in signers] + [{"kty": "future", "kid": "x"}]}).encode()
        path = write(directory.file("jwks.json"), keys(one, two))
        server = Server(directory.file("a.db"), "--jwt-jwks-file", path)
        status_of = lambda text: server.get("/api/realtime", bearer(text)).status
        equal([status_of(signed(s)) for s in (one, two, three)], [200, 200, 401], "by kid")
        equal([status_of(signed(one, "k2")), status_of(signed(two, "k1")), status_of(signed(one, "k9"))], [401] * 3, "another kid")
        equal(status_of(token(key=one)), 200, "no kid")

        def becomes(text, wanted, what):
            end = time.monotonic() + seconds(10)
            while status_of(text) != wanted:
                check(time.monotonic() < end, "%s is not seen", what)
                time.sleep(0.1)
        write(path, keys(two, three))
        becomes(signed(three), 200, "the new file")
        equal([status_of(signed(s)) for s in (one, two)], [401, 200], "after the change")
        for bad in (b"", b"{", b'{"keys":[]}', b'{"keys":{}}', b"\xff", b'{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}',
                    keys(one)[:-20], b'{"keys":[{"kty":"RSA"}],"keys":[]}', b"x" * 400000):
            seen = server.stderr().count("stay in use")
            write(path, bad)
            end = time.monotonic() + seconds(10)
            while server.stderr().count("stay in use") == seen:
                check(time.monotonic() < end, "nothing is said of the bad file %s", bad[:40])
                time.sleep(0.1)
            equal([status_of(signed(s)) for s in (one, two, three)], [401, 200, 200], "with a bad file")
        os.unlink(path)
        server.signal(signal.SIGHUP)
        time.sleep(0.5)
        equal(status_of(signed(two)), 200, "without a file")
        write(path, keys(one))
        server.signal(signal.SIGHUP)
        becomes(signed(one), 200, "SIGHUP")
        equal(status_of(signed(two)), 401, "the old key")
        check(server.said("have been read again"), "SIGHUP is not in the log")
        server.stop()


@case("a renewal: in place, by the same user only, and with keys that came meanwhile")
async def renewal():
    with Guarded() as server:
        client = await Client.open(server, extra_headers=bearer(token("ann", role="user", team=7, jti="1", ttl=seconds(30))))
        await client.subscribe("t")
        reply = await client.request("auth", token=token("ann", role="user", team=7, jti="2", ttl=600))
        equal((reply["type"], reply["data"]["success"], reply["data"]["userId"], reply["data"]["permissions"], reply["data"]["role"]),
              ("auth_response", True, "ann", ["*"], "user"), "renewed")
        check(abs(reply["data"]["expiresAt"] - (time.time() + 600) * 1000) < 60000, "%s", reply)
        for other in (token("bob", role="user", team=7), token("ann", role="admin", team=7), token("ann", role="user", team=8),
                      token("ann", role="user")):
            reply = await client.request("auth", data={"token": other})
            equal((reply["data"]["success"], reply["data"]["error"]["code"], reply["data"]["userId"]), (False, "FORBIDDEN", "ann"), "other rights")
        reply = await client.request("auth", token=token("ann", role="user", team=7))
        equal(reply["data"]["success"], True, "the same again")
        reply = await client.request("request", payload={"action": "auth", "token": token("ann", role="user", team=7, ttl=None)})
        equal((reply["type"], reply["payload"]["success"], reply["payload"]["expiresAt"]), ("response", True, None), "as a request")
        reply = await client.request("auth")
        equal(error_code(reply), "INVALID_FORMAT", "no token")
        reply = await client.request("auth", token=7)
        equal(error_code(reply), "INVALID_FORMAT", "a number")
        server.post("/api/sql", {"sql": "INSERT INTO t(n) VALUES (1)"}, bearer(token()))
        equal((await client.next("database_change"))["data"]["n"], 1, "still subscribed")
        for i in range(5):
            await client.send({"type": "auth", "token": token(key=b"guess")})
        equal(await client.wait_closed(), 1008, "after five bad tokens")


@case("a token ends: a warning, then 1008; a renewal in time keeps the connection")
async def expiry():
    with Guarded() as server:
        ttl = seconds(4)
        short = await Client.open(server, extra_headers=bearer(token("ann", ttl=ttl)))
        renewed = await Client.open(server, extra_headers=bearer(token("bob", ttl=ttl)))
        began = time.time()
        for client in (short, renewed):
            warning = await client.next("token_expiring", timeout=ttl)
            check(abs(warning["expiresAt"] / 1000 - began - ttl) < seconds(2), "%s", warning)
            equal(warning["data"]["expiresAt"], warning["expiresAt"], "expiresAt")
        equal((await renewed.request("auth", token=token("bob", ttl=600)))["data"]["success"], True, "renewed")
        equal(await short.wait_closed(ttl * 2), 1008, "the close code")
        check(time.time() - began >= ttl - 1.5, "closed %.1f s after the start", time.time() - began)
        equal([error_code(e) for e in short.events], ["UNAUTHORIZED"], "the last word")
        await asyncio.sleep(1)
        await renewed.request("ping")
        check(renewed.closed is None, "the renewed one was closed: %s", renewed.closed)


def same_again(raw, headers):
    """The status of a query with always the same head."""
    raw.send(f"POST /api/sql HTTP/1.1\r\nHost: {raw.host}\r\nContent-Type: application/json\r\n{headers}"
             "Content-Length: 18\r\n\r\n{\"sql\":\"SELECT 1\"}".encode())
    head = raw.head()
    while not raw.buffer.endswith(b"}"):
        check(raw.fill(), "the connection ended: %s", head)
    raw.buffer = b""
    return status(head)


@case("requests that follow on one connection with the same head: token and rate are looked at each time")
def kept():
    with Guarded("--jwt-leeway", 0) as server:
        ttl = seconds(2)
        raw, began, headers = RawSocket(server), time.time(), f"Authorization: Bearer {token('ann', ttl=ttl)}\r\n"
        statuses = []
        while 401 not in statuses and time.time() - began < ttl + seconds(3):
            statuses.append(same_again(raw, headers))
            time.sleep(0.02)
        equal((set(statuses[:-1]), statuses[-1]), ({200}, 401), "before its end and after")
        check(len(statuses) > 10 and time.time() - began > ttl - 1.5, "%d in %.1f s", len(statuses), time.time() - began)
        raw.socket.close()
    with Guarded("--limit-loopback", "--rate", "queries@address=0.1/12") as server:
        raw, headers = RawSocket(server), f"Authorization: Bearer {token()}\r\n"
        statuses = [same_again(raw, headers) for _ in range(12)]
        equal(statuses, [200] * 11 + [429], "statuses")  # CREATE TABLE was the first
        raw.socket.close()


@case("streams and long polls end with their token, whatever a client does not read")
async def streams():
    with Guarded() as server:
        ttl = seconds(3)
        begin = lambda query, accept: in_thread(server.get, f"/api/changes?{query}&token=" + token(ttl=ttl), {"Accept": accept})
        began = time.monotonic()
        stream, poll = await asyncio.gather(begin("table=t", "text/event-stream"), begin("table=t&timeout=60", "application/json"))
        took = time.monotonic() - began
        check(ttl - 1.5 < took < ttl * 3 + 5, "they took %.1f s", took)
        check(stream.status == 200 and b"subscribed" in stream.body, "%s", stream)
        equal((poll.status, poll.json), (200, []), "the poll")
        equal(server.get("/api/changes?table=t&token=" + token(ttl=-1), {"Accept": "text/event-stream"}).status, 401, "again")
        # 16 MB wait for one who does not read: none of it is sent any more
        raw = RawSocket(server, receive_buffer=4096)
        raw.send(f"GET /api/changes?table=t HTTP/1.1\r\nHost: {raw.host}\r\nAccept: text/event-stream\r\n"
                 f"Authorization: Bearer {token(ttl=ttl)}\r\n\r\n".encode())
        check(status(raw.head()) == 200, "the third")
        for _ in range(24):
            server.post("/api/sql", {"sql": "INSERT INTO t(n) VALUES (zeroblob(500000))"}, bearer(token()))
        await asyncio.sleep(ttl + 1)
        size = 0
        while data := raw.socket.recv(1 << 16):
            size += len(data)
        check(size < 8_000_000, "%d bytes came after the end", size)


@case("who it is: in the acknowledgement, of those present, in lists of clients and in broadcasts")
async def names():
    with Guarded() as server:
        ann = await Client.open(server, extra_headers=bearer(token("ann")))
        bob = await Client.open(server, "/ws?token=" + token("b\u00f6b"))
        equal((ann.ack["data"]["userId"], bob.ack["data"]["userId"]), ("ann", "b\u00f6b"), "acknowledged")
        await ann.join("collaboration")
        await bob.join("collaboration")
        joined = await ann.next("user:joined")
        check("b\u00f6b" in json.dumps(joined, ensure_ascii=False), "%s", joined)
        await bob.send({"type": "user:cursor", "data": {"table": "t", "row": 1, "column": "n", "userId": "ann"}})
        moved = await ann.next("user:cursor")
        equal(moved["data"]["userId"], "b\u00f6b", "whose cursor")
        stats = server.get("/api/realtime/stats", bearer(token())).json
        equal(sorted(c["userId"] for c in stats["clients"]), ["ann", "b\u00f6b"], "stats")
        equal(server.get("/api/realtime", bearer(token("carl"))).json["userId"], "carl", "realtime")
        reply = await bob.request("request", payload={"action": "realtime"})
        equal(reply["payload"]["userId"], "b\u00f6b", "the action")
        await ann.close()
        await bob.close()


@case("no token in the log, however it came")
async def log():
    with Guarded() as server:
        good, bad, late = token(), token(key=b"guess"), token(ttl=-5)
        for text in (good, bad, late):
            server.get("/api/tables", bearer(text))
            server.get("/api/tables?x=1&token=" + text)
            server.get("/api/tables?%74oken=" + text)
            server.get("/api/changes?table=none&token=" + text, {"Accept": "text/event-stream"})
            server.get("/api/changes?unknown=1&token=" + text)
            server.get("/api/tables", {"Cookie": "rowtap_token=" + text})
            server.get("/nothing?token=" + text)
            handshake(server, "?token=" + text)
            handshake(server, "?token=" + text, "Origin: http://evil.example\r\n")
            raw = RawSocket(server)
            raw.send(f"GET /api/tables?token={text} HTTP/1.1\r\n bad\r\n\r\n".encode())
            raw.head()
            raw.socket.close()
        client = await Client.open(server, "/ws?token=" + good)
        for text in (bad, late, good):
            await client.request("auth", token=text)
        await client.send('{"type":"auth","token":"' + good)
        await client.next("error")
        await client.close()
        end = time.monotonic() + seconds(5)  # a thread writes the log
        while not re.search(r"token refused.*expired", said := server.stderr()) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for text in (good, bad, late):
            for part in [text] + text.split(".")[1:]:
                check(part not in said, "the log has a part of a token:\n%s", "\n".join(x for x in said.splitlines() if part in x)[:2000])
        check(SECRET.decode() not in said, "the log has the secret")
        check("user=ann" in said and re.search(r"token refused.*expired", said), "the log does not say who:\n%s", said[-2000:])


@case("bad keys stop the server from starting, with a sentence that names the file")
def bad_keys():
    with Directory() as directory:
        rsa = Signer(directory, "RS256", "rsa")
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", directory.file("weak.key"))
        weak = openssl("pkey", "-in", directory.file("weak.key"), "-pubout")
        with open(rsa.private, "rb") as file:
            private = file.read()
        os.mkfifo(directory.file("pipe"))
        cases = [("--jwt-secret-file", b"", "empty"), ("--jwt-secret-file", b"\n", "empty"), ("--jwt-public-key-file", private, "private key"),
                 ("--jwt-public-key-file", b"hello", "PEM"), ("--jwt-public-key-file", weak, "1024 bits"),
                 ("--jwt-jwks-file", b"{}", "keys"), ("--jwt-jwks-file", b"secret words", "not JSON"),
                 ("--jwt-jwks-file", b'{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}', "base64url"),
                 ("--jwt-jwks-file", b'{"keys":[{"kty":"EC","crv":"P-256","x":"' + b"A" * 43 + b'","y":"' + b"A" * 43 + b'"}]}', "no EC key")]
        for option, content, wanted in cases:
            path = write(directory.file("key"), content)
            code, _, err = run("serve", directory.file("a.db"), "--listen", "127.0.0.1:0", option, path, timeout=20)
            check(code == 1 and path in err and wanted in err, "%s %s: %s %s", option, content[:30], code, err)
            check("secret words" not in err, "%s", err)
        for path in (directory.file("nothing"), directory.path, directory.file("pipe")):
            code, _, err = run("serve", directory.file("a.db"), "--listen", "127.0.0.1:0", "--jwt-secret-file", path, timeout=20)
            check(code == 1 and path in err, "%s: %s %s", path, code, err)
        code, _, err = run("serve", directory.file("a.db"), "--jwt-issuer", "x", timeout=20)
        check(code == 2 and "--jwt-secret-file" in err, "%s %s", code, err)


@case("rowtap token makes one that the server takes; the commands show it")
def command():
    with Directory() as directory:
        path = write(directory.file("secret"), SECRET + b"\n")
        code, out, err = run("token", "--secret-file", path, "--sub", "dora", "--role", "admin", "--ttl", "90s", "--issuer", "me",
                             "--audience", "shop", "--claim", "team=7", "--claim", "name=x y")
        equal((code, err), (0, ""), "rowtap token")
        header, claims, signature = out.strip().split(".")
        equal(signature, b64(hmac.new(SECRET, f"{header}.{claims}".encode(), hashlib.sha256).digest()), "the signature")
        said = json.loads(base64.urlsafe_b64decode(claims + "=="))
        equal(said.pop("exp") - said.pop("iat"), 90, "its time")
        equal(said, {"sub": "dora", "role": "admin", "iss": "me", "aud": "shop", "team": 7, "name": "x y"}, "the claims")
        for wrong, code in ((["--sub", "a"], 2), (["--secret-file", path], 2), (["--sub", "a", "--secret-file", path + "x"], 1),
                            (["--sub", "a\nb", "--secret-file", path], 1), (["--sub", "a", "--secret-file", path, "--claim", "exp=1"], 1)):
            equal(run("token", *wrong)[0], code, wrong)
        server = Server(directory.file("a.db"), "--jwt-secret-file", path)
        _, mine, _ = run("token", "--secret-file", path, "--sub", "dora")
        url = ["--url", server.url]
        equal(run("sql", *url, "--token", mine.strip(), "--format", "csv", "SELECT 41 + 1")[1].split()[-1], "42", "rowtap sql")
        equal(run("status", *url, env={"ROWTAP_TOKEN": mine.strip()})[0], 0, "rowtap status")
        code, _, err = run("sql", *url, "SELECT 1")
        check(code == 1 and "--token" in err, "%s %s", code, err)
        equal(run("health", *url)[0], 0, "rowtap health")
        server.stop()


@case("without keys nothing changes: no token is needed, one does no harm, auth verifies nothing")
async def without_keys():
    with Directory() as directory:
        server = Server(directory.file("a.db"))
        equal(server.get("/api/realtime", bearer("whatever")).json["userId"], None, "nobody")
        equal(server.get("/api/changes?table=*&timeout=0.1&token=x").status, 200, "?token=")
        client = await Client.open(server, "/ws?token=x")
        equal(client.ack["data"]["userId"], None, "nobody")
        reply = await client.request("auth", token=token())
        equal((reply["type"], reply["data"]["success"], reply["data"]["userId"]), ("auth_response", False, None), "auth")
        await client.close()
        server.stop()


@case("who goes on with a bad token over a kept connection is heard less often, the others are not")
def refused_again():
    with Guarded() as server:
        bad = Http(server)
        begun = time.monotonic()
        for _ in range(23):
            equal(bad.request("GET", "/api/tables", headers=bearer("x")).status, 401)
        taken = time.monotonic() - begun
        check(taken > 19 * 0.02 * 0.9, "23 bad tokens were refused in %.3f s", taken)
        equal(bad.request("GET", "/api/tables", headers=bearer(token())).status, 200, "the right one on the same connection")
        bad.close()


if __name__ == "__main__":
    main()
