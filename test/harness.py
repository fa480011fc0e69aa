"""What the black-box tests share: TAP output, a rowtap server as a child process, HTTP and WebSocket
clients. The binary comes from $ROWTAP_BIN. Every wait is bounded; processes are ended by their pid.

A slow build (sanitizers) sets ROWTAP_SLOW to a factor for all time-outs.
"""
import argparse
import asyncio
import atexit
import base64
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import traceback

SLOW = float(os.environ.get("ROWTAP_SLOW", "1"))
BIN = os.path.abspath(os.environ.get("ROWTAP_BIN", "build/gcc/rowtap"))
SANITIZER = re.compile(
    r"(ERROR: \w*Sanitizer|WARNING: \w*Sanitizer|runtime error:|Assertion .* failed|SUMMARY: \w*Sanitizer)")


def seconds(n):
    """A time-out of n seconds on an ordinary build."""
    return n * SLOW


# ---- TAP -------------------------------------------------------------------------------------

class Skip(Exception):
    """Raised by a case that cannot run here; the text says what is missing."""


CASES = []


def case(name):
    """Registers a function as a test case."""
    def add(function):
        CASES.append((name, function))
        return function
    return add


def check(condition, message="condition does not hold", *args):
    if not condition:
        raise AssertionError(message % args if args else message)


def equal(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}:\n  got    {shorten(got)}\n  wanted {shorten(wanted)}")


def shorten(value, limit=600):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"


def note(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def story(error):
    """A failed check in short: where in the tests, and its message; anything else with its traceback."""
    if not isinstance(error, AssertionError):
        return "".join(traceback.format_exception(error))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith("harness.py")]
    where = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames))
    return f"{where}\n{error}"


def main(options=None):
    """Runs the registered cases: `--only TEXT` selects by name, `--quick` is left to the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--tls", action="store_true", help="over TLS; some cases look at what is different there, and fail")
    if options:
        options(parser)
    args = parser.parse_args()
    if not os.access(BIN, os.X_OK):
        print(f"Bail out! no rowtap binary at {BIN}: build it, or set ROWTAP_BIN")
        sys.exit(1)
    chosen = [c for c in CASES if args.only in c[0]]
    print(f"1..{len(chosen)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(chosen, 1):
        begun = time.monotonic()
        try:
            result = function(args) if function.__code__.co_argcount else function()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            Server.check_all()
            print(f"ok {number} - {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except (Exception, KeyboardInterrupt) as error:
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            note(story(error))
            for server in Server.running:
                note("server's last words:\n" + server.stderr()[-2000:])
            if isinstance(error, KeyboardInterrupt):
                break
        finally:
            Server.kill_all()
    sys.exit(1 if failed else 0)


# ---- values ----------------------------------------------------------------------------------

def loads(text):
    """JSON in, with integers and reals kept apart and 9e999 read as an infinity."""
    return json.loads(text)


def dumps(value):
    """JSON out; infinities, which JSON has no word for, as 9e999."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("Infinity", "9e999") if "Infinity" in text else text


def form(value):
    """A SQLite value (text as bytes) as its JSON form; runs of U+FFFD count as one."""
    if isinstance(value, (bytes, memoryview)):
        return {"$base64": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, str):
        return replaced(value)
    return value


def replaced(text):
    return re.sub("\ufffd+", "\ufffd", text)


def same(value):
    """A JSON value in a form that tells 1 from 1.0 and can be compared and hashed."""
    if isinstance(value, dict):
        return ("{",) + tuple(sorted((k, same(v)) for k, v in value.items()))
    if isinstance(value, list):
        return ("[",) + tuple(same(v) for v in value)
    if isinstance(value, str):
        return replaced(value)
    return (type(value).__name__, repr(value))


# ---- the server ------------------------------------------------------------------------------

class Directory:
    """A temporary directory, removed at the end."""
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="rowtap-test-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name):
        return os.path.join(self.path, name)


class Authority:
    """A CA of the program openssl, and certificates of it."""

    def __init__(self, path):
        self.path = path
        self.certificate = os.path.join(path, "ca.pem")
        openssl("req", "-x509", *EC_KEY, "-nodes", "-days", "30", "-subj", "/CN=rowtap test CA", "-keyout", self.key("ca"),
                "-out", self.certificate)

    def key(self, name):
        return os.path.join(self.path, name + ".key")

    def issue(self, name, *more, names="DNS:localhost,IP:127.0.0.1,IP:::1", kind=None):
        """Files of a certificate and its key."""
        request, out = os.path.join(self.path, name + ".csr"), os.path.join(self.path, name + ".pem")
        openssl("req", *(kind or EC_KEY), "-nodes", "-subj", f"/CN={name}", "-keyout", self.key(name), "-out", request)
        with open(request + ".ext", "w") as file:
            file.write(f"subjectAltName={names}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key("ca"), "-CAcreateserial",
                "-extfile", request + ".ext", "-out", out, *(more or ("-days", "30")))
        return out, self.key(name)

    def context(self):
        """For a client that trusts it."""
        return ssl.create_default_context(cafile=self.certificate)


EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(*arguments, data=None, check_status=True):
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60)
    check(done.returncode == 0 or not check_status, "openssl %s: %s", arguments, done.stderr)
    return done.stdout


class Everywhere:
    """With --tls every server speaks TLS, with this certificate, and so do its clients."""
    wanted = "--tls" in sys.argv
    authority = pair = None

    @classmethod
    def options(cls):
        if not cls.wanted:
            return []
        if not cls.authority:
            path = tempfile.mkdtemp(prefix="rowtap-ca-")
            atexit.register(shutil.rmtree, path, True)
            cls.authority = Authority(path)
            cls.pair = cls.authority.issue("server")
        return ["--tls-cert", cls.pair[0], "--tls-key", cls.pair[1]]


class Server:
    """`rowtap serve PATH --listen 127.0.0.1:0 OPTIONS…`, up when the constructor returns."""
    running = []

    def __init__(self, path, *options, listen="127.0.0.1:0", wait=True, env=None, prepare=None, authority=None):
        """`prepare` runs in the child before the program starts. Clients trust the authority, if any."""
        if authority is None and "--tls-cert" not in options:
            options = (*options, *Everywhere.options())
            authority = Everywhere.authority
        self.tls = authority.context() if authority else None
        self.path = path
        self.log_path = tempfile.NamedTemporaryFile(prefix="rowtap-log-", delete=False).name
        self.failure = None
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [BIN, "serve", path, "--listen", listen, *map(str, options)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment(env), preexec_fn=prepare or raise_nofile)
        Server.running.append(self)
        self.pid = self.process.pid
        if wait:
            self.wait_listening()

    def stderr(self):
        try:
            with open(self.log_path, "r", errors="replace") as log:
                return log.read()
        except OSError:
            return ""

    def said(self, text):
        """Whether the log has it, or soon has: a thread writes it."""
        end = time.monotonic() + seconds(5)
        while text not in self.stderr():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def wait_listening(self):
        end = time.monotonic() + seconds(20)
        while time.monotonic() < end:
            found = re.search(r"listening on (https?)://(\S+):(\d+)", self.stderr())
            if found:
                self.host, self.port = found[2], int(found[3])
                self.url = f"{found[1]}://{self.host}:{self.port}"
                self.ws_url = f"ws{'s' if found[1] == 'https' else ''}://{self.host}:{self.port}/ws"
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        text = self.stderr()
        self.kill()
        raise AssertionError(f"the server did not come up (exit {self.process.returncode}):\n{text}")

    def http(self):
        return Http(self)

    def sql(self, sql, params=None):
        """Runs SQL and returns the answer; anything but 200 fails the test."""
        connection = Http(self)
        try:
            return connection.sql(sql, params)
        finally:
            connection.close()

    def post(self, path, body, headers=None, method="POST"):
        connection = Http(self)
        try:
            return connection.request(method, path, body, headers)
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.post(path, None, headers, method="GET")

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """Bytes of private memory (the server's own, not the kernel's socket buffers)."""
        with open(f"/proc/{self.pid}/smaps_rollup") as rollup:
            return sum(int(line.split()[1]) for line in rollup
                       if line.startswith(("Private_Clean:", "Private_Dirty:"))) * 1024

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, limit=5):
        """SIGTERM; the exit must be 0 within `limit` seconds and no sanitizer may have spoken."""
        self.signal(signal.SIGTERM)
        begun = time.monotonic()
        code = self.wait(seconds(limit) + 10)
        taken = time.monotonic() - begun
        text = self.stderr()
        if code is None:
            self.kill()
            raise AssertionError(f"no exit after SIGTERM:\n{text[-4000:]}")
        self.forget()
        found = SANITIZER.search(text)
        check(not found, "sanitizer report:\n%s", text[-6000:])
        check(code == 0, "exit status %d after SIGTERM:\n%s", code, text[-4000:])
        check(taken <= seconds(limit) + 2, "the server took %.1f s to stop", taken)

    def kill(self):
        """SIGKILL, as a crash would."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        text = self.stderr()
        self.forget()
        return text

    def forget(self):
        if self in Server.running:
            Server.running.remove(self)
            try:
                os.unlink(self.log_path)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, _trace):
        if kind is None and self in Server.running:
            self.stop()

    @classmethod
    def check_all(cls):
        """The servers a case left running are stopped and must end well."""
        for server in list(cls.running):
            server.stop()

    @classmethod
    def kill_all(cls):
        for server in list(cls.running):
            server.kill()


def environment(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("ROWTAP_")}
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:allocator_may_return_null=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=0:second_deadlock_stack=1")
    env.update(extra or {})
    return env


def raise_nofile():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(*arguments, stdin=None, timeout=30, env=None, prepare=None):
    """Runs the binary to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([BIN, *map(str, arguments)], input=stdin, capture_output=True, timeout=seconds(timeout),
                          env=environment(env), preexec_fn=prepare, **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    err = done.stderr.decode(errors="replace")
    check(not SANITIZER.search(err), "sanitizer report:\n%s", err[-6000:])
    return done.returncode, done.stdout.decode(errors="replace"), err


# ---- HTTP ------------------------------------------------------------------------------------

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return loads(self.body)

    @property
    def code(self):
        """The error's code, or None."""
        try:
            return self.json["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None

    def __repr__(self):
        return f"{self.status} {shorten(self.body.decode(errors='replace'))}"


def connection_to(server, timeout):
    if server.tls:
        return http.client.HTTPSConnection(server.host, server.port, timeout=timeout, context=server.tls)
    return http.client.HTTPConnection(server.host, server.port, timeout=timeout)


class Http:
    """A keep-alive connection, opened again when the server closed it between two requests."""
    def __init__(self, server, timeout=60):
        self.server = server
        self.timeout = seconds(timeout)
        self.connection = None
        self.fresh = False

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = dumps(body)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        for attempt in (1, 2):
            fresh = self.connection is None
            if fresh:
                self.connection = connection_to(self.server, self.timeout)
            try:
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                data = response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # an idle connection may be closed by the server at any time (RFC 9112 section 9.5)
                self.close()
                if fresh or attempt == 2:
                    raise
                continue
            except Exception:
                self.close()
                raise
            if response.will_close:
                self.close()
            return Answer(response.status, response.headers, data)

    def try_sql(self, sql=None, params=None, statements=None):
        if statements is not None:
            return self.request("POST", "/api/sql", {"statements": statements})
        body = {"sql": sql}
        if params is not None:
            body["params"] = params
        return self.request("POST", "/api/sql", body)

    def sql(self, sql=None, params=None, statements=None):
        answer = self.try_sql(sql, params, statements)
        check(answer.status == 200, "%s: %s", shorten(sql or repr(statements)), answer)
        return answer.json


# ---- WebSocket, through python3-websockets ---------------------------------------------------

def websockets():
    try:
        import websockets as module
        return module
    except ImportError:
        raise Skip("python3-websockets is not installed") from None


class Client:
    """A subscriber. Replies are told from events by their requestId; events keep their order."""

    def __init__(self, socket_):
        self.socket = socket_
        self.events = []          # everything that is not a reply, in order
        self.consume = self.events.append  # may be replaced, to handle events as they come
        self.replies = {}
        self.arrived = asyncio.Event()
        self.closed = None        # (code, reason)
        self.failure = None       # what consume found wrong
        self.next_id = 0
        self.reader = None

    @classmethod
    async def open(cls, server, path="/ws", **options):
        module = websockets()
        options.setdefault("ping_interval", None)
        options.setdefault("max_size", None)
        options.setdefault("max_queue", None)
        options.setdefault("open_timeout", seconds(20))
        options.setdefault("compression", None)
        if server.tls:
            options.setdefault("ssl", server.tls)
        url = f"ws{'s' if server.tls else ''}://{server.host}:{server.port}{path}"
        client = cls(await module.connect(url, **options))
        client.reader = asyncio.ensure_future(client.read())
        client.ack = await client.next("connection:ack")
        return client

    async def read(self):
        module = websockets()
        try:
            async for text in self.socket:
                message = loads(text)
                if "requestId" in message:
                    self.replies[message["requestId"]] = message
                else:
                    self.consume(message)
                self.arrived.set()
        except module.ConnectionClosed:
            pass
        except Exception as e:
            self.failure = e
        self.closed = (self.socket.close_code, self.socket.close_reason)
        self.arrived.set()

    async def wait(self, ready, timeout=20, what="a message"):
        """Waits until ready() is true; fails when the connection ends or the time is up."""
        end = asyncio.get_running_loop().time() + seconds(timeout)
        while not ready():
            if self.failure:
                raise self.failure
            check(self.closed is None, "connection closed %s while waiting for %s", self.closed, what)
            left = end - asyncio.get_running_loop().time()
            check(left > 0, "no %s after %s s; the last events: %s", what, timeout, shorten(self.events[-3:]))
            self.arrived.clear()
            if ready():
                break
            try:
                await asyncio.wait_for(self.arrived.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def next(self, *types, timeout=20):
        """Takes the next event (of one of these types; others are an error)."""
        await self.wait(lambda: self.events, timeout, f"event {types}")
        event = self.events.pop(0)
        check(not types or event["type"] in types, "wanted %s, got %s", types, event)
        return event

    async def send(self, message):
        await self.socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def request(self, type_, /, timeout=20, **arguments):
        self.next_id += 1
        mine = f"r{self.next_id}"
        await self.send({"type": type_, "requestId": mine, **arguments})
        await self.wait(lambda: mine in self.replies, timeout, f"reply to {type_}")
        return self.replies.pop(mine)

    async def subscribe(self, table, **arguments):
        """Subscribes to a table and returns the subscription's id."""
        reply = await self.request("subscribe", table=table, **arguments)
        check(reply["type"] == "subscribed", "subscribe %s %s: %s", table, arguments, reply)
        return reply["data"]["subscription"]

    async def join(self, channel):
        reply = await self.request("subscribe", channel=channel)
        check(reply["type"] == "subscribed", "subscribe to channel %s: %s", channel, reply)

    async def quiet(self, seconds_=0.3):
        """Nothing arrives for a while."""
        await asyncio.sleep(seconds_)
        equal(self.events, [], "events where none were due")

    async def wait_closed(self, timeout=20):
        end = asyncio.get_running_loop().time() + seconds(timeout)
        while self.closed is None and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        check(self.closed is not None, "the connection is still open after %s s", timeout)
        return self.closed[0]

    async def close(self):
        if self.reader:
            await self.socket.close()
            await self.reader


async def in_thread(function, *arguments, **named):
    """A blocking call beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **named))


# ---- WebSocket, by hand ----------------------------------------------------------------------

def error_code(message):
    """The code of an error message of the native dialect, or None."""
    if message.get("type") != "error":
        return None
    return (message.get("error") or message.get("data") or {}).get("code")


class RawSocket:
    """A TCP client that says exactly what it is told to; for what no library would send."""

    def __init__(self, server, timeout=20, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds(timeout))
        self.socket.connect((server.host, server.port))
        if server.tls:
            self.socket = server.tls.wrap_socket(self.socket, server_hostname=server.host)
        self.host = f"{server.host}:{server.port}"
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return data

    def head(self):
        """The answer's status line and headers, as text; "" when the server just closed."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                return self.buffer.decode("latin-1")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head.decode("latin-1")

    def upgrade(self, path="/ws", **headers):
        lines = {"Host": self.host, "Upgrade": "websocket", "Connection": "Upgrade",
                 "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        lines.update({k.replace("_", "-"): v for k, v in headers.items()})
        text = "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None)
        self.send(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        return self.head()

    def frame(self, opcode, payload=b"", fin=True, masked=True, length=None, rsv=0):
        payload = payload.encode() if isinstance(payload, str) else payload
        size = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        mark = 0x80 if masked else 0
        if size < 126:
            head += bytes([mark | size])
        elif size < 65536:
            head += bytes([mark | 126]) + struct.pack(">H", size)
        else:
            head += bytes([mark | 127]) + struct.pack(">Q", size)
        if masked:
            key = b"\x11\x22\x33\x44"
            head += key
            payload = bytes(b ^ key[i & 3] for i, b in enumerate(payload))
        self.send(head + payload)

    def text(self, message):
        self.frame(1, message if isinstance(message, (str, bytes)) else json.dumps(message))

    def take(self, size):
        while len(self.buffer) < size:
            check(self.fill(), "the server closed the TCP connection")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_frame(self):
        """(opcode, payload) of the next frame."""
        first, second = self.take(2)
        check(not second & 0x80, "a server's frame must not be masked")
        size = second & 0x7f
        if size == 126:
            size, = struct.unpack(">H", self.take(2))
        elif size == 127:
            size, = struct.unpack(">Q", self.take(8))
        return first & 0x0f, self.take(size)

    def close_code(self, limit=100000):
        """Reads on to the Close frame and returns its code."""
        for _ in range(limit):
            opcode, payload = self.read_frame()
            if opcode == 8:
                return struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
        raise AssertionError("no Close frame")

    def message(self):
        """The next text message, with pings answered."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == 9:
                self.frame(10, payload)
            elif opcode == 1:
                return loads(payload)
            elif opcode == 8:
                raise AssertionError(f"closed {struct.unpack('>H', payload[:2])[0]}: {payload[2:]!r}")

    def close(self):
        self.socket.close()
