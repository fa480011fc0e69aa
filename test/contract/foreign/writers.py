"""Writers of the served file: three kinds of other processes, and the server itself.

Each runs a job, a list of items (python_writer.py says what they are), and answers with an Outcome. Errors
are part of the game: the source says what was done. Those that speak of damage are not.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from harness import Http, check, seconds, shorten  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DAMAGE = re.compile(r"malformed|corrupt|disk I/O|not a database|disk image", re.I)
BUSY = re.compile(r"locked|busy", re.I)


class Outcome:
    def __init__(self, items, errors, checkpoints=()):
        self.done, self.errors = items - len(errors), errors
        self.checkpoints = list(checkpoints)  # (busy, frames, copied)


class Child:
    """A process with a pipe in and a pipe out, ended when it does not answer in time."""

    def __init__(self, command):
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def exchange(self, text, ended):
        """Writes, and reads lines until ended(line) is true; the lines."""
        alarm = threading.Timer(seconds(90), self.process.kill)
        alarm.start()
        try:
            feeder = threading.Thread(target=self.write, args=(text,))
            feeder.start()
            lines = []
            for line in self.process.stdout:
                lines.append(line)
                if ended(line):
                    break
            feeder.join()
        finally:
            alarm.cancel()
        check(lines and ended(lines[-1]), "%s ended or hangs: %s", self.command[:2], shorten(repr(lines[-3:])))
        return lines

    def write(self, text):
        try:
            self.process.stdin.write(text.encode("utf-8", "surrogatepass"))
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def close(self):
        """The way a program ends that is done with its file."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(seconds(20))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.close()


class Jobs(Child):
    """A program that takes jobs in JSON."""

    def run(self, items, keep=False):
        lines = self.exchange(json.dumps({"items": items, "keep": keep}) + "\n", lambda line: line.endswith(b"\n"))
        try:
            answer = json.loads(lines[-1])
        except ValueError:
            rest = self.process.stdout.read(4000)
            raise AssertionError(f"{self.command[:2]} says {lines[-1] + rest!r}") from None
        return Outcome(len(items), answer["errors"], answer["checkpoints"])


class Python(Jobs):
    name = "python"

    def __init__(self, path):
        super().__init__([sys.executable, os.path.join(HERE, "python_writer.py"), path])


class Node(Jobs):
    name = "node"

    def __init__(self, path):
        super().__init__(["node", os.path.join(HERE, "node_writer.mjs"), path])

    @staticmethod
    def missing():
        """What there is not, or None."""
        if not shutil.which("node"):
            return "node is not installed"
        if not os.path.isdir(os.path.join(HERE, "..", "..", "e2e", "node_modules", "better-sqlite3", "build")):
            return "npm `better-sqlite3` is not installed: npm ci in test/e2e"
        return None


class Shell(Child):
    """The sqlite3 shell, fed on its standard input."""
    name = "shell"
    END = b"-- end of job --"

    def __init__(self, path):
        super().__init__(["sqlite3", "-batch", path])
        self.write(".timeout 10000\n")

    def run(self, items):
        text = [item for item in items if isinstance(item, str)]
        script = "".join(f"{item};\n" for item in text) + f".print {self.END.decode()}0\nROLLBACK;\n.print {self.END.decode()}\n"
        lines = self.exchange(script, lambda line: line.rstrip().endswith(self.END))
        errors = []
        for line in lines:
            if self.END in line:
                break
            found = re.match(rb"(?:Parse|Runtime) error near line \d+: (.*)", line)
            if found:
                errors.append(found[1].decode(errors="replace"))
        return Outcome(len(text), errors)


class Shells:
    """A shell for each job, which opens the file and closes it."""
    name = "shells"

    def __init__(self, path):
        self.path = path

    def run(self, items):
        shell = Shell(self.path)
        try:
            return shell.run(items)
        finally:
            shell.close()

    def close(self):
        pass


class Own:
    """The server. Each transaction also updates the table `own`, by which its events are known as the server's."""
    name = "server"

    def __init__(self, server):
        self.http = Http(server)
        self.commits = 0

    def run(self, items):
        text = [item for item in items if isinstance(item, str) and not item.upper().startswith("PRAGMA ")]
        whole = any(re.match(r"BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE", s, re.I) for s in text)
        errors = []
        for sql in [text] if whole else [[s] for s in text]:
            errors += self.post(sql)
        return Outcome(len(text), errors)

    def post(self, statements):
        mark = "UPDATE own SET n = n + 1"
        if len(statements) > 1:
            body = {"sql": ";\n".join(["BEGIN", *(s for s in statements if not is_end(s)), mark, "COMMIT"])}
        else:
            body = {"statements": [{"sql": statements[0]}, {"sql": mark}]}
        answer = self.http.request("POST", "/api/sql", body)
        if answer.status == 200:
            self.commits += 1
            return []
        check(answer.status in (400, 403), "the server answers %s", answer)
        return [answer.json["error"]["message"]]

    def close(self):
        self.http.close()


def is_end(statement):
    """What begins or ends a transaction."""
    return re.match(r"(BEGIN|COMMIT|END|ROLLBACK)\b(?!\s+TO)", statement, re.I)
