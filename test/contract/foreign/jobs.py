"""Generated jobs for several writers at once, from a seed: the statements of contract/workload.py, and what
matters to one who reads the log: trees of many pages, overflow chains, changes in place, freed pages.

A job is a list of items, see python_writer.py.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.replica import quote  # noqa: E402
from contract.workload import SCHEMA as PLAIN_SCHEMA, Workload  # noqa: E402

MARKS = ("own", "fence")    # tables that only the server writes

SCHEMA = PLAIN_SCHEMA + r"""
CREATE TABLE big(id INTEGER PRIMARY KEY, v TEXT, w REAL, pad)
CREATE INDEX big_v ON big(v)
CREATE TABLE heap(a, b INT, c TEXT)
CREATE TABLE words(k TEXT PRIMARY KEY, n INT, pad BLOB)
CREATE TABLE wide(a TEXT COLLATE NOCASE, b TEXT COLLATE RTRIM, c INT, d, e, PRIMARY KEY(c DESC, a, b)) WITHOUT ROWID
CREATE INDEX wide_d ON wide(d)
CREATE TABLE long_(k TEXT, n INT, v BLOB, PRIMARY KEY(k, n DESC)) WITHOUT ROWID
CREATE TABLE blobs(id INTEGER PRIMARY KEY, b BLOB, t TEXT, r REAL)
CREATE TABLE bigkey(k BLOB PRIMARY KEY, v) WITHOUT ROWID
CREATE TABLE reals(id INTEGER PRIMARY KEY, r REAL, s REAL DEFAULT 4, n INTEGER)
CREATE TABLE calc(id INTEGER PRIMARY KEY, a INT, v AS (a + 1), s AS (a * 2) STORED, b TEXT AS ('b' || a) STORED, z BLOB)
""".strip().splitlines()
SCHEMA = [s for s in SCHEMA if "TABLE fence(" not in s]

MANY = {"big": 4000, "heap": 1200, "words": 1200, "wide": 1200, "long_": 60, "blobs": 30, "bigkey": 60, "reals": 1200, "calc": 600}


class Jobs(Workload):
    def __init__(self, seed, db, page_size, repeatable=False):
        """`repeatable`: the same rows each time they are run."""
        super().__init__(seed, db)
        self.page_size, self.repeatable = page_size, repeatable

    def tables(self, dynamic=None):
        return [s for s in super().tables(dynamic) if s.name not in MARKS]

    def between(self, low, high):
        return self.random.randint(low, high)

    def transaction(self, statements):
        return ["BEGIN IMMEDIATE", *statements, "COMMIT" if self.chance(0.93) else "ROLLBACK"]

    # -- large values

    def size(self):
        page = self.page_size
        return self.pick([0, 1, 20, self.between(0, 200), page // 8, page // 4, page - 60, page - 35, page, page + 1,
                          self.between(0, 3 * page), self.between(0, 12 * page), self.between(0, 40000)])

    def huge(self):
        return self.pick([100_000, 300_000, 1_000_000, 3_500_000])

    def blob(self, size):
        if size <= 300 and self.chance(0.5):
            return f"x'{self.random.randbytes(size).hex()}'"
        if not self.repeatable:
            return f"randomblob({size})"
        return f"CAST(substr(replace(hex(zeroblob({size})), '00', '{self.between(100, 999)}' || char({self.between(65, 90)})), 1, {size}) AS BLOB)"

    def text(self, size):
        if self.chance(0.3):
            return f"replace(hex(zeroblob({size // 4})), '00', '{self.pick(['grün', '☃ xy', '😀', 'abcd'])}')"
        return f"substr(hex({self.blob(size // 2 + 1)}), 1, {size})"

    def any_large(self):
        return self.pick([self.blob, self.text])(self.size())

    # -- jobs of many rows

    def numbers(self, count, start=None):
        start = self.between(1, 3000) if start is None else start
        return f"WITH RECURSIVE g(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM g LIMIT {count}) "

    def bulk(self):
        count = self.pick([5, 30, 100, 100, 400, 1500])
        some = f"substr('{'lorem ipsum dolor sit amet ' * 4}', 1, n % {self.between(1, 90)})"
        conflict = self.pick(["OR REPLACE ", "OR IGNORE ", "OR REPLACE "])
        start = self.between(-50, 3000)
        return [self.numbers(count, start) + self.pick([
            f"INSERT {conflict}INTO big SELECT n, 'v' || (n % 97), n, {some} FROM g",
            f"INSERT INTO big(v, w, pad) SELECT {some}, n / 2.0, n FROM g",
            f"INSERT INTO heap SELECT n, n % 7, {some} FROM g",
            f"INSERT {conflict}INTO words SELECT 'k' || (n * {self.between(1, 7)} % 1500), n, {some} FROM g",
            f"INSERT INTO words SELECT 'k' || (n % 1500), n, {some} FROM g WHERE true ON CONFLICT DO UPDATE SET n = excluded.n + 1, pad = words.pad || 'u'",
            f"INSERT {conflict}INTO wide SELECT substr('aBcDeF', n % 6 + 1, 1), 'r' || (n % 5) || substr('   ', 1, n % 3), n % 200, {some}, n FROM g",
            f"INSERT {conflict}INTO long_ SELECT 'k' || (n % 9), n % 5, {self.any_large()} FROM g LIMIT 6",
            f"INSERT {conflict}INTO reals(id, r, s, n) SELECT n, n * {self.pick(['1', '1.5', '0.1', '-1e15', '9e999'])}, n, -n FROM g",
            f"INSERT {conflict}INTO calc(id, a, z) SELECT n, n * 3, {some} FROM g LIMIT 300"])]

    def change_many(self):
        a, b, k = self.between(-50, 3000), self.between(1, 600), self.between(2, 9)
        span = f"BETWEEN {a} AND {a + b}"
        return [self.pick([
            f"UPDATE big SET w = w + 1 WHERE id % {k} = 0", f"UPDATE big SET pad = pad || 'longer text' WHERE id {span} AND length(pad) < 300",
            f"UPDATE big SET v = 'new' || id, pad = NULL WHERE id {span}", "UPDATE big SET w = -w",
            f"UPDATE OR IGNORE big SET id = id + 5000 WHERE id {span}", f"UPDATE OR REPLACE big SET id = id - 5000 WHERE id > 5000 AND id % {k}",
            f"UPDATE heap SET b = b + 1 WHERE rowid {span}", f"UPDATE heap SET c = c || a WHERE b = {k} AND length(c) < 200",
            f"UPDATE OR REPLACE heap SET rowid = rowid + {b} WHERE rowid {span}", f"UPDATE words SET n = n + 1 WHERE n % {k} = 1",
            f"UPDATE OR REPLACE words SET k = 'k' || (n % 300) WHERE n {span}", f"UPDATE OR IGNORE words SET k = upper(k) WHERE n % {k} = 0",
            f"UPDATE OR IGNORE words SET rowid = -rowid WHERE n {span}",
            f"UPDATE OR REPLACE wide SET c = c + 1 WHERE c % {k} = 0", "UPDATE wide SET a = upper(a)", f"UPDATE wide SET b = trim(b) || '  ' WHERE c < {b}",
            f"UPDATE wide SET d = {self.any_large()} WHERE c = {self.between(0, 199)}", f"UPDATE reals SET r = CAST(r AS INT), n = n + 1 WHERE id % {k} = 0",
            f"UPDATE calc SET a = a + 1 WHERE id {span}", f"UPDATE calc SET z = {self.blob(self.size())} WHERE id = {a}"])]

    def delete_many(self):
        name, column = self.pick([("big", "id"), ("heap", "rowid"), ("words", "n"), ("wide", "c"), ("reals", "id"), ("calc", "id"),
                                  ("long_", "n"), ("blobs", "id"), ("bigkey", "length(k)")])
        a = self.between(-50, 3500)
        return [self.pick([
            f"DELETE FROM {name}", f"DELETE FROM {name} WHERE {column} >= {a}", f"DELETE FROM {name} WHERE {column} BETWEEN {a} AND {a + 400}",
            f"DELETE FROM {name} WHERE {column} % {self.between(2, 5)} = 0", f"DELETE FROM {name} WHERE {column} % 10 <> 0"])]

    def shrink(self):
        """Keeps the tables at a size that can be compared often."""
        for name, most in MANY.items():
            count, = self.db.execute(f"SELECT count(*) FROM {name}").fetchone()
            if count > most:
                return [f"DELETE FROM {name}" + self.pick(["", f" WHERE {'rowid' if name in ('heap', 'words') else 'length(k)' if name in ('long_', 'bigkey') else 'c' if name == 'wide' else 'id'} % 7 <> 1"])]
        heavy, = self.db.execute("SELECT total(length(b) + length(t)) FROM blobs").fetchone()
        return ["DELETE FROM blobs WHERE length(b) > 100000 OR length(t) > 100000"] if heavy > 6e6 else None

    # -- jobs about large rows

    def long_blobs(self):
        """(id, length) of those that have an overflow chain."""
        return self.db.execute(f"SELECT id, length(b) FROM blobs WHERE typeof(b) = 'blob' AND length(b) > {2 * self.page_size}").fetchall()

    def in_place(self, row, size):
        """Changes bytes, so that the rest of the row stays as and where it is; also two places at once, or in two rows."""
        def patch(table, column, key, size):
            at, part = self.between(1, max(1, size - 40)), self.between(1, 40)
            bytes_ = self.random.randbytes(part).hex()
            return (f"UPDATE {table} SET {column} = CAST(substr({column}, 1, {at - 1}) || x'{bytes_}' || substr({column}, {at + part}) AS BLOB) "
                    f"WHERE {key} AND typeof({column}) = 'blob' AND length({column}) > {at + part}")
        written = {"blob": ["blobs", "b", row, self.between(0, size), self.random.randbytes(self.between(1, 40)).hex()]}
        one = patch("blobs", "b", f"id = {row}", size)
        return self.pick([
            lambda: [one], lambda: [one], lambda: [written], lambda: [written, dict(written)], lambda: self.transaction([one, written]),
            lambda: self.transaction([one, f"UPDATE blobs SET r = coalesce(r, 0) + 1 WHERE id = {row}"]),
            lambda: self.transaction([one, f"UPDATE blobs SET id = -id WHERE id = {row}"]), lambda: self.transaction([one, f"DELETE FROM blobs WHERE id = {row}"]),
            lambda: self.transaction([patch("blobs", "b", "id % 2", size), patch("long_", "v", "n % 2", 5 * self.page_size)]),
            lambda: [patch("long_", "v", f"n = {self.between(0, 4)}", 4 * self.page_size)],
            lambda: [patch("calc", "z", "id % 5 = 1", 3 * self.page_size)],
            lambda: [f"UPDATE blobs SET b = zeroblob(length(b)) WHERE id = {row}"]])()

    def overflow(self):
        found = self.long_blobs()
        if found and self.chance(0.6):
            return self.in_place(*self.pick(found))
        if len(found) < 4 and self.chance(0.6):
            most = min(40, 4 + 400_000 // self.page_size)
            sizes = [self.between(2, most) * self.page_size + self.between(0, 99) for _ in range(3)]
            return [f"INSERT INTO blobs(b, t, r) VALUES ({self.blob(size)}, {self.text(self.size())}, 1)" for size in sizes] + [
                f"INSERT OR REPLACE INTO long_ VALUES ('long', {self.between(0, 4)}, {self.blob(sizes[0])})"]
        row, size = self.pick(found) if found else (self.between(1, 9), 0)
        with_huge = self.chance(0.06)
        large = self.blob(self.huge()) if with_huge else self.blob(self.size())
        return [self.pick([
            f"INSERT OR REPLACE INTO blobs VALUES ({self.between(1, 25)}, {large}, {self.text(self.size())}, {self.small()})",
            f"INSERT INTO blobs(b, t) VALUES ({large}, {self.text(self.size())})", f"UPDATE blobs SET t = {self.text(self.size())} WHERE id = {row}",
            f"UPDATE blobs SET r = {self.small()} WHERE id = {row}", f"UPDATE blobs SET id = id + 40 WHERE id = {row}", f"DELETE FROM blobs WHERE id = {row}",
            f"UPDATE blobs SET b = t, t = NULL WHERE id % 3 = {row % 3}",
            f"INSERT OR REPLACE INTO bigkey VALUES ({self.blob(self.size())}, {self.any_large()})",
            f"INSERT OR REPLACE INTO bigkey VALUES (CAST('prefix' || substr(hex(zeroblob({self.page_size})), 1, {self.page_size}) || {self.between(0, 20)} AS BLOB), {self.small()})",
            f"UPDATE bigkey SET v = {self.any_large()} WHERE length(k) % 3 = 1", f"UPDATE long_ SET v = {self.any_large()} WHERE n = {self.between(0, 4)}"])]

    # -- jobs about keys

    def keys(self):
        a, b = self.between(1, 2000), self.between(1, 2000)
        one, other = f"'k{a % 1500}'", f"'k{b % 1500}'"
        return self.transaction(self.pick([
            [f"UPDATE big SET id = -77777 WHERE id = {a}", f"UPDATE big SET id = {a} WHERE id = {b}", f"UPDATE big SET id = {b} WHERE id = -77777"],
            [f"UPDATE words SET k = 'swap' WHERE k = {one}", f"UPDATE words SET k = {one} WHERE k = {other}", f"UPDATE words SET k = {other} WHERE k = 'swap'"],
            [f"DELETE FROM words WHERE k = {one}", f"INSERT INTO words VALUES ({one}, {b}, 'again')"],
            [f"INSERT OR REPLACE INTO words(rowid, k, n) VALUES ({b}, {one}, {a})"],
            [f"UPDATE OR REPLACE words SET rowid = {a} WHERE k = {other}", f"UPDATE words SET n = {a} WHERE k = {one}"],
            [f"UPDATE wide SET c = -1 - c WHERE c = {a % 200}", f"UPDATE wide SET c = {a % 200} WHERE c = {b % 200}", f"UPDATE wide SET c = {b % 200} WHERE c < 0"],
            [f"DELETE FROM big WHERE id = {a}", f"INSERT INTO big VALUES ({a}, 'same id', 1, NULL)"],
            [f"INSERT INTO comp VALUES ({a % 20}, NULL, {b}), (NULL, 'k', {a})", "UPDATE comp SET b = 'filled' WHERE b IS NULL AND c % 2"],
            [f"REPLACE INTO comp VALUES ({a % 5}, 'k{b % 5}', {b})", f"REPLACE INTO comp VALUES ({b % 5}, 'k{a % 5}', {a})"],
            ["UPDATE wrnc SET k = k || ' '", "UPDATE wrnc SET k = rtrim(k)"],
            [f"INSERT INTO big VALUES (9223372036854775807, 'last', {a}, 1)", "UPDATE big SET id = -9223372036854775807 - 1 WHERE id = 9223372036854775807"],
            [f"DELETE FROM big WHERE id < -9223372036854775807 OR id = 9223372036854775807"]]))

    # -- jobs about the schema

    def schema(self):
        name, fresh = self.new_name(), self.new_name()
        mine = self.tables(dynamic=True)
        if len(mine) > 8:
            return [f"DROP TABLE {s.name}" for s in mine[:4]]
        return self.pick([
            lambda: [self.ddl()], lambda: self.transaction([self.ddl(), self.statement(), self.ddl()]), self.recreate,
            lambda: [f"CREATE TABLE {name} AS SELECT * FROM big WHERE id % 5 = 1"],
            lambda: [f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, v)", self.numbers(200) + f"INSERT INTO {name} SELECT n, 'x' || n FROM g",
                     f"ALTER TABLE {name} ADD COLUMN extra TEXT DEFAULT 'given'", f"UPDATE {name} SET extra = 'changed' WHERE id % 3 = 0",
                     f"ALTER TABLE {name} DROP COLUMN v"],
            lambda: self.transaction([f"CREATE TABLE {name}(k TEXT PRIMARY KEY, v) WITHOUT ROWID", self.numbers(50) + f"INSERT INTO {name} SELECT 'k' || n, n FROM g",
                                      f"ALTER TABLE {name} RENAME TO {fresh}", f"ALTER TABLE {fresh} RENAME COLUMN v TO w", f"UPDATE {fresh} SET w = w + 1"]),
            lambda: self.transaction([f"DROP TABLE {s.name}" for s in mine[:2]] + [f"CREATE TABLE {s.name}(a, b, c)" for s in mine[:2]]
                                     + [f"INSERT INTO {s.name} VALUES (1, 2, 3)" for s in mine[:2]]),
            lambda: [f"CREATE INDEX IF NOT EXISTS by_pad ON big(pad, v)"], lambda: ["DROP INDEX IF EXISTS by_pad"],
            lambda: ["CREATE INDEX IF NOT EXISTS by_blob ON blobs(b)"], lambda: ["DROP INDEX IF EXISTS by_blob"],
            lambda: ["CREATE UNIQUE INDEX IF NOT EXISTS by_words ON words(k COLLATE NOCASE, rowid)" if self.chance(0.5) else "CREATE INDEX IF NOT EXISTS by_expr ON words(n % 7) WHERE n > 3"],
            lambda: [f"CREATE VIRTUAL TABLE IF NOT EXISTS d_ft USING fts5(a, b)", "INSERT INTO d_ft VALUES ('some words', 'here')"],
            lambda: ["DROP TABLE IF EXISTS d_ft"], lambda: ["INSERT INTO ft(ft) VALUES ('optimize')"],
            lambda: [f"CREATE TEMP TABLE IF NOT EXISTS mine(x)", "INSERT INTO temp.mine VALUES (1)"],
            lambda: [f"ALTER TABLE reals ADD COLUMN x{self.between(1, 10**6)} {self.pick(['REAL DEFAULT 2', 'TEXT DEFAULT 12', 'INT NOT NULL DEFAULT 3', 'BLOB'])}"],
            lambda: [f"ALTER TABLE reals DROP COLUMN {c}" for c in self.added("reals")[:1]]])()

    def added(self, table):
        return [n for s in self.tables() if s.name == table for n in s.names() if re.fullmatch(r"x\d+", n)]

    # -- jobs about the file

    def upkeep(self):
        mode = self.pick(["PASSIVE", "PASSIVE", "FULL", "RESTART", "TRUNCATE"])
        if self.chance(0.55):
            return ["PRAGMA busy_timeout = 150", f"PRAGMA wal_checkpoint({mode})", "PRAGMA busy_timeout = 10000"]
        return [self.pick(["VACUUM", "VACUUM", "PRAGMA incremental_vacuum", f"PRAGMA incremental_vacuum({self.between(1, 9)})", "ANALYZE", "REINDEX",
                           f"PRAGMA user_version = {self.between(0, 999)}", f"PRAGMA application_id = {self.between(0, 999)}", "PRAGMA optimize",
                           f"PRAGMA wal_autocheckpoint = {self.pick([1000, 20, 1])}", f"PRAGMA journal_size_limit = {self.pick([-1, 100000])}",
                           "PRAGMA auto_vacuum = 1", "PRAGMA auto_vacuum = 2", "PRAGMA schema_version"])]

    # -- jobs

    def settle(self, items):
        """Deferred transactions of several writers mostly end in an error; most are made immediate."""
        return [re.sub(r"^(BEGIN|begin transaction)$", "BEGIN IMMEDIATE", i) if isinstance(i, str) and self.chance(0.85) else i for i in items]

    def plain(self):
        kind, items = self.step()
        if kind == "statements":
            items = ["BEGIN IMMEDIATE", *(s if p is None else self.statement() for s, p in items), "COMMIT"]
        return self.settle(items)

    def nested(self):
        """Many rows, and savepoints that take them back."""
        return self.transaction(["SAVEPOINT s", *self.bulk(), "ROLLBACK TO s", *self.change_many(), "SAVEPOINT t", *self.delete_many(), "ROLLBACK TO t",
                                 "RELEASE s", *self.overflow()])

    def job(self):
        small = self.shrink() if self.chance(0.3) else None
        if small:
            return small
        make = self.random.choices([self.plain, self.bulk, self.change_many, self.delete_many, self.overflow, self.keys, self.schema, self.upkeep, self.nested],
                                   [28, 14, 14, 7, 16, 8, 8, 9, 4])[0]
        return make()

    def abandoned(self):
        """What a writer does that is killed before it commits: enough to spill pages into the log."""
        return ["PRAGMA cache_size = 1", "BEGIN IMMEDIATE", *self.change_many(), *self.bulk(), "UPDATE big SET pad = 'never seen' || id", *self.delete_many(),
                f"INSERT INTO blobs(b) VALUES ({self.blob(200000)})"]
