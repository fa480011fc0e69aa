#!/usr/bin/python3
"""Plays the transcripts of this folder (README.md says how they are written), and looks that there is one of
everything that the code can say."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from harness import BIN, CASES, Directory, RawSocket, Server, case, check, environment, equal, main, seconds  # noqa: E402

SOURCES = os.path.join(HERE, "..", "..", "src")
PLACE = re.compile(r"<([a-z][A-Za-z0-9]*)>")
FREE = {"time", "ms", "n", "id"}
PATIENCE = 20


# ---- comparing -------------------------------------------------------------------------------

def expectation(text):
    """The JSON of a message as a transcript has it, with strings in place of its `<name>` and `…`."""
    out, within = "", []
    for part in re.split(r'("(?:[^"\\]|\\.)*"|[][{}…])', text):
        if part in ("{", "["):
            within.append(part)
        elif part in ("}", "]"):
            within.pop()
        elif part == "…":
            part = '"…":0' if within[-1] == "{" and not out.rstrip().endswith(":") else '"…"'
        elif not part.startswith('"'):
            part = PLACE.sub(r'"<\1>"', part)
        out += part
    return json.loads(out, parse_float=Number, parse_int=Number)


class Number(str):
    """A number as it is written: 1.0 is not 1."""

    def __eq__(self, other):
        return isinstance(other, Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


class Names(dict):
    """What the `<name>`s of one transcript stand for."""

    def same(self, wanted, got, where="message"):
        """None, or what is different."""
        if wanted == "…":
            return None
        if isinstance(wanted, str) and not isinstance(wanted, Number) and re.search("[<…]", wanted):
            return self.same_text(wanted, got, where)
        if isinstance(wanted, dict) and isinstance(got, dict):
            missing = [n for n in wanted if n != "…" and n not in got]
            more = [n for n in got if n not in wanted] if "…" not in wanted else []
            if missing or more:
                return f"{where}: " + "; ".join(f"{what} {', '.join(n)}" for what, n in (("it lacks", missing), ("it also has", more)) if n)
            return next((d for d in (self.same(w, got[n], f"{where}.{n}") for n, w in wanted.items() if n != "…") if d), None)
        if isinstance(wanted, list) and isinstance(got, list) and wanted[-1:] == ["…"]:
            wanted, got = wanted[:-1], got[:len(wanted) - 1]
        if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
            return next((d for d in (self.same(w, g, f"{where}[{i}]") for i, (w, g) in enumerate(zip(wanted, got))) if d), None)
        return None if type(wanted) is type(got) and wanted == got else f"{where}: {got!r} instead of {wanted!r}"

    def same_text(self, wanted, got, where):
        whole = PLACE.fullmatch(wanted)
        if whole:
            if whole[1] in FREE or self.setdefault(whole[1], got) == got:
                return None
            return f"{where}: {got!r}, but <{whole[1]}> was {self[whole[1]]!r}"
        found = re.fullmatch(self.pattern(wanted), got) if isinstance(got, str) else None
        if not found:
            return f"{where}: {got!r} instead of {wanted!r}"
        self.update({n: v for n, v in found.groupdict().items() if n not in FREE})
        return None

    def pattern(self, wanted):
        """For text with `<name>` and `…` in it."""
        out, seen = "", set()
        for i, part in enumerate(re.split(r"<([a-z][A-Za-z0-9]*)>|(…)", wanted)):
            if part is None:
                continue
            if i % 3 == 0:
                out += re.escape(part)
            elif part == "…":
                out += ".*"
            elif part in FREE:
                out += ".+?"
            elif part in self:
                out += re.escape(str(self[part]))
            else:
                out += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
                seen.add(part)
        return out

    def message(self, wanted, got):
        return self.same(expectation(wanted), json.loads(got, parse_float=Number, parse_int=Number))

    def line(self, wanted, got):
        """A line of text; JSON, perhaps behind a word, is compared as such."""
        begin, mark, rest = wanted.partition("{")
        if mark and rest.rstrip().endswith("}") and not begin.rstrip().endswith("…"):
            found = re.match(self.pattern(begin), got)
            return self.message(mark + rest, got[found.end():]) if found else f"{got!r} instead of {wanted!r}"
        return self.same_text(wanted, got, "line") if re.search("[<…]", wanted) else None if wanted == got else f"{got!r} instead of {wanted!r}"

    def known(self, text, quote=lambda v: v):
        """What is sent, with what its names stand for."""
        return PLACE.sub(lambda m: quote(str(self[m[1]])) if m[1] in self else m[0], text)


# ---- playing ---------------------------------------------------------------------------------

class Feed:
    """A command that goes on."""

    def __init__(self, command, env, cwd):
        self.process = subprocess.Popen(["bash", "-c", "exec " + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=cwd)
        self.text = b""

    def line(self, timeout):
        end = time.monotonic() + timeout
        while True:
            line, mark, rest = self.text.partition(b"\n")
            if mark:
                self.text = rest
                if line.strip():
                    return line.decode().rstrip()
                continue
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise AssertionError("it has ended")
            self.text += data

    def end(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


class Player:
    def __init__(self, directory):
        self.directory, self.server = directory, None
        self.names, self.clients, self.feeds, self.between = Names(), {}, {}, {}

    def play(self, line, output):
        speaker = re.match(r"(\w+)(:|<\*|<|>) ?(.*)", line, re.S)
        if line.split()[0] == "serve":
            if self.server:
                self.end()
                self.server.stop()
            self.server = Server(self.directory.file("app.db"), *(self.file(word) for word in line.split()[1:]))
        elif line.startswith("$ "):
            self.command(line[2:], output)
        elif speaker and speaker[2] == ">":
            self.clients[speaker[1]].text(self.names.known(speaker[3]))
        elif speaker and speaker[2] == "<*":
            self.between[speaker[1]] = speaker[3]
        elif speaker and speaker[2] == "<":
            self.receive(speaker[1], speaker[3], self.between.pop(speaker[1], None))
        elif speaker:
            self.act(speaker[1], *speaker[3].split(" ", 1))
        else:
            raise AssertionError("not a line of a transcript")

    def file(self, word):
        """An option's value may be a file that a command of the transcript has made."""
        path = self.directory.file(word)
        return path if os.path.exists(path) else word

    def address(self):
        return f"{self.server.host}:{self.server.port}" if self.server else "nowhere"

    def place(self, text):
        return text.replace("localhost:8080", self.address())

    def environment(self):
        return environment({"ROWTAP_URL": f"http://{self.address()}", "PATH": os.path.dirname(BIN) + ":" + os.environ["PATH"]})

    def command(self, text, output):
        done = subprocess.run(["bash", "-c", self.place(self.names.known(text))], capture_output=True, stdin=subprocess.DEVNULL, env=self.environment(),
                              cwd=self.directory.path, timeout=seconds(60))
        got = [line.rstrip() for line in (done.stdout + done.stderr).decode().replace(self.address(), "localhost:8080").splitlines()]
        self.lines([line for line in got if line], output)

    def lines(self, got, wanted):
        shown = "\n".join("    " + line for line in got)
        for i, want in enumerate(wanted):
            if want == "…":
                after = wanted[i + 1:i + 2]
                while got and not (after and not self.names.line(after[0], got[0])):
                    got.pop(0)
                continue
            check(got, "it did not print %s, but\n%s", want, shown)
            different = self.names.line(want, got.pop(0))
            check(not different, "%s\n  it printed\n%s", different, shown)
        check(not got, "it printed more:\n%s", shown)

    def receive(self, who, wanted, between):
        """The next one; before it any number of those `between`."""
        try:
            while True:
                got = self.feeds[who].line(seconds(PATIENCE)) if who in self.feeds else self.message(self.clients[who])
                if not between or self.names.line(between, got):
                    break
        except (TimeoutError, socket.timeout):
            raise AssertionError(f"nothing came to {who}") from None
        different = self.names.line(wanted, got)
        check(not different, "%s\n  %s got %s", different, who, got[:2000])

    def message(self, client):
        """The text of the next message, pings answered."""
        while True:
            opcode, payload = client.read_frame()
            if opcode == 9:
                client.frame(10, payload)
            elif opcode == 8:
                raise AssertionError(f"closed {int.from_bytes(payload[:2], 'big')}")
            elif opcode == 1:
                return payload.decode()

    def act(self, who, what, rest=""):
        if who == "server":
            self.server.signal(getattr(signal, what))
        elif what.startswith("ws://"):
            self.clients[who] = RawSocket(self.server, PATIENCE)
            self.clients[who].head_of_answer = self.clients[who].upgrade("/" + self.names.known(what.split("/", 3)[3]))
        elif what == "refused":
            check(f" {rest} " in self.clients[who].head_of_answer, "%s", self.clients.pop(who).head_of_answer)
        elif what == "bytes":
            self.clients[who].send(bytes.fromhex(rest))
        elif what == "text":
            text, times = rest.split(" * ")
            self.clients[who].text(json.loads(text) * int(times))
        elif what == "close":
            self.clients[who].frame(8, int(rest).to_bytes(2, "big"))
        elif what == "closed":
            equal(self.clients[who].close_code(), int(rest), "close code")
            self.clients.pop(who).close()
        elif what == "stops":
            self.feeds.pop(who).end()
        else:
            self.feeds[who] = Feed(self.place(self.names.known(what + " " + rest)), self.environment(), self.directory.path)

    def quiet(self):
        """Nothing came that the transcript does not show."""
        time.sleep(0.1)
        for who, client in self.clients.items():
            client.socket.settimeout(0.01)
            try:
                got = self.message(client)
            except (TimeoutError, socket.timeout, ConnectionError):
                continue
            raise AssertionError(f"{who} also got {got}")

    def end(self):
        for client in self.clients.values():
            client.close()
        for feed in self.feeds.values():
            feed.end()
        self.clients, self.feeds = {}, {}


def complete(printed):
    """No JSON is open at the end of what is printed."""
    return printed and printed[-1].count("{") <= printed[-1].count("}")


def steps(text):
    """[(number of the line, line, lines of output)]"""
    found, printing = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") and not printing:
            continue
        if not line.strip():
            printing = False
        elif line[0] == " " and found and not (printing and complete(found[-1][2])):
            if printing and found[-1][2]:
                found[-1][2][-1] += line.strip()
            else:
                found[-1][1] += (" " if printing else "") + line.strip()
        elif printing:
            found[-1][2].append(line)
        else:
            found.append([number, line, []])
            printing = line.startswith("$ ")
    return found


def transcripts():
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".txt"):
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                yield name, file.read()


def play(name, text):
    with Directory() as directory:
        player = Player(directory)
        try:
            for number, line, output in steps(text):
                try:
                    player.play(line, output)
                except (AssertionError, KeyError, ValueError, OSError, subprocess.TimeoutExpired) as error:
                    raise AssertionError(f"{name}:{number}: {line[:300]}\n{type(error).__name__}: {error}") from error
            player.quiet()
        finally:
            player.end()


# ---- nothing is left out ---------------------------------------------------------------------

def source(*names):
    text = ""
    for name in names:
        with open(os.path.join(SOURCES, *name.split("/")), encoding="utf-8") as file:
            text += file.read()
    return text


def native():
    return source(*("dialect/" + n for n in sorted(os.listdir(os.path.join(SOURCES, "dialect"))) if n.startswith("native") and n.endswith(".c")))


def table(text, name):
    """The first strings of the rows of a const table."""
    found = re.search(name + r"\[\] = \{(.*?)\n\};", text, re.S)
    check(found, "there is no table %s in the code any more: change the test", name)
    return re.findall(r'\{"([^"]+)"(?:, "([^"]+)")?', found[1])


def everything(text, mark):
    return set(re.findall(mark, text))


def all_steps():
    for name, text in transcripts():
        yield from ((name, line, output) for _, line, output in steps(text))


def complain(kind, wanted, shown):
    check(wanted, "the code seems to have no %s: change the test", kind)
    check(not wanted - shown, "no transcript shows %s: %s", kind, ", ".join(sorted(map(str, wanted - shown))))


@case("each message that a client may send is in a transcript")
def client_messages():
    shown = {m for _, line, _ in all_steps() if re.match(r"\w+> ", line) for m in re.findall(r'"type":"([^"]+)"', line)}
    complain("messages of clients", {t for t, _ in table(native(), "commands")}, shown)


@case("each action of a request is in a transcript")
def actions():
    shown = {m for _, line, _ in all_steps() for m in re.findall(r'"action":"([^"]+)"', line)}
    complain("actions", {t for t, _ in table(native(), "actions")}, shown)


@case("each message of the server is in a transcript")
def server_messages():
    shown = {m for _, line, _ in all_steps() if re.match(r"\w+<\*? ", line) for m in re.findall(r'"type":"([^"]+)"', line)}
    text = native()
    wanted = everything(text, r'put_head\(out, r, "([^"]+)"') | everything(text, r'put_change_head\([^)]*"([^"]+)"\)') | {"database_change"}
    wanted |= everything(text, r'"([a-z]+:[a-z]+)"') | everything(source("change/change_json.c"), r'= "(table:[a-z]+)"')
    wanted |= everything(text, r'\btype = "([^"]+)"')
    wanted -= {"result"}  # is only asked for by requests, and so a response
    wanted -= {t for t, _ in table(text, "commands")} - shown - {"heartbeat", "broadcast", "user:cursor"}
    complain("messages of the server", wanted, shown)


@case("each endpoint is in a transcript")
def endpoints():
    shown = set()
    for _, line, _ in all_steps():
        for command in re.findall(r"curl ([^|;]*)", line):
            method = re.search(r"-X (\w+)", command)
            method = method[1] if method else "POST" if re.search(r" (-d|--data\S*|--json) ", " " + command) else "GET"
            shown |= {(method, "/" + path) for path in re.findall(r"localhost:8080/([^'\"\s?]*)", command)}
    text = source("http/route.c")
    wanted = set(table(text, "routes"))
    wanted -= {("GET", path) for path in re.findall(r'\{"GET", "(/[^"]+)", web_file', text)} - {("GET", "/rowtap.js")}  # what the console loads
    prefixes = {(m, p) for m, p in wanted if p.endswith("/") and p != "/"}
    shown |= {(m, p) for m, p in prefixes if any(sm == m and sp.startswith(p) and sp != p for sm, sp in shown)}
    complain("endpoints", wanted, shown)


CODES = ("INVALID_FORMAT UNKNOWN_TYPE UNAUTHORIZED FORBIDDEN RATE_LIMITED NOT_FOUND INVALID_FILTER SQL_ERROR TOO_LARGE CONFLICT LIMIT_EXCEEDED "
         "QUERY_CANCELLED").split()


@case("each error code that the code has is in a transcript")
def error_codes():
    text = ""
    for folder, _, names in os.walk(SOURCES):
        text += source(*(os.path.relpath(os.path.join(folder, n), SOURCES) for n in names if n.endswith((".c", ".h")) and "log" not in n))
    shown = {c for _, line, output in all_steps() for c in re.findall(r'"code":"([A-Z_]+)"', "".join([line, *output]))}
    complain("error codes", {c for c in CODES if f'"{c}"' in text}, shown)


@case("each reason of a resync is in a transcript, but for those that need a failing disk or a slow machine")
def reasons():
    wanted = everything(source("hub/replay.h", "hub/snapshot.h"), r'RESYNC_\w+ "(\w+)"')
    shown = {r for _, line, _ in all_steps() for r in re.findall(r'"reason":"(\w+)"', line)}
    complain("reasons", wanted - {"snapshot_failed", "snapshot_timeout"}, shown)


@case("each close code is in a transcript, but for those of failing memory")
def close_codes():
    wanted = {int(c) for c in everything(source("net/ws.h"), r"WS_CLOSE_\w+ = (\d+)")}
    used = {int(c) for n, c in re.findall(r"(WS_CLOSE_\w+) = (\d+)", source("net/ws.h")) if int(c) not in (1005, 1006, 1011)
            and n in source("net/conn.c", "net/conn_io.c", "net/heartbeat.c", "net/loop.c", "net/ws.c", "hub/session.c", "hub/gap.c", "hub/snapshot.c")}
    shown = {int(c) for _, line, _ in all_steps() for c in re.findall(r"^\w+: closed (\d+)", line)}
    check(used <= wanted, "%s", used)
    complain("close codes", used, shown)


def player_of(name, text):
    def run():
        play(name, text)
    return run


CASES[:0] = [(name[:-4], player_of(name, text)) for name, text in transcripts()]

if __name__ == "__main__":
    main()
