"""A server with a policy and the tokens for it, for the tests of policies."""
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Client, Directory, RawSocket, Server, check, equal, seconds  # noqa: E402

SECRET = b"correct horse battery staple, and more"

SCHEMA = """
CREATE TABLE notes(id INTEGER PRIMARY KEY, user_id TEXT, title TEXT, secret TEXT);
CREATE TABLE public(id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE teams(id INTEGER PRIMARY KEY, team INT, name TEXT COLLATE NOCASE, level INT);
CREATE TABLE wages(id INTEGER PRIMARY KEY, user_id TEXT, amount INT);
CREATE VIEW all_notes AS SELECT * FROM notes;
INSERT INTO notes VALUES (1,'ann','a1','s1'),(2,'bob','b1','s2'),(3,'ann','a2','s3'),(4,NULL,'n','s4'),(5,'Ann','A','s5'),
  (6,'','empty','s6'),(7,'{sub}','brace','s7');
INSERT INTO public VALUES (1,'p');
INSERT INTO teams VALUES (1,3,'red',1),(2,4,'blue',2),(3,NULL,'grey',3);
INSERT INTO wages VALUES (1,'ann',1000),(2,'bob',2000);
"""

POLICY = {"roles": {
    "user": {
        "sql": True,
        "tables": {
            "notes": {"read": ["id", "user_id", "title"], "write": ["user_id", "title"], "rows": "user_id={sub}"},
            "public": {"read": True, "write": True},
            "teams": {"read": True, "rows": ["team in ({team},99)", "level<={level}"]}},
        "channels": {"join": ["notifications", "tables", "queries", "collaboration", "room:*"],
                     "broadcast": ["room:*", "collaboration"]}},
    "reader": {"tables": {"public": {"read": True}, "all_notes": {"read": True}}},
    "writer": {"sql": True, "tables": {"public": {"write": True}}},
    "empty": {},
    "admin": {"sql": True, "tables": {"*": {"read": True, "write": True}},
              "channels": {"join": ["*"], "broadcast": ["*"]}}}}

RESTRICTED = ["user", "reader", "writer", "empty", "nobody", None]


# ---- tokens and servers ----------------------------------------------------------------------

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(role="user", sub="ann", ttl=600, **claims):
    claims = {"exp": time.time() + ttl, **claims}
    if sub is not None:
        claims["sub"] = sub
    if role is not None:
        claims["role"] = role
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims)).encode()
    return text.decode() + "." + b64(hmac.new(SECRET, text, hashlib.sha256).digest())


def bearer(*arguments, **named):
    return {"Authorization": "Bearer " + token(*arguments, **named)}


def write(path, content):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(content if isinstance(content, str) else json.dumps(content, indent=1))
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)
    return path


class Policed:
    """A server with the policy, in a directory of its own."""

    def __init__(self, policy=None, schema=SCHEMA, options=(), prepare=None):
        """`prepare` makes the file, by its path, before the server serves it."""
        self.directory, self.policy, self.schema, self.options = Directory(), policy or POLICY, schema, options
        self.prepare = prepare

    def __enter__(self):
        self.directory.__enter__()
        secret = write(self.directory.file("secret"), SECRET.decode())
        if self.prepare:
            self.prepare(self.directory.file("a.db"))
        self.policy_path = write(self.directory.file("policy.json"), self.policy)
        self.server = Server(self.directory.file("a.db"), "--jwt-secret-file", secret, "--policy", self.policy_path,
                             *self.options)
        self.server.policed = self
        self.admin(self.schema)
        return self

    def __exit__(self, *how):
        self.server.__exit__(*how)
        self.directory.__exit__(*how)

    def post(self, path, body, *arguments, **named):
        return self.server.post(path, body, bearer(*arguments, **named))

    def get(self, path, *arguments, **named):
        return self.server.get(path, bearer(*arguments, **named))

    def sql(self, sql, params=None, role="user", **claims):
        body = {"sql": sql} if params is None else {"sql": sql, "params": params}
        return self.server.post("/api/sql", body, bearer(role, **claims))

    def admin(self, sql, params=None):
        answer = self.sql(sql, params, role="admin", sub="root")
        equal(answer.status, 200, f"{sql}: {answer}")
        return answer.json

    async def client(self, role="user", sub="ann", **claims):
        client = await Client.open(self.server, "/ws?token=" + token(role, sub, **claims))
        client.role = role
        return client

    def events(self, query, *arguments, last=None, **named):
        """The lines of an event stream, as they come."""
        raw = RawSocket(self.server)
        text = token(*arguments, **named)
        raw.send(f"GET /api/changes?{query} HTTP/1.1\r\nHost: {raw.host}\r\nAccept: text/event-stream\r\n"
                 f"Authorization: Bearer {text}\r\n{f'Last-Event-ID: {last}' + chr(13) + chr(10) if last else ''}\r\n".encode())
        return raw

    def hang_up(self):
        self.server.signal(signal.SIGHUP)

    def wait_log(self, text, count=1, timeout=10):
        end = time.monotonic() + seconds(timeout)
        while self.server.stderr().count(text) < count:
            check(time.monotonic() < end, "no %r in the log:\n%s", text, self.server.stderr()[-2000:])
            time.sleep(0.02)
