#!/usr/bin/python3
"""The reverse proxies of README, as it writes them down, between clients and the server: nginx and Caddy, where they
are installed. Only the ports, the addresses behind and the files are others than there."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Authority, Directory, RawSocket, Server, Skip, case, check, equal, main, seconds  # noqa: E402

NAME = "db.example.org"
README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")


def recipe(begin):
    """The block of README that begins so."""
    with open(README, encoding="utf-8") as file:
        blocks = [b.split("\n", 1)[1].rstrip("\n") for b in re.split(r"^```", file.read(), flags=re.M)[1::2]]
    found = [b for b in blocks if b.startswith(begin)]
    equal(len(found), 1, f"blocks that begin with {begin!r}")
    return found[0]


def put(text, what, instead):
    check(text.count(what) == 1, "%r is not once in the recipe", what)
    return text.replace(what, instead)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Name:
    """TLS to the public name, wherever that is."""

    def __init__(self, authority):
        self.context = authority.context()

    def wrap_socket(self, s, server_hostname):
        return self.context.wrap_socket(s, server_hostname=NAME)


class Proxy:
    """A running one: where clients connect to."""

    def __init__(self, directory, server, authority):
        self.directory, self.host, self.port, self.tls = directory, "127.0.0.1", free_port(), Name(authority)
        certificate, key = authority.issue("proxy", names=f"DNS:{NAME}")
        command = self.prepare(f"127.0.0.1:{server.port}", certificate, key)
        self.errors = open(directory.file("proxy.log"), "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors, cwd=directory.path,
                                        env={**os.environ, "HOME": directory.path, "XDG_DATA_HOME": directory.path, "XDG_CONFIG_HOME": directory.path})
        end = time.monotonic() + seconds(20)
        while True:
            try:
                RawSocket(self).socket.close()
                return
            except OSError:
                check(self.process.poll() is None and time.monotonic() < end, "the proxy does not come up: %s", self.words())
                time.sleep(0.05)

    def words(self):
        with open(self.errors.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds(10))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


class Nginx(Proxy):
    def prepare(self, behind, certificate, key):
        text = put(recipe("map $http_upgrade"), "listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;")
        text = put(text, "/etc/letsencrypt/live/db.example.org/fullchain.pem", certificate)
        text = put(text, "/etc/letsencrypt/live/db.example.org/privkey.pem", key)
        text = put(text, "127.0.0.1:8080", behind)
        path = self.directory.file("nginx.conf")
        places = "".join(f"{what}_temp_path {self.directory.file(what)};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"daemon off;\nmaster_process off;\npid {self.directory.file('pid')};\nevents {{}}\nhttp {{\naccess_log off;\n{places}{text}\n}}\n")
        return ["nginx", "-e", "stderr", "-c", path]


class Caddy(Proxy):
    def prepare(self, behind, certificate, key):
        text = put(recipe("db.example.org {"), "db.example.org {", f"{NAME}:{self.port} {{\n    tls {certificate} {key}")
        text = put(text, "127.0.0.1:8080", behind)
        path = self.directory.file("Caddyfile")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{\n    admin off\n    auto_https disable_redirects\n}\n" + text + "\n")
        return ["caddy", "run", "--adapter", "caddyfile", "--config", path]


def ask(proxy, method, path, body=None, **headers):
    """(status, text) of a request on a connection of its own."""
    raw = RawSocket(proxy)
    body = json.dumps(body).encode() if body is not None else b""
    lines = {"Host": NAME, "Connection": "close", "Content-Length": len(body), "Content-Type": "application/json", **headers}
    raw.send(f"{method} {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n" + body)
    head = raw.head()
    try:
        while raw.fill():
            pass
    except OSError:
        pass
    raw.socket.close()
    return int(head.split()[1]), raw.buffer.decode()


def sql(proxy, text):
    status, answer = ask(proxy, "POST", "/api/sql", {"sql": text})
    equal(status, 200, answer)


def wait_for(raw, wanted):
    end = time.monotonic() + seconds(10)
    while wanted not in raw.buffer:
        check(time.monotonic() < end and raw.fill(), "%r did not come: %r", wanted, raw.buffer[-300:])


def through(kind, program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")
    with Directory() as directory:
        authority = Authority(directory.path)
        server = Server(directory.file("a.db"), "--origin", f"https://{NAME}", "--trusted-proxy", "127.0.0.1", "--rate", "http@address=1/40")
        with kind(directory, server, authority) as proxy:
            sql(proxy, "CREATE TABLE t(a)")
            ws = RawSocket(proxy)
            head = ws.upgrade(Host=NAME, Origin=f"https://{NAME}")
            check(head.startswith("HTTP/1.1 101 "), "no upgrade: %s %s", head, proxy.words())
            ws.message()
            ws.text({"type": "subscribe", "table": "t"})
            equal(ws.message()["type"], "subscribed")
            foreign = RawSocket(proxy)
            check(" 403 " in foreign.upgrade(Host=NAME, Origin="https://evil.example"), "another page's WebSocket is let in")
            sse = RawSocket(proxy)
            sse.send(f"GET /api/changes?table=t HTTP/1.1\r\nHost: {NAME}\r\nAccept: text/event-stream\r\n\r\n".encode())
            check(" 200 " in sse.head(), "no event stream")
            wait_for(sse, b"subscribed")
            for i in range(3):  # each comes at once, not with the next
                sql(proxy, f"INSERT INTO t VALUES ('row {i}')")
                equal(ws.message()["data"]["a"], f"row {i}")
                wait_for(sse, f"row {i}".encode())
            # The rates count the client behind the proxy, who is limited; the proxy is not, nor who says he is another.
            statuses = [ask(proxy, "GET", "/api/tables", **{"X-Forwarded-For": f"192.0.2.{i}"})[0] for i in range(60)]
            check(429 in statuses, "the client is not limited: %s", statuses)
            equal(server.get("/health").status, 200, "/health on the server itself")
            for raw in (ws, foreign, sse):
                raw.socket.close()
        server.stop()


@case("nginx, as in README")
def nginx():
    through(Nginx, "nginx")


@case("Caddy, as in README")
def caddy():
    through(Caddy, "caddy")


if __name__ == "__main__":
    main()
