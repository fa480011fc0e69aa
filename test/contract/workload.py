"""Generated SQL of every kind, from a seed: what the replica test feeds to the server.

A step is ("script", [statement…]) for one `sql` text or ("statements", [(sql, params)…]). The schema is
read back from a SQLite connection that is as far as the server, so statements name what exists.
"""
import random
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from contract.replica import quote, shapes  # noqa: E402

CONFLICT = ["", "", "", "OR ABORT ", "OR FAIL ", "OR IGNORE ", "OR REPLACE ", "OR ROLLBACK "]
MAX_ROWS = 60

SCHEMA = r"""
CREATE TABLE fence(id INTEGER PRIMARY KEY, n INTEGER)
CREATE TABLE plain(id INTEGER PRIMARY KEY, a, b TEXT, c REAL, d INTEGER, e BLOB, f NUMERIC DEFAULT 7)
CREATE TABLE uniq(id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INT UNIQUE, w NUMERIC NOT NULL DEFAULT 5 CHECK (w < 1000000), UNIQUE(v, w))
CREATE TABLE wr(k TEXT, n INT, v, w REAL, PRIMARY KEY(k, n)) WITHOUT ROWID
CREATE TABLE wrnc(v, k TEXT COLLATE NOCASE PRIMARY KEY, x UNIQUE) WITHOUT ROWID
CREATE TABLE comp(a, b TEXT, c, PRIMARY KEY(a, b))
CREATE TABLE keyless(x, y REAL)
CREATE INDEX keyless_x ON keyless(x)
CREATE TABLE strict_(id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, bl BLOB, an ANY) STRICT
CREATE TABLE gen(id INTEGER PRIMARY KEY, v TEXT AS ('v' || a) VIRTUAL, a INT, s INT GENERATED ALWAYS AS (a * 2) STORED, y AS (a + 1), z)
CREATE TABLE dpk(id INTEGER PRIMARY KEY DESC, v)
CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE ON CONFLICT REPLACE, n INT CHECK(n <> 99))
CREATE TABLE "we ""ird"(" id" INTEGER PRIMARY KEY, "größe" TEXT, "a.b" INT DEFAULT -1, "select" REAL)
CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE)
CREATE TABLE child(id INTEGER PRIMARY KEY, pid INTEGER REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE, v TEXT)
CREATE TABLE child2(id INTEGER PRIMARY KEY, pname TEXT REFERENCES parent(name) ON DELETE SET NULL ON UPDATE CASCADE, v)
CREATE TABLE child3(id INTEGER PRIMARY KEY, pid INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED, v)
CREATE TABLE grandchild(id INTEGER PRIMARY KEY, cid REFERENCES child(id) ON DELETE CASCADE, v)
CREATE TABLE trg(id INTEGER PRIMARY KEY, v INT)
CREATE TABLE audit(n INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, tid INT, v)
CREATE TRIGGER trg_ai AFTER INSERT ON trg BEGIN INSERT INTO audit(what, tid, v) VALUES ('insert', NEW.id, NEW.v); END
CREATE TRIGGER trg_au AFTER UPDATE ON trg BEGIN INSERT INTO audit(what, tid, v) VALUES ('update', NEW.id, OLD.v || '>' || NEW.v); END
CREATE TRIGGER trg_ad AFTER DELETE ON trg BEGIN INSERT INTO audit(what, tid, v) VALUES ('delete', OLD.id, OLD.v); DELETE FROM audit WHERE n < (SELECT max(n) FROM audit) - 40; END
CREATE TRIGGER trg_abort BEFORE INSERT ON trg WHEN NEW.v = 13 BEGIN SELECT RAISE(ABORT, 'thirteen'); END
CREATE TRIGGER trg_fail AFTER INSERT ON trg WHEN NEW.v = 14 BEGIN SELECT RAISE(FAIL, 'fourteen'); END
CREATE TRIGGER trg_ignore BEFORE INSERT ON trg WHEN NEW.v = 15 BEGIN SELECT RAISE(IGNORE); END
CREATE TRIGGER trg_rollback AFTER INSERT ON trg WHEN NEW.v = 16 BEGIN SELECT RAISE(ROLLBACK, 'sixteen'); END
CREATE TRIGGER trg_self AFTER INSERT ON trg WHEN NEW.v % 10 = 7 BEGIN UPDATE trg SET v = v + 1 WHERE id = NEW.id; END
CREATE TRIGGER trg_fail_u BEFORE UPDATE ON trg WHEN NEW.v = 18 BEGIN SELECT RAISE(FAIL, 'eighteen'); END
CREATE TRIGGER trg_ignore_d BEFORE DELETE ON trg WHEN OLD.v = 19 BEGIN SELECT RAISE(IGNORE); END
CREATE VIEW vtrg AS SELECT id, v FROM trg
CREATE TRIGGER vtrg_ii INSTEAD OF INSERT ON vtrg BEGIN INSERT OR REPLACE INTO trg VALUES (NEW.id, NEW.v); END
CREATE TRIGGER vtrg_iu INSTEAD OF UPDATE ON vtrg BEGIN UPDATE trg SET v = NEW.v WHERE id = OLD.id; END
CREATE VIRTUAL TABLE ft USING fts5(body, extra)
""".strip().splitlines()

# Subscriptions whose filtered view is kept by transitions: table, filters, the same in SQL.
FILTERS = [
    ("plain", ["d >= 10"], "d >= 10"),
    ("plain", ["b in (alpha,Beta,'it''s')"], "b IN ('alpha', 'Beta', 'it''s')"),
    ("plain", ["d is null", "b != alpha"], "d IS NULL AND b <> 'alpha'"),
    ("plain", ["c<0.5"], "c < 0.5"),
    ("plain", ["e = x'00ff'"], "e = x'00ff'"),
    ("uniq", ["v < 20"], "v < 20"),
    ("wr", "n>3", "n > 3"),
    ("wrnc", "k = ALPHA", "k = 'alpha'"),
    ("comp", ["b is not null"], "b IS NOT NULL"),
    ("keyless", ["y<=1.0"], "y <= 1.0"),
    ("gen", ["s > 10"], "s > 10"),
    ("strict_", ["r <= 1.5", "t is not null"], "r <= 1.5 AND t IS NOT NULL"),
    ("we \"ird", ["\"größe\" != 'x'"], "\"größe\" <> 'x'"),
    ("child", ["pid IN (1, 2,3)"], "pid IN (1, 2, 3)"),
    ("trg", ["v>=5"], "v >= 5"),
    ("audit", ["what='delete'"], "what = 'delete'"),
]

NUMBERS = ["0", "1", "-1", "2", "3", "5", "9", "10", "11", "42", "1.0", "-0.5", "0.1", "1e300", "9e999", "-9e999",
           "9223372036854775807", "-9223372036854775808", "9007199254740993", "1.5", "2.0"]
TEXTS = ["''", "'alpha'", "'ALPHA'", "'Beta'", "'it''s'", "'x'", "'12'", "'12.0'", "'grün ☃ 😀'", "'a' || char(0) || 'b'",
         "CAST(x'ff41fe' AS TEXT)", "CAST(x'eda080' AS TEXT)", "'tab\t\"quote\\'", "'line' || char(10)"]
BLOBS = ["x''", "x'00ff'", "x'414243'", "zeroblob(3)", "x'00'"]
MAY_NOT_BE_KEYS = ("CAST(",)


class Workload:
    def __init__(self, seed, db):
        self.random = random.Random(seed)
        self.db = db            # where to look up the schema
        self.fresh = 0

    # -- pieces

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, p):
        return self.random.random() < p

    def small(self):
        return str(self.random.randint(-3, 25))

    def value(self, key=False):
        kind = self.random.random()
        if kind < 0.4:
            return self.small()
        if kind < 0.55:
            return self.pick(NUMBERS)
        if kind < 0.82:
            text = self.pick(TEXTS)
            return "'k'" if key and text.startswith(MAY_NOT_BE_KEYS) else text
        if kind < 0.92:
            return self.pick(BLOBS)
        return "NULL"

    def value_for(self, shape, column):
        name, declared = column[1], (column[2] or "").upper()
        if name == shape.alias:
            return self.small() if self.chance(0.7) else "NULL"
        if self.chance(0.6):
            if declared in ("INTEGER", "INT"):
                return self.small()
            if declared == "REAL":
                return self.pick(["1", "2", "0.25", "1.5", "3.0", "-1", self.small()])
            if declared == "TEXT":
                return self.pick(TEXTS[:8])
            if declared == "BLOB":
                return self.pick(BLOBS)
        return self.value(key=bool(column[5]) or shape.name in ("uniq", "wrnc", "auto"))

    def expression(self, shape, column):
        name = quote(column[1])
        if column[1] == shape.alias:
            return self.pick([self.small(), f"{name} + 1", f"{name} + 30", f"-{name}", name])
        plain = (column[2] or "").upper() in ("INTEGER", "INT", "REAL")
        if plain and self.chance(0.4):
            return self.pick([f"{name} + 1", f"{name} * 2", f"-{name}", name, f"coalesce({name}, 0) % 7"])
        return name if self.chance(0.1) else self.value_for(shape, column)

    def where(self, shape):
        columns = shape.columns
        a = self.pick(columns)
        rowid = shape.alias or (None if shape.without_rowid else "rowid")
        options = [f"{quote(a[1])} > {self.value()}", f"{quote(a[1])} IS {self.value()}",
                   f"{quote(a[1])} IN ({self.value()}, {self.value()}, {self.small()})", f"{quote(a[1])} NOT NULL"]
        if rowid:
            options += [f"{quote(rowid)} % 3 = {self.random.randint(0, 2)}", f"{quote(rowid)} = {self.small()}",
                        f"{quote(rowid)} IN (SELECT {quote(rowid)} FROM {quote(shape.name)} LIMIT 3)"]
        return self.pick(options)

    def tables(self, dynamic=None):
        found = [s for s in shapes(self.db).values() if not s.virtual and s.name != "fence"]
        if dynamic is not None:
            found = [s for s in found if is_dynamic(s.name) == dynamic]
        return found

    def table(self):
        return self.pick(self.tables())

    def new_name(self):
        self.fresh += 1
        return f"d{self.fresh}"

    # -- statements

    def insert(self):
        shape = self.table()
        columns = [c for c in shape.columns if not c[6]]
        if self.chance(0.5):
            columns = [c for c in columns if c[5] or self.chance(0.7)] or columns[:1]
        rows = ", ".join("(" + ", ".join(self.value_for(shape, c) for c in columns) + ")"
                         for _ in range(self.pick([1, 1, 2, 3, 5])))
        names = ", ".join(quote(c[1]) for c in columns)
        verb = "REPLACE" if self.chance(0.1) else f"INSERT {self.pick(CONFLICT)}".rstrip()
        text = f"{verb} INTO {quote(shape.name)}({names}) VALUES {rows}"
        if self.chance(0.25) and verb == "INSERT":
            text += self.upsert(shape, columns)
        return text + (" RETURNING *" if self.chance(0.1) else "")

    def upsert(self, shape, columns):
        if not shape.key or self.chance(0.3):
            return " ON CONFLICT DO NOTHING"
        target = ", ".join(quote(k) for k in shape.key)
        column = self.pick(columns)
        value = self.pick([f"excluded.{quote(column[1])}", self.value_for(shape, column)])
        clause = f" ON CONFLICT({target}) DO UPDATE SET {quote(column[1])} = {value}"
        return clause + (f" WHERE {self.where(shape)}" if self.chance(0.2) else "")

    def insert_select(self):
        shape, source = self.table(), self.table()
        names = [c for c in shape.columns if not c[6]]
        conflict = self.pick(CONFLICT)
        if self.chance(0.5):
            values = ", ".join("n" if self.chance(0.4) else self.value_for(shape, c) for c in names)
            start = self.random.randint(-5, 40)
            return (f"WITH RECURSIVE g(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM g LIMIT {self.random.randint(1, 6)}) "
                    f"INSERT {conflict}INTO {quote(shape.name)}({', '.join(quote(c[1]) for c in names)}) SELECT {values} FROM g")
        # columns past the source's are made up; integer keys must stay small
        offered = [quote(c[1]) for c in source.columns if not c[6] and (c[2] or "").upper() in ("INTEGER", "INT", "TEXT")]
        picked = []
        for column in names:
            if column[1] == shape.alias or not offered or self.chance(0.4):
                picked.append(self.value_for(shape, column))
            else:
                picked.append(self.pick(offered))
        return (f"INSERT {conflict}INTO {quote(shape.name)}({', '.join(quote(c[1]) for c in names)}) "
                f"SELECT {', '.join(picked)} FROM {quote(source.name)} ORDER BY 1 LIMIT 3")

    def update(self):
        shape = self.table()
        columns = [c for c in shape.columns if not c[6]]
        chosen = self.random.sample(columns, min(len(columns), self.pick([1, 1, 2, 3])))
        sets = ", ".join(f"{quote(c[1])} = {self.expression(shape, c)}" for c in chosen)
        if not shape.without_rowid and not shape.alias and self.chance(0.1):
            sets = self.pick(["rowid = rowid + 50", "rowid = -rowid", f"rowid = {self.small()}"])
        text = f"UPDATE {self.pick(CONFLICT)}{quote(shape.name)} SET {sets}"
        if self.chance(0.8):
            text += f" WHERE {self.where(shape)}"
        return text + (" RETURNING *" if self.chance(0.05) else "")

    def delete(self):
        shape = self.table()
        if self.chance(0.15):
            return f"DELETE FROM {quote(shape.name)}"
        return f"DELETE FROM {quote(shape.name)} WHERE {self.where(shape)}"

    def trim(self):
        """Keeps tables small: the largest loses most of its rows."""
        counts = [(self.db.execute(f"SELECT count(*) FROM {quote(s.name)}").fetchone()[0], s) for s in self.tables()]
        count, shape = max(counts, key=lambda c: c[0])
        if count <= MAX_ROWS:
            return None
        if shape.without_rowid:
            return f"DELETE FROM {quote(shape.name)}"
        return f"DELETE FROM {quote(shape.name)} WHERE {quote(shape.alias or 'rowid')} % 4 <> 0"

    def trigger_play(self):
        v = self.pick([13, 14, 15, 16, 17, 18, 19, 7, 5, 27])
        rows = ", ".join(f"(NULL, {x})" for x in [self.random.randint(0, 9) for _ in range(self.random.randint(0, 2))] + [v, 3])
        return self.pick([
            f"INSERT {self.pick(CONFLICT)}INTO trg VALUES {rows}", f"INSERT INTO vtrg VALUES ({self.small()}, {v})",
            f"UPDATE vtrg SET v = {v} WHERE v < 8", f"UPDATE {self.pick(CONFLICT)}trg SET v = {v} WHERE id % 2",
            "UPDATE trg SET v = v + 1", f"DELETE FROM trg WHERE v > {self.random.randint(0, 20)}", "DELETE FROM trg"])

    def family(self):
        n, m = self.random.randint(1, 9), self.random.randint(1, 9)
        name = self.pick(["'alpha'", "'Beta'", "'x'", "'12'"])
        return self.pick([
            f"INSERT OR IGNORE INTO parent VALUES ({n}, {name}), ({m}, NULL)", f"INSERT OR REPLACE INTO parent VALUES ({n}, {name})",
            f"UPDATE parent SET id = id + 40 WHERE id = {n}", f"UPDATE OR REPLACE parent SET name = {name} WHERE id = {n}",
            f"DELETE FROM parent WHERE id > {n}", f"INSERT INTO child(pid, v) SELECT id, 'of ' || id FROM parent LIMIT 3",
            f"INSERT INTO child2(pname, v) SELECT name, id FROM parent WHERE name NOT NULL LIMIT 2",
            f"INSERT INTO child3(pid, v) VALUES ({n}, {m})", f"INSERT INTO child3(pid, v) SELECT id, {n} FROM parent LIMIT 2",
            "DELETE FROM child3", "DELETE FROM child3 WHERE pid NOT IN (SELECT id FROM parent)",
            f"INSERT INTO grandchild(cid, v) SELECT id, {m} FROM child LIMIT 2", "DELETE FROM parent"])

    def ddl(self):
        mine = self.tables(dynamic=True)
        if not mine or (len(mine) < 6 and self.chance(0.3)):
            return self.create()
        shape = self.pick(mine)
        name = quote(shape.name)
        kind = self.random.randint(0, 9)
        if kind <= 2:
            return f"ALTER TABLE {self.pick([name, name, 'plain'])} ADD COLUMN {self.new_column()}"
        if kind == 3:
            return f"ALTER TABLE {name} RENAME COLUMN {quote(self.pick(shape.names()))} TO c{self.new_name()}"
        if kind == 4:
            return f"ALTER TABLE {name} DROP COLUMN {quote(self.pick(shape.names()))}"
        if kind == 5:
            return f"ALTER TABLE {name} RENAME TO {self.new_name()}"
        if kind == 6:
            return f"CREATE INDEX i{self.new_name()} ON {name}({quote(self.pick(shape.names()))})"
        if kind == 7:
            extra = [c for c in next(s for s in self.tables() if s.name == "plain").names() if c.startswith("x")]
            if extra:
                return f"ALTER TABLE plain DROP COLUMN {self.pick(extra)}"
        return f"DROP TABLE {name}"

    def new_column(self):
        self.fresh += 1
        return f"x{self.fresh} " + self.pick([
            "", "TEXT", "INTEGER", "REAL DEFAULT 3", "INT DEFAULT 7", "TEXT DEFAULT 'd''x'", "BLOB DEFAULT x'01ff'",
            "NUMERIC NOT NULL DEFAULT -2.5", "TEXT COLLATE NOCASE DEFAULT 'Nn'", "INT DEFAULT (3 + 4)", "AS (1 + 1) VIRTUAL",
            "INTEGER REFERENCES parent(id)", "TEXT DEFAULT 12", "INT CHECK (1)", "DEFAULT TRUE", "REAL DEFAULT 9e999"])

    def create(self, name=None):
        name = name or self.new_name()
        if self.chance(0.3):
            source = self.table()
            return f"CREATE TABLE {name} AS SELECT * FROM {quote(source.name)} ORDER BY 1 LIMIT {self.random.randint(0, 8)}"
        return f"CREATE TABLE {name}" + self.pick([
            "(id INTEGER PRIMARY KEY, v TEXT, w)", "(a, b, c)", "(k TEXT PRIMARY KEY, v INT) WITHOUT ROWID",
            "(a INT, b TEXT, v REAL DEFAULT 1, PRIMARY KEY(b, a))", "(id INTEGER PRIMARY KEY, t TEXT NOT NULL DEFAULT 'n', a ANY) STRICT",
            "(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE, g INT AS (v) STORED)", "(id INT PRIMARY KEY, v)"])

    def odd(self):
        return self.pick([
            "SELEC 1", "INSERT INTO missing VALUES (1)", "UPDATE plain SET nope = 1", "INSERT INTO plain(id) VALUES ('not a number')",
            "UPDATE OR FAIL plain SET id = 'x' WHERE id > 3", "UPDATE OR IGNORE uniq SET id = 'x' WHERE v > 2", "SELECT * FROM plain LIMIT 3",
            "INSERT INTO uniq(w) VALUES (2000000)", "INSERT INTO strict_(i) VALUES ('abc')", "SELECT count(*) FROM audit",
            "UPDATE OR REPLACE uniq SET v = 1", "UPDATE OR REPLACE uniq SET id = id + 1, u = 'alpha'", "ANALYZE", "REINDEX",
            "INSERT INTO ft(body, extra) VALUES ('some words here', 'x'), ('other words', NULL)", "DELETE FROM ft WHERE ft MATCH 'words'",
            "UPDATE ft SET body = 'changed ' || body", "CREATE TABLE IF NOT EXISTS plain(x)", "DROP TABLE IF EXISTS missing",
            "UPDATE plain SET a = a", "CREATE VIEW IF NOT EXISTS v1 AS SELECT * FROM plain", "DROP VIEW IF EXISTS v1",
            "INSERT INTO keyless SELECT * FROM keyless LIMIT 4", "INSERT INTO keyless SELECT x, y FROM keyless WHERE rowid < 5",
            "UPDATE wrnc SET k = upper(k)", "UPDATE wrnc SET k = lower(k)", "UPDATE comp SET a = NULL WHERE c > 3",
            "UPDATE comp SET a = rowid, b = 'f' WHERE a IS NULL", "UPDATE plain SET c = CAST(d AS INT)", "PRAGMA user_version = 7",
            "UPDATE wr SET n = n + 1", "UPDATE OR REPLACE wr SET k = 'alpha'", "INSERT INTO gen(id, s) VALUES (1, 2)",
            "UPDATE plain SET d = (SELECT count(*) FROM audit) FROM parent WHERE plain.id = parent.id"])

    def statement(self):
        big = self.trim() if self.chance(0.15) else None
        if big:
            return big
        make = self.random.choices([self.insert, self.insert_select, self.update, self.delete, self.trigger_play,
                                    self.family, self.ddl, self.odd], [22, 8, 22, 8, 12, 12, 9, 9])[0]
        return make()

    # -- steps

    def some(self, low, high):
        return [self.statement() for _ in range(self.random.randint(low, high))]

    def step(self):
        kind = self.random.random()
        if kind < 0.45:
            return "script", [self.statement()]
        if kind < 0.55:
            return "script", self.some(2, 5)
        if kind < 0.67:
            begin = self.pick(["BEGIN", "BEGIN IMMEDIATE", "begin transaction", "BEGIN EXCLUSIVE"])
            end = self.pick(["COMMIT", "COMMIT", "END", "ROLLBACK"])
            return "script", [*self.some(0, 1), begin, *self.some(1, 5), end, *self.some(0, 2)]
        if kind < 0.80:
            return "script", self.savepoints()
        if kind < 0.82:
            return "script", ["BEGIN", *self.some(1, 3)]
        if kind < 0.84:
            act = self.pick(["VACUUM", "VACUUM", "COMMIT", "ROLLBACK", "RELEASE nope", "ROLLBACK TO nope"])
            return "script", [*(self.indexes() if act == "VACUUM" else []), act]
        if kind < 0.87:
            return "script", self.recreate()
        return "statements", [self.with_parameters() if self.chance(0.4) else (s, None) for s in self.some(1, 6)]

    def indexes(self):
        """VACUUM keeps the rowids of tables that have an index; without one they are the key and would change."""
        bare = [s for s in self.tables() if not s.without_rowid and not s.alias
                and not self.db.execute(f"PRAGMA index_list({quote(s.name)})").fetchall()]
        return [f"CREATE INDEX i{self.new_name()} ON {quote(s.name)}({quote(s.names()[0])})" for s in bare]

    def savepoints(self):
        """Nested savepoints, alone or in BEGIN … COMMIT, partly rolled back."""
        outer = self.chance(0.5)
        text, open_ = (["BEGIN"] if outer else ["SAVEPOINT s0"]), ([] if outer else ["s0"])
        for i in range(self.random.randint(2, 7)):
            act = self.random.random()
            if act < 0.3:
                open_.append(self.pick([f"s{i}", "s0", '"S 1"']))
                text.append(f"SAVEPOINT {open_[-1]}")
            elif act < 0.5 and open_:
                text.append(f"ROLLBACK TO {self.pick(open_)}")
                continue
            elif act < 0.6 and len(open_) > 1:
                text.append(f"RELEASE {open_.pop()}")
            text.append(self.statement())
        if outer:
            return [*text, self.pick(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])]
        return [*text, self.pick([f"RELEASE {open_[0]}", "COMMIT", f"ROLLBACK TO {open_[0]}"])]

    def recreate(self):
        mine = self.tables(dynamic=True)
        if not mine:
            return [self.create()]
        name = self.pick(mine).name
        if len(mine) > 1 and self.chance(0.2):
            other = self.pick([s.name for s in mine if s.name != name])
            return ["BEGIN", *self.some(0, 1), f"DROP TABLE {name}", f"ALTER TABLE {other} RENAME TO {name}", *self.some(0, 1), "COMMIT"]
        fill = f"INSERT INTO {name} VALUES (1, 2, 3)"
        if self.chance(0.3):
            moved = self.new_name()
            return ["BEGIN", f"ALTER TABLE {name} RENAME TO {moved}", self.create(name), self.statement(), "COMMIT"]
        if self.chance(0.3):
            return ["BEGIN", *self.some(0, 2), f"DELETE FROM {name}", f"DROP TABLE {name}", self.create(name),
                    *self.some(0, 1), "COMMIT"]
        return ["BEGIN", f"DROP TABLE {name}", f"CREATE TABLE {name}(a, b, c)", fill, "COMMIT"]

    def with_parameters(self):
        a, b = self.random.randint(-3, 20), self.pick([1.0, -0.5, "grün", "nul\0l", None, 2**63 - 1, b"\x00\xff", b"", 1e300])
        return self.pick([
            ("INSERT OR REPLACE INTO plain(id, a, b) VALUES (?, ?, ?)", [a, b, "alpha"]),
            ("UPDATE plain SET a = :v, d = :d WHERE id = :id", {"v": b, "d": a, "id": a}),
            ("INSERT INTO keyless VALUES (?2, ?1)", [a, b]),
            ("DELETE FROM plain WHERE d > @d", {"d": a}),
            ("INSERT INTO comp VALUES ($a, $b, $c) ON CONFLICT DO UPDATE SET c = excluded.c", {"a": a, "b": "k", "c": b})])


def is_dynamic(name):
    return name[0] == "d" and name[1:].isdigit()
