#!/usr/bin/python3
"""TLS: https and wss as clients see them, what is refused, certificates that change, and peers that do not get on
with it. Certificates come from a CA that the program openssl makes here."""
import asyncio
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (Authority, Client, Directory, Http, RawSocket, Server, Skip, case, check, environment, equal, BIN,  # noqa: E402
                     in_thread, main, openssl, run, seconds)

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, text TEXT)"
HELLO = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


class Secure:
    """A server with a certificate of a CA of its own, in a directory of its own."""

    def __init__(self, *options, **named):
        self.directory, self.options, self.named = Directory(), options, named

    def __enter__(self):
        self.directory.__enter__()
        self.authority = Authority(self.directory.path)
        self.pair = self.authority.issue("server")
        self.server = Server(self.directory.file("s.db"), *self.files(), *self.options, authority=self.authority, **self.named)
        self.server.sql(TABLE)
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.server in Server.running:
            self.server.stop()
        self.directory.__exit__()

    def files(self, pair=None):
        return ["--tls-cert", (pair or self.pair)[0], "--tls-key", (pair or self.pair)[1]]

    def curl(self, *arguments, data=None):
        if not shutil.which("curl"):
            raise Skip("curl is not installed")
        done = subprocess.run(["curl", "-sS", "--max-time", "30", "--cacert", self.authority.certificate, *arguments],
                              input=data, capture_output=True, timeout=seconds(60))
        return done.returncode, done.stdout, done.stderr.decode()

    def metric(self, name):
        text = self.server.get("/metrics").body.decode()
        return int(re.search(rf"^{name} (\d+)$", text, re.M)[1])

    def wait_log(self, pattern, since=0):
        end = time.monotonic() + seconds(10)
        while time.monotonic() < end:
            found = re.search(pattern, self.server.stderr()[since:])
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {pattern} in the log:\n{self.server.stderr()[-3000:]}")

    def serial(self):
        """Of the certificate that a new connection is shown."""
        with socket.create_connection((self.server.host, self.server.port), seconds(20)) as plain:
            with self.server.tls.wrap_socket(plain, server_hostname="localhost") as secure:
                return secure.getpeercert()["serialNumber"]


# ---- what works as it does without ------------------------------------------------------------

@case("curl: the endpoints over https, one connection for several, HTTP/1.1 for who would like HTTP/2")
def endpoints():
    with Secure() as s:
        base = f"https://localhost:{s.server.port}"
        code, out, err = s.curl("-w", " %{http_version} %{num_connects}", f"{base}/health", "-w", "%{num_connects}\\n", f"{base}/api/tables")
        equal((code, err), (0, ""), "curl")
        check(b'"status":"ok"' in out and b'"t"' in out, "%s", out)
        code, out, err = s.curl("--http2", "-w", "\n%{http_version}", f"{base}/health")
        equal((code, out.splitlines()[-1]), (0, b"1.1"), err)
        code, out, err = s.curl("-H", "Content-Type: application/json", "-d", '{"sql":"INSERT INTO t(n) VALUES (7) RETURNING id"}', f"{base}/api/sql")
        equal((code, json.loads(out)["rows"]), (0, [[1]]), err)
        code, out, err = s.curl(base)
        check(code == 0 and b"<html" in out, "the console: %s %s", code, err)
        equal(json.loads(s.curl(f"{base}/api/realtime")[1])["wsUrl"], f"wss://localhost:{s.server.port}/ws", "wsUrl")
        code, _, err = s.curl("--cacert", "/etc/ssl/certs/ca-certificates.crt", f"{base}/health")
        equal(code, 60, "a client that does not know the CA")


@case("bodies and answers of many megabytes arrive whole")
def large_bodies():
    with Secure("--max-body", "32MiB") as s:
        text = "".join(chr(0x30 + i * 7919 % 64) for i in range(1 << 20)) * 12
        http = Http(s.server)
        equal(http.sql("INSERT INTO t(text) VALUES (?) RETURNING length(text)", [text])["rows"], [[len(text)]], "length")
        check(http.sql("SELECT text FROM t")["rows"][0][0] == text, "the text has changed on the way")
        equal([http.sql("SELECT ?", [n])["rows"][0][0] for n in range(200)], list(range(200)), "requests on one connection")
        equal(http.request("POST", "/api/sql", "x" * (33 << 20)).status, 413, "too large")
        http.close()


@case("wss: commands and changes; the log and the metrics know that it is TLS")
async def wss():
    with Secure("--log-level", "debug") as s:
        client = await Client.open(s.server)
        await client.subscribe("t")
        await in_thread(s.server.sql, "INSERT INTO t(n) VALUES (1), (2)")
        equal([(await client.next("database_change"))["data"]["n"] for _ in range(2)], [1, 2], "changes")
        equal(await in_thread(s.metric, "rowtap_tls_connections"), 1, "connections with TLS")
        check(await in_thread(s.metric, "rowtap_tls_handshakes_total") >= 3, "handshakes")
        await client.close()
        log = s.server.stderr()
        opened = re.search(r"connection opened .*", log)[0]
        check(re.search(r"address=127\.0\.0\.1:\d+ .*tls=TLSv1\.3", opened), "%s", opened)
        for line in re.findall(r" request .*|listening .*", log):
            check("tls=TLSv1.3" in line or line.startswith("listening on https://127.0.0.1:"), "%s", line)
        ports = {int(p) for p in re.findall(r" request address=127\.0\.0\.1 port=(\d+)", log)}
        check(int(re.search(r"127\.0\.0\.1:(\d+)", opened)[1]) in ports, "the log does not have the client's own port: %s", log)
        await asyncio.sleep(0.2)
        equal(await in_thread(s.metric, "rowtap_tls_connections"), 0, "connections with TLS afterwards")


@case("Server-Sent Events and a long poll over https")
def streams():
    with Secure() as s:
        raw = RawSocket(s.server)
        raw.send(f"GET /api/changes?table=t HTTP/1.1\r\nHost: {raw.host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        check(raw.head().startswith("HTTP/1.1 200"), "no stream")
        s.server.sql("INSERT INTO t(n) VALUES (41)")
        while b'"n":41' not in raw.buffer:
            check(raw.fill(), "the stream ended: %s", raw.buffer)
        epoch = s.server.get("/health").json["database"]["epoch"]
        polled = s.server.get(f"/api/changes?table=t&since={epoch}:0").json
        equal([m["data"]["n"] for m in polled if m["type"] == "database_change"], [41], "what was polled")
        raw.close()


@case("a snapshot of 20 MB for a client that reads slowly, and changes meanwhile: none missed, none twice")
async def snapshot():
    with Secure() as s:
        await in_thread(s.server.sql, "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 20000) "
                                      "INSERT INTO t SELECT i, i, printf('%.1000c', 'x') FROM i")
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        plain.connect((s.server.host, s.server.port))
        client = await Client.open(s.server, sock=plain, server_hostname=s.server.host, max_queue=1, read_limit=4096)
        seen = {}

        def take(message):
            if message["type"] == "snapshot":
                for row in message["data"]["rows"]:
                    check(row["key"]["id"] not in seen, "twice: %s", row["key"])
                    seen[row["key"]["id"]] = row["data"]["n"]
            elif message["type"] == "database_change":
                seen[message["key"]["id"]] = message["data"]["n"]

        client.consume = take
        await client.send({"type": "subscribe", "table": "t", "snapshot": True, "requestId": "s"})
        for n in range(20):
            await in_thread(s.server.sql, "UPDATE t SET n = -? WHERE id % 2000 = ?", [n, n])
        await client.wait(lambda: len(seen) == 20000 and min(seen.values()) == -19, 60, "the rows")
        rows = dict((await in_thread(s.server.sql, "SELECT id, n FROM t"))["rows"])
        equal({k: v for k, v in seen.items() if rows[k] != v}, {}, "rows that differ")
        await client.close()


@case("permessage-deflate and a resume over wss")
async def compressed():
    with Secure("--compress-min-size", "100") as s:
        client = await Client.open(s.server, compression="deflate")
        await client.subscribe("t")
        for n in range(3):
            await in_thread(s.server.sql, "INSERT INTO t(n, text) VALUES (?, ?)", [n, "again and " * 500])
        changes = [await client.next("database_change") for _ in range(3)]
        equal([c["data"]["n"] for c in changes], [0, 1, 2], "changes")
        check((await in_thread(s.server.get, "/api/websocket/health")).json["compression"]["messages"] >= 3, "nothing was compressed")
        epoch = client.ack["data"]["epoch"]
        await client.close()
        client = await Client.open(s.server)
        reply = await client.request("subscribe", table="t", since=changes[0]["seq"], epoch=epoch)
        equal(reply["data"]["recovered"], True, "recovered")
        equal([(await client.next("database_change"))["data"]["n"] for _ in range(2)], [1, 2], "what was missed")
        await client.close()


@case("a slow reader is closed with 1013, nobody else waits; SIGTERM closes with 1012")
async def closes():
    with Secure("--max-queue", "256KiB") as s:
        slow = await in_thread(RawSocket, s.server, 30, 8192)
        await in_thread(slow.upgrade)
        await in_thread(slow.text, {"type": "subscribe", "table": "t"})
        good = await Client.open(s.server)
        await good.subscribe("t")
        for n in range(150):
            await in_thread(s.server.sql, "INSERT INTO t(n, text) VALUES (?, ?)", [n, "y" * 50000])
            equal((await good.next("database_change"))["data"]["n"], n, "change of the one who reads")
            if "slow consumer" in s.server.stderr():
                break
        equal(await in_thread(slow.close_code), 1013, "close code of the slow one")
        slow.close()
        s.server.signal(signal.SIGTERM)
        equal(await good.wait_closed(), 1012, "close code at the end")
        equal(s.server.wait(seconds(6)), 0, "exit status")
        s.server.forget()


@case("an answer that is under way at SIGTERM still arrives")
def under_way():
    with Secure() as s:
        raw = RawSocket(s.server)
        body = json.dumps({"sql": "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 1500000) SELECT sum(i), zeroblob(3000000) FROM i"})
        raw.send(f"POST /api/sql HTTP/1.1\r\nHost: {raw.host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.1)
        s.server.signal(signal.SIGTERM)
        head = raw.head()
        check(head.startswith("HTTP/1.1 200") or "503" in head.split("\r\n")[0], "%s", head)
        length = int(re.search(r"Content-Length: (\d+)", head)[1])
        equal(len(raw.take(length)), length, "bytes of the answer")
        raw.close()
        equal(s.server.wait(seconds(6)), 0, "exit status")
        s.server.forget()


# ---- the protocol itself -----------------------------------------------------------------------

def connect(s, context=None, name="localhost", timeout=20):
    plain = socket.create_connection((s.server.host, s.server.port), seconds(timeout))
    return (context or s.server.tls).wrap_socket(plain, server_hostname=name)


def limited(s, lowest, highest, ciphers=None):
    context = s.authority.context()
    context.minimum_version, context.maximum_version = lowest, highest
    if ciphers:
        context.set_ciphers(ciphers)
    return context


@case("TLS 1.2 and 1.3 are spoken, 1.1 and weak ciphers are not")
def versions():
    with Secure() as s:
        v = ssl.TLSVersion
        for version, name in ((v.TLSv1_2, "TLSv1.2"), (v.TLSv1_3, "TLSv1.3")):
            with connect(s, limited(s, version, version)) as c:
                equal(c.version(), name, "version")
                c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                check(c.recv(65536).startswith(b"HTTP/1.1 200"), "no answer with %s", name)
        for version, ciphers in ((v.TLSv1_1, "ALL:@SECLEVEL=0"), (v.TLSv1_2, "AES128-SHA:@SECLEVEL=0"), (v.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
                                 (v.TLSv1_2, "AES128-GCM-SHA256")):
            try:
                with connect(s, limited(s, version, version, ciphers)) as c:
                    raise AssertionError(f"{c.version()} with {c.cipher()} was taken")
            except (ssl.SSLError, ConnectionError):
                pass
        context = s.authority.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(s, context) as c:
            equal(c.selected_alpn_protocol(), "http/1.1", "protocol")
        context.set_alpn_protocols(["h2"])
        try:
            connect(s, context).close()
            raise AssertionError("who speaks HTTP/2 only is taken")
        except ssl.SSLError as error:
            check("no application protocol" in str(error).lower().replace("_", " "), "%s", error)
        check(s.metric("rowtap_tls_failed_total") >= 5, "failures are not counted")


@case("a session is resumed with a ticket; nothing compresses, nothing goes early")
def resumed():
    with Secure() as s:
        with connect(s) as c:
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while c.recv(65536):
                pass
            session = c.session
            equal(c.compression(), None, "compression")
        plain = socket.create_connection((s.server.host, s.server.port), seconds(20))
        with s.server.tls.wrap_socket(plain, server_hostname="localhost", session=session) as c:
            check(c.session_reused, "a full handshake again")
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            check(c.recv(65536).startswith(b"HTTP/1.1 200"), "no answer")
        equal(s.metric("rowtap_tls_resumed_total"), 1, "resumed")


def s_client(s, *options):
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    return subprocess.Popen(["openssl", "s_client", "-connect", f"localhost:{s.server.port}", "-CAfile", s.authority.certificate,
                             "-verify_return_error", "-quiet" if "-quiet" in options else "-brief", *[o for o in options if o != "-quiet"]],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def read_until(process, wanted, limit=20):
    """Output of a process, to the text that is wanted."""
    text, end = b"", time.monotonic() + seconds(limit)
    while wanted not in text:
        left = end - time.monotonic()
        ready = left > 0 and select.select([process.stdout], [], [], left)[0]
        check(ready, "no %s: %s", wanted, text)
        data = os.read(process.stdout.fileno(), 65536)
        check(data, "ended without %s: %s", wanted, text)
        text += data
    return text


def ended(process):
    if process.poll() is None:
        process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()


@case("openssl s_client: a handshake typed by hand is answered with 101 and the greeting; other keys for TLS 1.3")
def typed():
    with Secure() as s:
        for option in ("-tls1_3", "-tls1_2"):
            process = s_client(s, option, "-quiet")
            try:
                process.stdin.write(HELLO.encode())
                process.stdin.flush()
                text = read_until(process, b"connection:ack")
                check(b"HTTP/1.1 101 Switching Protocols\r\n" in text, "%s", text)
            finally:
                ended(process)
        process = s_client(s, "-tls1_3")
        try:
            read_until(process, b"Verification: OK")
            process.stdin.write(HELLO.replace("\n", "\n").encode())
            process.stdin.flush()
            read_until(process, b"connection:ack")
            for _ in range(3):
                process.stdin.write(b"K\n")  # new keys, for both sides
                process.stdin.flush()
                read_until(process, b"KEYUPDATE")
            s.server.sql("INSERT INTO t(n) VALUES (1)")
            process.stdin.write(b"\x81\x80\0\0\0\0\n")  # an empty text, which is not JSON, and a stray byte
            process.stdin.flush()
            read_until(process, b"INVALID_FORMAT")
        finally:
            ended(process)


@case("a renegotiation is refused")
def renegotiation():
    with Secure() as s:
        process = s_client(s, "-tls1_2")
        try:
            read_until(process, b"Verification: OK")
            process.stdin.write(b"R\n")
            process.stdin.flush()
            text = read_until(process, b"no renegotiation")
            check(process.wait(seconds(10)) is not None, "%s", text)
        finally:
            ended(process)
        equal(s.server.get("/health").status, 200, "health afterwards")


# ---- who speaks something else ------------------------------------------------------------------

@case("plain HTTP to the port with TLS, and TLS to one without, end clearly")
def mistaken():
    with Secure() as s:
        code, out, err = s.curl(f"http://localhost:{s.server.port}/health")
        equal((code, json.loads(out)["error"]["message"]), (0, "this port speaks TLS: write https:// or wss://"), err)
        with socket.create_connection((s.server.host, s.server.port), seconds(20)) as c:
            c.sendall(HELLO.encode())
            answer = b""
            while data := c.recv(65536):
                answer += data
            check(answer.startswith(b"HTTP/1.1 400 ") and b"wss://" in answer, "%s", answer)
        for noise in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"z" * 70000, os.urandom(5000)):
            with socket.create_connection((s.server.host, s.server.port), seconds(20)) as c:
                try:
                    c.sendall(noise)
                    c.shutdown(socket.SHUT_WR)
                    while c.recv(65536):
                        pass
                except ConnectionError:
                    pass
        with Directory() as other:
            plain = Server(other.file("p.db"))
            if not plain.tls:
                status, _, err = run("health", "--url", f"https://127.0.0.1:{plain.port}", "--insecure")
                check(status == 1 and "does it speak TLS at all?" in err, "%s", err)
            plain.stop()
        equal(s.server.get("/health").status, 200, "health afterwards")


def listening_ports(pid):
    """Of a process: local ports of sockets that listen."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
        if found:
            inodes.add(found[1])
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(r[1].split(":")[1], 16): r[1].split(":")[0] for r in rows if r[3] == "0A" and r[9] in inodes}


@case("the port on which the HTTP server itself listens is on the loopback interface and answers nobody")
def inner_port():
    with Secure() as s:
        ports = listening_ports(s.server.pid)
        inner = [p for p in ports if p != s.server.port]
        equal((len(ports), [ports[p] for p in inner]), (2, ["0100007F"]), "listening sockets")
        for data in (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", HELLO.encode(), b"nonsense\r\n\r\n",
                     b'POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"sql":"DELETE FROM t"}'):
            with socket.create_connection(("127.0.0.1", inner[0]), seconds(20)) as c:
                c.sendall(data)
                try:
                    answer = c.recv(65536)
                except ConnectionError:
                    answer = b""
                check(answer == b"" or answer.startswith(b"HTTP/1.1 421 "), "%s", answer)


# ---- peers that do not get on -------------------------------------------------------------------

@case("who never finishes the handshake, or says nothing after it, is let go after --handshake-timeout")
def unfinished():
    with Secure("--handshake-timeout", "1") as s:
        hello = ssl.MemoryBIO()
        try:
            s.authority.context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = hello.read()
        begun = time.monotonic()
        peers = [socket.create_connection((s.server.host, s.server.port), seconds(20)) for _ in range(90)]
        for i, peer in enumerate(peers):
            peer.sendall((b"", hello[:1], hello)[i % 3])
        silent = connect(s)
        threads = s.server.threads()
        equal(s.server.get("/health").status, 200, "health meanwhile")
        check(time.monotonic() - begun < seconds(2), "others waited")
        for peer in peers:
            try:
                while peer.recv(65536):
                    pass
            except ConnectionError:
                pass
            peer.close()
        taken = time.monotonic() - begun
        check(0.9 <= taken < seconds(5), "let go after %.1f s", taken)
        equal(silent.recv(100), b"", "what the silent one gets")
        check(s.metric("rowtap_tls_timed_out_total") >= 91, "timed out: %s", s.metric("rowtap_tls_timed_out_total"))
        equal(s.server.threads(), threads, "threads")


@case("2,000 unfinished handshakes at once: the oldest go, and good clients do not notice")
async def flood(args):
    count = 400 if args.quick else 2000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with Secure("--handshake-timeout", "20") as s:
        good = await Client.open(s.server)
        await good.subscribe("t")
        peers = []
        for n in range(count):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex((s.server.host, s.server.port))
            peers.append(peer)
            if n % 100 == 50:
                begun = time.monotonic()
                await in_thread(s.server.sql, "INSERT INTO t(n) VALUES (?)", [n])
                equal((await good.next("database_change"))["data"]["n"], n, "change")
                check(time.monotonic() - begun < seconds(3), "a good client waited %.1f s", time.monotonic() - begun)
        await asyncio.sleep(0.5)
        waiting = await in_thread(s.metric, "rowtap_tls_http_connections")
        check(waiting <= 1024 + 64, "%d are kept waiting", waiting)
        dropped = await in_thread(s.metric, "rowtap_tls_dropped_total")
        check(dropped >= count - 1100 - 64, "%d were dropped", dropped)
        for peer in peers:
            peer.close()
        await good.close()


@case("requests with the same head follow each other on one connection, which then becomes a WebSocket's")
def kept():
    with Secure() as s:
        with connect(s) as sock:
            got = b""
            for i in range(1, 41):
                body = json.dumps({"sql": "SELECT ?", "params": [i * 7919 ** (i % 3)]})
                head = f"POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall((head + body).encode())
                got = b""
                while not got.endswith(b"}"):
                    more = sock.recv(65536)
                    check(more, "the connection ended at request %d", i)
                    got += more
                check(f"[[{i * 7919 ** (i % 3)}]]".encode() in got, "request %d: %r", i, got)
            sock.sendall(HELLO.encode())
            got = b""
            while b"connection:ack" not in got:
                more = sock.recv(65536)
                check(more, "the connection ended after the handshake: %r", got)
                got += more
            check(got.startswith(b"HTTP/1.1 101 "), "%r", got)


@case("a hello in single bytes, and a request in single bytes, are understood")
def drip():
    with Secure() as s:
        plain = socket.create_connection((s.server.host, s.server.port), seconds(20))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = s.server.tls.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def drop():
            for byte in outgoing.read():
                plain.sendall(bytes([byte]))

        def until(function, *arguments):
            while True:
                try:
                    return function(*arguments)
                except ssl.SSLWantReadError:
                    drop()
                    incoming.write(plain.recv(65536))
                finally:
                    drop()

        until(tls.do_handshake)
        for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n":
            until(tls.write, bytes([byte]))  # a record each
        check(until(tls.read, 65536).startswith(b"HTTP/1.1 200"), "no answer")
        plain.close()


@case("who shuts its own side after a request still gets the answer; who goes away in the middle does no harm")
def half_closed():
    with Secure() as s:
        for tail in ("end", "reset"):
            for request in (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", HELLO.encode()):
                plain = socket.create_connection((s.server.host, s.server.port), seconds(20))
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = s.server.tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        plain.sendall(outgoing.read())
                        incoming.write(plain.recv(65536))
                tls.write(request)
                plain.sendall(outgoing.read())
                if tail == "reset":
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    plain.close()
                    continue
                plain.shutdown(socket.SHUT_WR)
                answer = b""
                while True:
                    try:
                        data = tls.read(65536)
                        if not data:  # close_notify
                            break
                        answer += data
                    except ssl.SSLWantReadError:
                        data = plain.recv(65536)
                        check(data, "the connection ended without a close_notify")
                        incoming.write(data)
                if b"GET /health" in request:
                    check(answer.startswith(b"HTTP/1.1 200") and b'"status":"ok"' in answer, "%s", answer)
                plain.close()
        equal(s.server.get("/health").status, 200, "health afterwards")


@case("when descriptors run out the server goes on as soon as there are some")
def descriptors():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))

    with Secure("--http-threads", "8", "--max-connections", "20", "--handshake-timeout", "3", prepare=few) as s:
        peers = [socket.create_connection((s.server.host, s.server.port), seconds(20)) for _ in range(200)]
        time.sleep(0.5)
        cpu = s.server.cpu_seconds()
        time.sleep(1)
        check(s.server.cpu_seconds() - cpu < 0.5, "it spins: %.2f s of processor time in one", s.server.cpu_seconds() - cpu)
        for peer in peers:
            peer.close()
        end = time.monotonic() + seconds(15)
        while True:
            try:
                equal(s.server.get("/health").status, 200, "health afterwards")
                break
            except (OSError, ssl.SSLError):
                check(time.monotonic() < end, "no answer any more")
                time.sleep(0.2)


# ---- certificates ------------------------------------------------------------------------------

@case("SIGHUP: new connections get the new certificate, old ones go on, and a bad pair changes nothing")
async def reload():
    with Secure() as s:
        client = await Client.open(s.server)
        await client.subscribe("t")
        first = await in_thread(s.serial)

        def put(pair):
            for source, target in zip(pair, s.pair):
                shutil.copy(source, target + ".new")
                os.rename(target + ".new", target)

        def hup(pattern):
            since = len(s.server.stderr())
            s.server.signal(signal.SIGHUP)
            return s.wait_log(pattern, since)

        put(s.authority.issue("second"))
        hup(r"info +SIGHUP: the certificate and its key have been read again")
        second = await in_thread(s.serial)
        check(first != second, "still the certificate of before")
        put((s.authority.issue("third")[0], s.pair[1]))
        hup(r"error the certificate stays as it was: the key in \S+ is not that of the certificate in \S+")
        equal(await in_thread(s.serial), second, "serial after a key that does not match")
        with open(s.pair[0], "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nhalf of i")
        hup(r"error the certificate stays as it was: the certificate in \S+ cannot be used: ")
        os.unlink(s.pair[0])
        hup(r"error the certificate stays as it was: cannot read the certificate in \S+ \(--tls-cert\): No such file")
        equal(await in_thread(s.serial), second, "serial after all that")
        await in_thread(s.server.sql, "INSERT INTO t(n) VALUES (9)")
        equal((await client.next("database_change"))["data"]["n"], 9, "change on the first connection")
        put(s.authority.issue("fourth"))
        hup(r"info +SIGHUP: the certificate and its key have been read again")
        check(await in_thread(s.serial) not in (first, second), "not the fourth")
        await client.close()


def refused(what, *options):
    with Directory() as directory:
        status, _, err = run("serve", directory.file("x.db"), "--listen", "127.0.0.1:0", *options)
        check(not os.path.exists(directory.file("x.db")), "%s: the database was opened first", what)
        return status, err


@case("whatever is wrong with the files is said at the start")
def bad_files():
    with Directory() as directory:
        authority = Authority(directory.path)
        cert, key = authority.issue("good")
        other = authority.issue("other")

        def file(name, content, mode=0o600):
            path = directory.file(name)
            with open(path, "wb") as out:
                out.write(content)
            os.chmod(path, mode)
            return path

        def read(path):
            with open(path, "rb") as source:
                return source.read()

        encrypted, der = directory.file("encrypted.key"), directory.file("cert.der")
        openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", encrypted)
        openssl("x509", "-in", cert, "-outform", "der", "-out", der)
        p12 = directory.file("pair.p12")
        openssl("pkcs12", "-export", "-in", cert, "-inkey", key, "-passout", "pass:", "-out", p12)
        short = directory.file("short.key"), directory.file("short.pem")
        openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=short", "-keyout", short[0], "-out", short[1])
        table = [
            (("--tls-cert", cert), 2, r"--tls-cert goes with --tls-key"),
            (("--tls-key", key), 2, r"--tls-key goes with --tls-cert"),
            ((cert, other[1]), 1, r"the key in \S+other.key is not that of the certificate in \S+good.pem"),
            (("/nowhere/x.pem", key), 1, r"cannot read the certificate in /nowhere/x.pem \(--tls-cert\): No such file or directory"),
            ((cert, "/nowhere/x.key"), 1, r"cannot read the key in /nowhere/x.key \(--tls-key\): No such file or directory"),
            ((directory.path, key), 1, r"cannot read the certificate in \S+ \(--tls-cert\): Is a directory"),
            ((cert, encrypted), 1, r"encrypted.key cannot be used: it is encrypted; decrypt it"),
            ((key, cert), 1, r"the file has a key but no certificate; are --tls-cert and --tls-key the wrong way round\?"),
            ((cert, cert), 1, r"the file has a certificate but no key"),
            ((der, key), 1, r"the file is in DER, or PKCS #12; convert it to PEM: openssl x509"),
            ((p12, key), 1, r"the file is in DER, or PKCS #12"),
            ((cert, p12), 1, r"the file is in DER, or PKCS #12; convert it to PEM: openssl pkey"),
            ((file("empty", b""), key), 1, r"the file is empty"),
            ((file("noise", b"hello\n"), key), 1, r"the file is not in PEM"),
            ((cert, file("large", b"x" * (2 << 20))), 1, r"larger than 1 MiB"),
            ((file("cut.pem", read(cert)[:300]), key), 1, r"cut.pem cannot be used: "),
            ((file("chain.pem", read(cert) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key), 1,
             r"one of the certificates behind the first is damaged"),
            ((short[1], short[0]), 1, r"short.pem cannot be used: .*too small"),
        ]
        for pair, status, pattern in table:
            options = pair if pair[0].startswith("--") else ("--tls-cert", pair[0], "--tls-key", pair[1])
            got = refused(pair, *options)
            check(got[0] == status and re.search(pattern, got[1]), "%s: %s", pair, got)
            check(got[1].count("\n") == 1 and "BEGIN PRIVATE" not in got[1], "%s: %s", pair, got)
        if os.getuid() != 0:
            got = refused("unreadable", "--tls-cert", cert, "--tls-key", file("secret.key", b"x", 0o000))
            check(got[0] == 1 and "Permission denied" in got[1], "%s", got)
        # The whole chain is shown.
        middle = authority.issue("middle")
        server = Server(directory.file("c.db"), "--tls-cert", file("both.pem", read(cert) + read(middle[0])), "--tls-key", key, authority=authority)
        shown = openssl("s_client", "-connect", f"127.0.0.1:{server.port}", "-showcerts", data=b"", check_status=False)
        equal(shown.count(b"-----BEGIN CERTIFICATE-----"), 2, "certificates shown")
        server.stop()


@case("TLS alone does not open the server to other machines; an RSA certificate and IPv6 work")
def addresses():
    with Directory() as directory:
        authority = Authority(directory.path)
        pair = authority.issue("rsa", kind=("-newkey", "rsa:2048"))
        files = ("--tls-cert", pair[0], "--tls-key", pair[1])
        status, _, err = run("serve", directory.file("x.db"), "--listen", "0.0.0.0:0", *files)
        check(status == 2 and "refusing to listen on 0.0.0.0:0" in err, "%s %s", status, err)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            status, _, err = run("serve", directory.file("x.db"), "--listen", "127.0.0.1:%d" % taken.getsockname()[1], *files)
            check(status == 1 and "Address already in use" in err and "cannot listen on 127.0.0.1:" in err, "%s %s", status, err)
        listen = ["127.0.0.1:0", "--listen", "[::1]:0"] if os.path.exists("/proc/net/if_inet6") else ["127.0.0.1:0"]
        server = Server(directory.file("x.db"), *listen[1:], *files, listen=listen[0], authority=authority)
        equal(server.get("/health").status, 200, "health")
        if len(listen) > 1:
            port = int(re.search(r"listening on https://\[::1\]:(\d+)", server.stderr())[1])
            with socket.create_connection(("::1", port), seconds(20)) as plain:
                with server.tls.wrap_socket(plain, server_hostname="::1") as c:
                    c.sendall(f"GET /health HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n".encode())
                    check(c.recv(65536).startswith(b"HTTP/1.1 200"), "no answer over IPv6")
        equal(server.post("/api/sql", {"sql": "SELECT 1"}, {"Origin": f"https://127.0.0.1:{server.port}"}).status, 200, "a page of its own")
        equal(server.post("/api/sql", {"sql": "SELECT 1"}, {"Origin": "https://evil.example"}).status, 403, "a page of another site")
        server.stop()


# ---- our own commands --------------------------------------------------------------------------

@case("the commands: sql, watch, send and health over https and wss, with --cacert, $ROWTAP_CACERT, --insecure and without")
def commands():
    with Secure() as s:
        url, trust = f"https://localhost:{s.server.port}", ("--cacert", s.authority.certificate)
        equal(run("sql", "--url", url, *trust, "--format", "csv", "SELECT 6 * 7 AS n"), (0, "n\r\n42\r\n", ""), "sql")
        status, out, err = run("health", "--url", f"wss://localhost:{s.server.port}", env={"ROWTAP_CACERT": s.authority.certificate})
        check(status == 0, "health: %s %s", out, err)
        equal(run("health", "--url", url, "--insecure")[0], 0, "health --insecure")
        equal(run("send", "--url", url, *trust, "notifications", "x", "{}")[0], 0, "send")
        for verb, rest in (("sql", ["SELECT 1"]), ("watch", ["t"]), ("health", []), ("send", ["notifications", "x", "{}"])):
            status, _, err = run(verb, "--url", url, *rest)
            check(status == 1 and "shows a certificate that cannot be trusted" in err and "--cacert FILE" in err, "%s: %s", verb, err)
        status, _, err = run("sql", "--url", url, "--cacert", "/nowhere", "SELECT 1")
        check(status == 1 and "the CA's certificates cannot be read" in err, "%s", err)
        status, _, err = run("sql", "--url", f"http://localhost:{s.server.port}", "SELECT 1")
        check(status == 1 and "this port speaks TLS: write https:// or wss://" in err, "%s", err)
        status, _, err = run("watch", "--url", f"ws://localhost:{s.server.port}", "t")
        check(status == 1 and "this port speaks TLS: write https:// or wss://" in err, "%s", err)
        watch = subprocess.Popen([BIN, "watch", "--url", f"wss://localhost:{s.server.port}", *trust, "--format", "json", "--snapshot", "t"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
        try:
            end = time.monotonic() + seconds(20)
            while s.metric("rowtap_subscriptions") == 0:
                check(time.monotonic() < end, "watch does not subscribe")
            s.server.sql("INSERT INTO t(n, text) VALUES (5, ?)", ["z" * 200000])
            while b'"type":"snapshot"' in (line := watch.stdout.readline()):
                pass
            check(b'"n":5' in line and len(line) > 200000, "%s", line[:300])
            watch.send_signal(signal.SIGINT)
            check(watch.wait(seconds(10)) in (0, 130, -2), "watch ended with %s", watch.returncode)
        finally:
            if watch.poll() is None:
                watch.kill()
            watch.wait(10)
            watch.stdout.close()


if __name__ == "__main__":
    main()
