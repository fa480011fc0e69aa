#!/usr/bin/python3
"""`rowtap sql` on a terminal: what a person types at the prompt, and what is seen."""
import os
import pty
import re
import select
import stat
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import (BIN, SANITIZER, Directory, Server, case, check, environment, equal, main,  # noqa: E402
                     seconds)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
FIRST, MORE = "rowtap> ", "   ...> "


class Terminal:
    """A prompt on a terminal of its own."""

    def __init__(self, server, home="", **env):
        self.raw, self.at = "", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            extra = {"TERM": "xterm", "HOME": home, "LANG": "C.UTF-8", **env}
            os.execve(BIN, [BIN, "sql", "--url", server.url], environment(extra))

    @property
    def text(self):
        return ESCAPES.sub("", self.raw)

    def read(self):
        if not select.select([self.fd], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def wait(self, wanted):
        """Until `wanted` is seen behind what was waited for before; returns the text up to it."""
        end = time.monotonic() + seconds(10)
        while time.monotonic() < end:
            found = self.text.find(wanted, self.at)
            if found >= 0:
                before, self.at = self.text[self.at:found], found + len(wanted)
                return before
            if not self.read():
                break
        raise AssertionError(f"never saw {wanted!r} in {self.text[self.at:]!r}")

    def press(self, keys):
        """Types when the prompt reads keys: it switches the terminal just after showing itself."""
        end = time.monotonic() + seconds(5)
        while termios.tcgetattr(self.fd)[3] & termios.ICANON and time.monotonic() < end:
            time.sleep(0.01)
        os.write(self.fd, keys.encode())

    def type(self, keys, then=FIRST):
        """Types, and returns what is shown before the prompt `then`."""
        self.press(keys)
        return self.wait(then)

    def leave(self, keys):
        self.press(keys)
        end = time.monotonic() + seconds(10)
        while time.monotonic() < end and self.read():
            pass
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while not pid and time.monotonic() < end:
            time.sleep(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        os.close(self.fd)
        check(pid, "the prompt did not end")
        check(not SANITIZER.search(self.text), "sanitizer report:\n%s", self.text[-3000:])
        return os.waitstatus_to_exitcode(status)


@case("a statement may take several lines; each one's result is shown")
def lines():
    with Directory() as d, Server(d.file("app.db")) as server:
        t = Terminal(server)
        check(server.url in t.wait(FIRST))
        t.type("select 1 as one,\n", MORE)
        equal([line.rstrip() for line in t.type("  null as n;\n").splitlines()[1:4]],
              ["one     n", "---  ----", "  1  NULL"])
        both = t.type("select 'a;b' as x; select 2 as y;\n")
        check("a;b" in both and both.count("(1 row") == 2, "results: %r", both)
        t.type("/* a comment\n", MORE)
        t.type("that ends */\n")
        t.type("-- another;\n")
        equal(t.leave("\x04"), 0)


@case("a transaction is collected from BEGIN to COMMIT and sent as one")
def transaction():
    with Directory() as d, Server(d.file("app.db")) as server:
        t = Terminal(server)
        t.wait(FIRST)
        check("done (seq 1," in t.type("create table t(a);\n"))
        t.type("begin;\n", MORE)
        t.type("insert into t values (1);\n", MORE)
        equal(server.sql("select count(*) from t")["rows"], [[0]])
        t.type("commit;\n")
        equal(server.sql("select count(*) from t")["rows"], [[1]])
        check("1 row changed (seq 3," in t.type("insert into t values (2);\n"))
        equal(t.leave(".quit\n"), 0)


@case("errors show the line and a caret under the place, and the prompt goes on")
def errors():
    with Directory() as d, Server(d.file("app.db")) as server:
        t = Terminal(server)
        t.wait(FIRST)
        shown = t.type("SELEC 1;\n").splitlines()[1:4]
        equal([line.rstrip() for line in shown], ['Error: near "SELEC": syntax error', "  SELEC 1;", "  ^"])
        t.type("select 1,\n", MORE)
        shown = t.type("  nosuch;\n").splitlines()[1:4]
        equal([line.rstrip() for line in shown], ["Error: no such column: nosuch", "    nosuch;", "    ^ line 2"])
        check("(1 row" in t.type("select 1;\n"))
        equal(t.leave("\x04"), 0)


@case(".tables, .schema, .help and what is unknown")
def dots():
    with Directory() as d, Server(d.file("app.db")) as server:
        server.sql('create table "it\'s"(id integer primary key, name text)')
        server.sql("create index by_name on \"it's\"(name)")
        t = Terminal(server)
        t.wait(FIRST)
        shown = t.type(".tables\n")
        check("it's" in shown and "rowtap_" not in shown, "shown: %r", shown)
        shown = t.type(".schema it's\n")
        check("CREATE TABLE \"it's\"(id integer primary key, name text);" in shown, "shown: %r", shown)
        check("CREATE INDEX by_name" in shown)
        check("no table or view called nosuch" in t.type(".schema nosuch\n"))
        check("usage: .schema NAME" in t.type(".schema\n"))
        check(".tables" in t.type(".help\n"))
        check("there is no .nosuch here" in t.type(".nosuch\n"))
        equal(t.leave(".exit\n"), 0)


@case("^C abandons what was typed, and stops waiting for an answer")
def interrupt():
    with Directory() as d, Server(d.file("app.db")) as server:
        t = Terminal(server)
        t.wait(FIRST)
        t.type("select 1,\n", MORE)
        t.type("garbage", "garbage")
        t.type("\x03")
        check("(1 row" in t.type("select 3;\n"))
        endless = "with recursive r as (select 1 union all select 1 from r) select max(1) from r;"
        begun = time.monotonic()
        t.press(endless + "\n")
        t.wait("max(1)")
        time.sleep(0.5)
        os.write(t.fd, b"\x03")
        check("interrupted" in t.wait(FIRST))
        check(time.monotonic() - begun < seconds(8), "waiting was not stopped")
        check("(1 row" in t.type("select 4;\n"))
        equal(t.leave("\x04"), 0)


@case("history is kept in the home directory for its owner alone, and comes back")
def history():
    with Directory() as d, Server(d.file("app.db")) as server:
        home = d.file("home")
        os.mkdir(home)
        t = Terminal(server, home)
        t.wait(FIRST)
        t.type("select 'remember me';\n")
        equal(t.leave("\x04"), 0)
        mode = os.stat(os.path.join(home, ".rowtap_history")).st_mode
        equal(stat.S_IMODE(mode), 0o600, "mode of the history")
        t = Terminal(server, home)
        t.wait(FIRST)
        check("(1 row" in t.type("\x1b[A\n"))
        equal(t.leave("\x04"), 0)
        t = Terminal(server, "")
        t.wait(FIRST)
        t.type("select 1;\n")
        equal(t.leave("\x04"), 0)


@case("colours are used on a terminal, and not with NO_COLOR")
def colours():
    with Directory() as d, Server(d.file("app.db")) as server:
        for env, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
            t = Terminal(server, **env)
            t.wait(FIRST)
            t.type("select null;\n")
            equal("\x1b[2mNULL\x1b[0m" in t.raw, wanted, f"dim NULL with {env}")
            equal(t.leave("\x04"), 0)


@case("when the server goes the prompt says so and stays")
def gone():
    with Directory() as d:
        server = Server(d.file("app.db"))
        t = Terminal(server)
        t.wait(FIRST)
        t.type("select 1;\n")
        server.stop()
        check("cannot reach" in t.type("select 2;\n"))
        equal(t.leave("\x04"), 0)


if __name__ == "__main__":
    main()
