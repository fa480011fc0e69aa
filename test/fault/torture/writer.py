"""Writers that remember nothing but what the server answered.

Each row that a writer adds or changes carries a token, a text of its own, so that the record of all
changes tells whether a write is in it. A write knows which tokens must be there when it is answered, and
which come together or not at all when the server was killed before it answered.
"""
import http.client
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from harness import Answer, dumps, seconds, shorten  # noqa: E402

MOST_DYNAMIC = 3      # tables of a writer that come and go
MOST_COLUMNS = 8      # columns added to the watched tables, by all writers together
KEEP = {"items": 500, "words": 150, "pairs": 150, "comp": 150, "loose": 150, "big": 420, "bulk": 4000}


class Write:
    """One request: `body`, and what its answer promises.

    `commits`: tokens by transaction, in order: all of a transaction or none. `refused` are never seen.
    With status 200 all of `commits` are there; with 400 only the first `kept` of them, and `may_fail`
    says that a 400 is expected at all (None: either)."""

    def __init__(self, body, commits=(), refused=(), may_fail=False, kept=0):
        self.body = {"sql": body} if isinstance(body, str) else body
        self.commits, self.refused, self.may_fail, self.kept = [list(c) for c in commits], list(refused), may_fail, kept


class Answered:
    """What the answers to the writes said, since this was last taken."""

    def __init__(self):
        self.there, self.absent, self.together, self.places, self.failures = [], [], [], [], []
        self.count = self.errors = self.lost = 0

    def add(self, other):
        for name in ("there", "absent", "together", "places", "failures"):
            getattr(self, name).extend(getattr(other, name))
        for name in ("count", "errors", "lost"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Ops:
    """Makes writes."""

    def __init__(self, writer, seed, dynamic, columns):
        self.writer, self.dice = writer, random.Random(seed)
        self.dynamic = dynamic      # names of this writer's own tables, perhaps there
        self.columns = columns      # those that all writers added
        self.next = 0

    def token(self):
        self.next += 1
        return f"{self.writer}-{self.next}"

    def some(self, low, high):
        return self.dice.randint(low, high)

    def make(self):
        return self.dice.choices([o[0] for o in self.OPS], [o[1] for o in self.OPS])[0](self)

    # -- rows that are there when the answer says so

    def row(self):
        """(statement, parameters) that adds or changes a row and carries the token."""
        token = self.token()
        n = self.some(0, 12)
        return token, *self.dice.choice([
            ("INSERT INTO items(grp, price, name, data, tag) VALUES (?, ?, ?, ?, ?)",
             [self.dice.choice([n % 10, None, n + 0.5]), self.dice.choice([n, n * 8.25, 1e300, None]),
              self.dice.choice([None, "grün ☃", f"name {n}", ""]), {"$base64": self.dice.choice(["", "AAA=", "/w=="])}, token]),
            ("INSERT INTO words(word, n, note, tag) VALUES (?, ?, ?, ?)", [self.dice.choice([None, f"w{token}", f"é{token}"]), n % 7, "n" * n, token]),
            ("INSERT INTO pairs(a, b, v, w, tag) VALUES (?, ?, ?, ?, ?)", [n % 8, f"b{token}", self.dice.choice([7, "7", 7.0, None]), n * 9, token]),
            ("INSERT INTO comp(a, b, c, tag) VALUES (?, ?, ?, ?)", [self.dice.choice([None, n]), f"b{token}", self.dice.choice([n, "12.5", "text", 1.0]), token]),
            ("INSERT INTO comp(a, b, c, tag) VALUES (NULL, NULL, ?, ?)", [n, token]),
            ("INSERT INTO loose(x, y, tag) VALUES (?, ?, ?)", [self.dice.choice([n, None, "text", {"$base64": "AP8="}, 9007199254740993, -0.5]), n * 5, token]),
            ("INSERT INTO pairs(a, b, v, w, tag) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET v = excluded.v, w = w + 1, tag = excluded.tag",
             [n % 8, f"b{n}", n, n, token]),
            ("INSERT INTO words(word, n, note, tag) VALUES (?, ?, 'up', ?) ON CONFLICT(word) DO UPDATE SET n = n + 1, tag = excluded.tag", [f"w{n}", n % 7, token]),
            ("INSERT OR REPLACE INTO comp(a, b, c, tag) VALUES (?, ?, ?, ?)", [n, f"B{n}", n / 2, token]),
            ("REPLACE INTO items(id, grp, price, name, tag) VALUES (?, ?, ?, 'replaced', ?)", [self.some(1, 400), n % 10, n * 7, token]),
        ])

    def literal(self):
        """The same as text, for scripts."""
        token = self.token()
        n = self.some(0, 12)
        return token, self.dice.choice([
            f"INSERT INTO items(grp, price, tag) VALUES ({n % 10}, {n * 7}, '{token}')",
            f"INSERT INTO words(word, n, note, tag) VALUES ('w{token}', {n % 7}, NULL, '{token}')",
            f"INSERT INTO loose(x, y, tag) VALUES (NULL, {n * 5}, '{token}')",
            f"INSERT INTO pairs(a, b, v, w, tag) VALUES ({n % 8}, 'b{token}', {n}, {n}, '{token}')",
            f"INSERT INTO comp(a, b, c, tag) VALUES (NULL, 'b{token}', {n}, '{token}')"])

    def single(self):
        token, sql, params = self.row()
        return Write({"sql": sql, "params": params}, [[token]])

    def many(self):
        token, count = self.token(), self.some(2, 30)
        rows = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {count}) SELECT "
        return Write(self.dice.choice([
            f"INSERT INTO items(grp, price, name, data, tag) {rows} i % 10, i * 2.5, nullif('n' || i % 4, 'n0'), zeroblob(i % 4), '{token}' FROM c",
            f"INSERT INTO loose(x, y, tag) {rows} nullif(i % 3, 0), i, '{token}' FROM c",
            f"INSERT INTO comp(a, b, c, tag) {rows} nullif(i % 4, 0), 'b{token}.' || i, i, '{token}' FROM c",
            f"INSERT INTO bulk(n, tag) {rows} i % 7, '{token}' FROM c"]), [[token]])

    def large(self):
        token = self.token()
        return Write({"sql": "INSERT INTO big(n, body, tag) VALUES (?, ?, ?)",
                      "params": [self.some(0, 4), "z" * self.dice.choice([10, 5000, 30000]), token]}, [[token]])

    def statements(self):
        rows = [self.row() for _ in range(self.some(2, 6))]
        return self.all_or_nothing(rows)

    def all_or_nothing(self, rows):
        tokens = [r[0] for r in rows]
        statements = [{"sql": sql, "params": params} for _, sql, params in rows]
        if self.dice.random() < 0.25:
            bad = self.dice.choice(["INSERT INTO missing VALUES (1)", "INSERT INTO items(id) VALUES ('text')", "SELEC 1"])
            statements.insert(self.some(0, len(statements)), {"sql": bad})
            return Write({"statements": statements}, refused=tokens, may_fail=True)
        return Write({"statements": statements}, [tokens])

    # -- scripts, rollbacks and errors

    def script(self):
        (a, one), (b, two), (c, three), (d, four) = (self.literal() for _ in range(4))
        return self.dice.choice([
            Write(f"{one}; BEGIN; {two}; {three}; ROLLBACK; {four}", [[a], [d]], [b, c]),
            Write(f"{one}; BEGIN; {two}; {three}; COMMIT; {four}", [[a], [b, c], [d]]),
            Write(f"BEGIN; {one}; SAVEPOINT s; {two}; ROLLBACK TO s; {three}; RELEASE s; COMMIT", [[a, c]], [b]),
            Write(f"{one}; {two}; INSERT INTO items(id) VALUES ('text'); {three}", [[a], [b]], [c, d], may_fail=True, kept=2),
            Write(f"{one}; BEGIN; {two}; INSERT INTO missing VALUES (1); {three}; COMMIT", [[a]], [b, c, d], may_fail=True, kept=1),
            Write(f"{one}; BEGIN; {two}; {three}", [[a]], [b, c, d], may_fail=True, kept=1)])

    def or_fail(self):
        """The second row has the first's key: OR FAIL keeps the first, the others keep nothing."""
        a, b = self.token(), self.token()
        how = self.dice.choice(["FAIL", "FAIL", "ABORT", "ROLLBACK"])
        sql = f"INSERT OR {how} INTO words(word, n, note, tag) VALUES ('f{a}', 1, NULL, '{a}'), ('f{a}', 2, NULL, '{b}')"
        if how == "FAIL":
            return Write(sql, [[a]], [b], may_fail=True, kept=1)
        return Write(sql, refused=[a, b], may_fail=True)

    def or_ignore(self):
        a, b = self.token(), self.token()
        return Write(f"INSERT OR IGNORE INTO words(word, n, note, tag) VALUES ('g{a}', 1, NULL, '{a}'), ('g{a}', 2, NULL, '{b}')", [[a]], [b])

    # -- changes of what is there

    def update(self):
        n, m = self.some(0, 9), self.some(0, 30)
        return Write(self.dice.choice([
            f"UPDATE items SET grp = {n}, price = price + 1 WHERE id % 31 = {m}",
            f"UPDATE items SET price = {m} * 2.5, name = NULL WHERE id % 37 = {m}",
            f"UPDATE words SET n = (n + 1) % 7 WHERE rowid % 7 = {n}",
            f"UPDATE pairs SET w = w + 3, v = {n} WHERE a = {n}",
            f"UPDATE comp SET c = c + 0.5 WHERE c < {n}",
            f"UPDATE loose SET y = y + 1, x = nullif(x, {n}) WHERE rowid % 11 = {n}",
            f"UPDATE big SET n = (n + 1) % 5 WHERE id % 29 = {m}"]))

    def flood(self):
        """Megabytes for each of some subscribers."""
        return Write(f"UPDATE big SET n = (n + 1) % 5 WHERE id % 2 = {self.some(0, 1)}")

    def rekey(self):
        n, m = self.some(0, 9), self.some(1, 60)
        return Write(self.dice.choice([
            f"UPDATE OR REPLACE items SET id = id + {m} WHERE id % 97 = {m}",
            f"UPDATE OR IGNORE words SET word = 'k' || word WHERE rowid % 13 = {n}",
            f"UPDATE words SET word = NULL WHERE rowid = {m}",
            f"UPDATE OR REPLACE words SET word = 'w{m}' WHERE rowid = {n}",
            f"UPDATE OR REPLACE pairs SET a = a + 1, b = b || 'x' WHERE a = {n % 8} AND length(b) < 12",
            f"UPDATE OR REPLACE pairs SET a = {n % 8} WHERE b = 'b{m}'",
            f"UPDATE comp SET a = NULL WHERE a = {n}",
            f"UPDATE OR IGNORE comp SET a = rowid WHERE a IS NULL AND rowid % 3 = {n % 3}",
            f"UPDATE OR REPLACE loose SET rowid = rowid + {m} WHERE rowid % 41 = {m % 41}"]))

    def delete(self):
        table = self.dice.choice(["items", "words", "pairs", "comp", "loose", "big"])
        column = "a" if table == "pairs" else "rowid"
        return Write(f"DELETE FROM {table} WHERE {column} % 17 = {self.some(0, 16)}")

    def trim(self):
        table, most = self.dice.choice(list(KEEP.items()))
        if table == "pairs":
            return Write("DELETE FROM pairs WHERE a = (SELECT a FROM pairs GROUP BY a ORDER BY count(*) DESC LIMIT 1) "
                         f"AND (SELECT count(*) FROM pairs) > {most}")
        return Write(f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY rowid "
                     f"LIMIT max(0, (SELECT count(*) FROM {table}) - {most}))")

    # -- definitions

    def ddl(self):
        if not self.dynamic or (len(self.dynamic) < MOST_DYNAMIC and self.dice.random() < 0.4):
            return self.create()
        name = self.dice.choice(self.dynamic)
        kind = self.some(0, 5)
        if kind == 0:
            self.dynamic.remove(name)
            return Write(f"DROP TABLE IF EXISTS {name}")
        if kind == 1:
            return Write(f"ALTER TABLE {name} ADD COLUMN x{self.next} INT DEFAULT {self.next}", may_fail=None)
        if kind == 2:
            return Write(f"ALTER TABLE {name} RENAME COLUMN v TO v{self.next}", may_fail=None)
        if kind == 3 and len(self.columns) < MOST_COLUMNS:
            self.columns.append("x" + self.token().replace(".", "_").replace("-", "_"))
            return Write(f"ALTER TABLE {self.dice.choice(['items', 'words', 'pairs', 'comp'])} ADD COLUMN {self.columns[-1]} "
                         f"{self.dice.choice(['', 'REAL DEFAULT 3', 'TEXT'])}")
        token = self.token()
        return Write(f"BEGIN; INSERT INTO {name} DEFAULT VALUES; DROP TABLE {name}; CREATE TABLE {name}(id INTEGER PRIMARY KEY, v, tag); "
                     f"INSERT INTO {name} VALUES (1, 2, '{token}'); COMMIT", may_fail=None)

    def create(self):
        token = self.token()
        name = "d" + token.replace(".", "_").replace("-", "_")
        self.dynamic.append(name)
        return Write({"statements": [{"sql": f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, v, tag)"},
                                     {"sql": f"INSERT INTO {name}(v, tag) VALUES (1.5, '{token}')"}]}, [[token]])

    def vacuum(self):
        return Write("VACUUM", may_fail=None)

    OPS = [(single, 30), (many, 8), (large, 4), (statements, 8), (script, 8), (or_fail, 4), (or_ignore, 2), (update, 14),
           (rekey, 8), (delete, 4), (trim, 5), (ddl, 3), (flood, 0.3),
           (vacuum, 0.5)]


class OneTry:
    """A connection over which each request is sent once: Http would send it again when an idle connection
    was closed, and what was written before the server died must not be written twice."""

    def __init__(self, server):
        self.server, self.connection = server, None

    def post(self, body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=seconds(30))
        try:
            self.connection.request("POST", "/api/sql", dumps(body).encode(), {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise
        if response.will_close:
            self.close()
        return answer

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Writer(threading.Thread):
    """Writes until it is told to stop or the server is gone."""

    def __init__(self, server, name, seed, dynamic, columns, pause):
        super().__init__(daemon=True)
        self.server, self.ops, self.pause = server, Ops(name, seed, dynamic, columns), pause
        self.answered, self.stop = Answered(), False

    def run(self):
        connection = OneTry(self.server)
        try:
            while not self.stop:
                write = self.ops.make()
                if not self.one(connection, write):
                    break
                time.sleep(self.ops.dice.random() * self.pause)
        except Exception as error:
            self.answered.failures.append(f"writer {self.ops.writer}: {type(error).__name__} {error}")
        connection.close()

    def one(self, connection, write):
        try:
            answer = connection.post(write.body)
        except TimeoutError:
            self.fail(write, "no answer")
            return False
        except Exception:  # the server was killed: this may be there or not, but no transaction in part
            self.answered.lost += 1
            self.answered.together.extend(write.commits)
            self.answered.absent.extend(write.refused)
            return False
        self.answered.count += 1
        if answer.status == 200 and write.may_fail is not True:
            self.take(write, write.commits, answer.json.get("seq"), answer)
        elif answer.status == 400 and write.may_fail is not False:
            self.answered.errors += 1
            self.take(write, write.commits[:write.kept], answer.json["error"].get("seq"), answer)
        else:
            self.fail(write, answer)
        return True

    def take(self, write, commits, seq, answer):
        self.answered.there.extend(token for tokens in commits for token in tokens)
        self.answered.absent.extend(write.refused)
        if commits or answer.status == 200:
            if not isinstance(seq, int):
                self.fail(write, f"no seq: {answer}")
            else:
                self.answered.places.append((seq, commits[-1][-1] if commits else None))

    def fail(self, write, what):
        self.answered.failures.append(f"writer {self.ops.writer}: {shorten(repr(write.body), 300)}: {what}")


class Writers:
    """The process that runs them."""

    def __init__(self, count, seed, pause):
        self.count, self.dice, self.pause = count, random.Random(seed), pause
        self.round, self.threads = 0, []
        self.dynamic, self.columns = [[] for _ in range(count)], []

    def begin(self, server):
        self.round += 1
        self.threads = [Writer(server, f"w{n}.{self.round}", self.dice.random(), self.dynamic[n], self.columns,
                               self.pause)
                        for n in range(self.count)]
        for thread in self.threads:
            thread.start()

    def end(self):
        """Stops them and says what was answered since the beginning."""
        for thread in self.threads:
            thread.stop = True
        answered = Answered()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                answered.failures.append(f"writer {thread.ops.writer} does not end")
            answered.add(thread.answered)
        self.threads = []
        return answered
