#!/usr/bin/python3
"""Random SQL of a role that sees some rows and columns gives exactly what SQLite gives over copies of the
tables reduced to these; and random writes change exactly the rows that it may write."""
import os
import random
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Http, case, check, equal, form, main, note, same  # noqa: E402
from policed import POLICY, Policed, bearer  # noqa: E402

TABLES = {
    "r": "CREATE TABLE r(id INTEGER PRIMARY KEY, i INT, t TEXT, c TEXT COLLATE NOCASE, f REAL, n NUMERIC, b, s TEXT)",
    "w": "CREATE TABLE w(k TEXT, j INT, i INT, t TEXT, b BLOB, s TEXT, PRIMARY KEY(k, j)) WITHOUT ROWID",
    "p": "CREATE TABLE p(i INT, t TEXT COLLATE RTRIM, n NUMERIC, s TEXT)"}
INDEXES = ["CREATE INDEX r_i ON r(i)", "CREATE INDEX r_t ON r(t, i)", "CREATE INDEX r_c ON r(c)", "CREATE INDEX r_f ON r(f)",
           "CREATE INDEX r_n ON r(n)", "CREATE INDEX r_b ON r(b)", "CREATE INDEX p_i ON p(i)", "CREATE INDEX p_t ON p(t)", "CREATE INDEX w_i ON w(i)"]
VALUES = [None, 0, 1, 2, 3, -1, 10, 1.0, 1.5, 2.5, -0.5, 1e10, "", "1", "1.0", " 1", "2", "10", "abc", "ABC", "Abc ", "b", "a'b", "é", "1e3",
          "#", "zz", b"", b"1", b"abc"]
# a rule, and the same as SQL
RULES = {"r": [("s={sub}", "s=:sub"), ("i>={low}", "i>=:low"), ("t!={sub}", "t!=:sub"), (["c={sub}", "id<30"], "c=:sub AND id<30"), (None, "1")],
         "w": [("s={sub}", "s=:sub"), ("j in (1,{low})", "j IN (1,:low)"), (None, "1")],
         "p": [("s!={sub}", "s!=:sub"), ("n is not null", "n IS NOT NULL"), ("i<={low}", "i<=:low"), (None, "1")]}


class Dice(random.Random):
    """Random SQL over the tables' permitted columns."""

    def literal(self):
        value = self.choice(VALUES)
        if value is None:
            return "NULL"
        if isinstance(value, bytes):
            return f"x'{value.hex()}'"
        return repr(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"

    def column(self, scope):
        alias, columns = self.choice(scope)
        return f"{alias}.{self.choice(columns)}"

    def scalar(self, scope, depth=2):
        kind = self.random()
        if kind < 0.5 or depth == 0:
            return self.column(scope)
        if kind < 0.7:
            return self.literal()
        inner = [self.scalar(scope, depth - 1) for _ in range(2)]
        return self.choice([f"+{inner[0]}", f"({inner[0]} || {inner[1]})", f"({inner[0]} + {inner[1]})", f"coalesce({inner[0]}, {inner[1]})",
                            f"typeof({inner[0]})", f"CAST({inner[0]} AS {self.choice(['TEXT', 'INTEGER', 'REAL', 'BLOB', 'NUMERIC'])})",
                            f"length({inner[0]})", f"upper({inner[0]})", f"nullif({inner[0]}, {inner[1]})",
                            f"CASE WHEN {inner[0]} THEN {inner[1]} END", f"{inner[0]} COLLATE {self.choice(['BINARY', 'NOCASE', 'RTRIM'])}"])

    def condition(self, scope, depth=2):
        kind = self.random()
        left = self.column(scope) if self.random() < 0.8 else self.scalar(scope)
        if depth and kind < 0.3:
            parts = [self.condition(scope, depth - 1) for _ in range(2)]
            return f"({parts[0]} {self.choice(['AND', 'OR', 'OR'])} {parts[1]})"
        if depth and kind < 0.35:
            return f"NOT {self.condition(scope, depth - 1)}"
        if kind < 0.45:
            return f"{left} IN ({', '.join(self.literal() for _ in range(self.randrange(1, 4)))})"
        if depth and kind < 0.52:
            return f"{left} IN (SELECT {self.select(1, depth - 1)})"
        if depth and kind < 0.56:
            return f"EXISTS (SELECT 1 FROM {self.source('e', scope)})"
        if kind < 0.62:
            return f"{left} BETWEEN {self.literal()} AND {self.literal()}"
        if kind < 0.67:
            return f"{left} IS {self.choice(['', 'NOT '])}{self.choice(['NULL', self.literal()])}"
        if kind < 0.70:
            return f"{left} LIKE '{self.choice(['a%', '%b%', '1%', '_'])}'"
        right = self.literal() if self.random() < 0.6 else self.scalar(scope)
        return f"{left} {self.choice(['=', '=', '=', '<', '<=', '>', '>=', '<>', 'IS'])} {right}"

    def source(self, prefix, outer=()):
        scope = [(f"{prefix}1", self.columns[t]) for t in [self.choice(self.names)]]
        table = next(t for t in self.names if self.columns[t] is scope[0][1])
        text = f"{table} {prefix}1"
        if self.random() < 0.4:
            other = self.choice(self.names)
            scope.append((f"{prefix}2", self.columns[other]))
            text += f" {self.choice(['JOIN', 'LEFT JOIN', 'CROSS JOIN'])} {other} {prefix}2 ON {self.condition(scope + list(outer), 1)}"
        self.scope = scope
        return text + (f" WHERE {self.condition(scope + list(outer))}" if self.random() < 0.8 else "")

    def select(self, columns, depth=2, exact=False):
        source = self.source(self.choice("xyz"))
        scope = self.scope
        items = [self.scalar(scope, 1) for _ in range(columns)]
        return ", ".join(items if not exact else [f"quote({item})" for item in items]) + " FROM " + source

    def statement(self):
        columns = self.randrange(1, 4)
        kind = self.random()
        source = self.source("a")
        scope = self.scope
        items = [self.scalar(scope) for _ in range(columns)]
        exact = [f"quote({item})" for item in items]  # what compares as equal is not always the same: 1 and 1.0
        if kind < 0.15:
            return f"SELECT {exact[0]}, count(*), max(quote({self.column(scope)})) FROM {source} GROUP BY 1"
        if kind < 0.25:
            return f"SELECT DISTINCT {', '.join(exact)} FROM {source}"
        if kind < 0.40:
            verb = self.choice(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])
            return f"SELECT {', '.join(exact)} FROM {source} {verb} SELECT {self.select(columns, exact=True)}"
        if kind < 0.44:
            scope = [("r", self.columns["r"])]
            return (f"SELECT {self.scalar(scope)} FROM r WHERE {self.condition(scope)} ORDER BY {self.choice(['id', 'rowid'])} "
                    f"{self.choice(['', 'DESC'])} LIMIT {self.randrange(1, 6)} OFFSET {self.randrange(3)}")
        if kind < 0.50:
            order = ", ".join(str(i + 1) + self.choice(["", " DESC"]) for i in range(columns))
            return f"SELECT {', '.join(exact)} FROM {source} ORDER BY {order} LIMIT {self.randrange(1, 6)} OFFSET {self.randrange(3)}"
        if kind < 0.56:
            return f"SELECT {items[0]}, count(*) OVER (PARTITION BY {self.column(scope)}) FROM {source}"
        if kind < 0.62:
            return f"WITH q AS (SELECT {self.select(1)}) SELECT count(*) FROM q"
        return f"SELECT {', '.join(items)} FROM {source}"


class World:
    """A served file, what the role may see of it, and a copy that has no more than that."""

    def __init__(self, seed):
        self.dice = dice = Dice(seed)
        dice.names = list(TABLES)
        dice.columns = {"r": ["id", *self.some("itcfnb")], "w": ["k", "j", *self.some("itb")], "p": self.some("itn") or ["i"]}
        self.rules = {table: dice.choice(rules) for table, rules in RULES.items()}
        self.claims = {"sub": dice.choice(["abc", "1", "b"]), "low": dice.choice([1, 2, -1])}
        tables = {t: {"read": dice.columns[t], "write": dice.columns[t],
                      **({"rows": self.rules[t][0]} if self.rules[t][0] else {})} for t in TABLES}
        self.policy = {"roles": {"admin": POLICY["roles"]["admin"], "user": {"sql": True, "tables": tables}}}

    def some(self, letters):
        return [c for c in letters if self.dice.random() < 0.75]

    def fill(self, path):
        db = sqlite3.connect(path, isolation_level=None)
        for sql in (*TABLES.values(), *INDEXES):
            db.execute(sql)
        db.execute("BEGIN")
        for _ in range(30):
            row = [self.dice.choice(VALUES) for _ in range(7)]
            db.execute("INSERT INTO r VALUES(NULL,?,?,?,?,?,?,?)", row)
            db.execute("INSERT OR IGNORE INTO w VALUES(?,?,?,?,?,?)", [self.dice.choice(["", "1", "abc", "b", "é"]), self.dice.randrange(5), *row[:4]])
            db.execute("INSERT INTO p VALUES(?,?,?,?)", row[3:])
        db.execute("COMMIT")
        db.close()

    def reduced(self, path):
        small = sqlite3.connect(":memory:", isolation_level=None)
        small.execute("ATTACH ? AS file", [path])
        for table, sql in TABLES.items():
            columns = self.dice.columns[table]
            inside = sql[sql.index("(") + 1:sql.rindex(")")].split(", PRIMARY KEY(")[0].split(", ")
            kept = [c for c in inside if c.split()[0] in columns]
            names = ", ".join(columns)
            small.execute(f"CREATE TABLE {table}({', '.join(kept)}" + (", PRIMARY KEY(k, j)) WITHOUT ROWID" if table == "w" else ")"))
            small.execute(f"INSERT INTO main.{table}({'' if table == 'w' else 'rowid, '}{names}) SELECT {'' if table == 'w' else 'rowid, '}{names} "
                          f"FROM file.{table} WHERE {self.rules[table][1]}", self.claims)
        small.execute("DETACH file")
        return small


def outcome(connection, sql):
    """Its rows, in any order, or that it fails."""
    try:
        return sorted((same([form(v) for v in row]) for row in connection.execute(sql)), key=repr)
    except (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.DataError) as error:
        return "fails: " + str(error)


def answer_of(answer):
    if answer.status == 200:
        return sorted((same(row) for row in answer.json["rows"]), key=repr)
    return "fails: " + answer.json["error"]["message"]


@case("random SELECTs")
def selects(args):
    count, rows_seen, failed, stopped = 0, 0, 0, 0
    for seed in range(3 if args.quick else 10):
        world = World(args.seed + seed)
        with Policed(world.policy, "SELECT 1", options=("--query-timeout", "3"), prepare=world.fill) as p:
            small, http = world.reduced(p.server.path), Http(p.server)
            headers = bearer(**world.claims)
            for _ in range(200 if args.quick else 400):
                sql = world.dice.statement()
                wanted = outcome(small, sql)
                got = answer_of(http.request("POST", "/api/sql", {"sql": sql}, headers))
                count += 1
                if isinstance(got, str) and "was stopped after" in got:  # many loops in each other
                    stopped += 1
                    continue
                if got != wanted:
                    note(f"seed {args.seed + seed}, {world.rules} {world.claims} {world.dice.columns}")
                equal(got, wanted, sql)
                failed += isinstance(wanted, str)
                rows_seen += len(wanted) if not isinstance(wanted, str) else 0
            http.close()
    note(f"{count} statements, {rows_seen} rows, {failed} failed in both, {stopped} took too long")
    check(rows_seen > count and failed < count / 4 and stopped < count / 50)


def write_of(dice):
    """A random UPDATE or DELETE, as its table, beginning and condition."""
    table = dice.choice(["r", "p"])
    columns = dice.columns[table]
    condition = dice.condition([(table, columns)], 0)
    if dice.random() < 0.3:
        return table, f"DELETE FROM {table}", condition
    sets = ", ".join(f"{c}={dice.literal() if dice.random() < 0.6 else dice.scalar([(table, columns)], 1)}"
                     for c in dice.sample([c for c in columns if c != "id"], dice.randrange(1, len(columns)) if len(columns) > 1 else 1))
    return table, f"UPDATE {table} SET {sets}", condition


@case("random writes")
def writes(args):
    done, refused, failed = 0, 0, 0
    for seed in range(2 if args.quick else 6):
        world = World(args.seed + 1000 + seed)
        if "i" not in world.dice.columns["r"]:
            world.dice.columns["r"].append("i")
            world.policy["roles"]["user"]["tables"]["r"].update(read=world.dice.columns["r"])
            world.policy["roles"]["user"]["tables"]["r"]["write"] = world.dice.columns["r"]
        with Policed(world.policy, "SELECT 1", prepare=world.fill) as p:
            http, headers = Http(p.server), bearer(**world.claims)
            twin = sqlite3.connect(":memory:", isolation_level=None)
            sqlite3.connect(p.server.path).backup(twin)
            for _ in range(60 if args.quick else 150):
                table, begin, condition = write_of(world.dice)
                rule = world.rules[table][1]
                twin.execute("BEGIN")
                twin.execute(f"CREATE TEMP TABLE mine AS SELECT rowid AS at FROM {table} WHERE {rule}", world.claims)
                try:
                    changes = twin.execute(f"{begin} WHERE rowid IN (SELECT at FROM mine) AND ({condition})").rowcount
                    broken = twin.execute(f"SELECT count(*) FROM {table} WHERE rowid IN (SELECT at FROM mine) AND ({rule}) IS NOT TRUE",
                                          world.claims).fetchone()[0]
                except sqlite3.Error as error:
                    changes, broken = str(error), 0
                    failed += 1
                answer = http.request("POST", "/api/sql", {"sql": f"{begin} WHERE {condition}"}, headers)
                sql = f"{begin} WHERE {condition} [{rule} {world.claims}]"
                if broken:
                    equal((answer.status, answer.code), (403, "FORBIDDEN"), sql)
                    refused += 1
                elif isinstance(changes, str):
                    equal(answer.status, 400, f"{sql}: {changes}: {answer}")
                else:
                    equal(answer.status, 200, f"{sql}: {answer}")
                    equal(answer.json["changes"], changes, sql)
                    done += changes > 0
                twin.execute("DROP TABLE mine")
                twin.execute("ROLLBACK" if broken or isinstance(changes, str) else "COMMIT")
                real = sqlite3.connect(p.server.path)
                for name in TABLES:
                    equal(outcome(real, f"SELECT * FROM {name}"), outcome(twin, f"SELECT * FROM {name}"), f"{name} after {sql}")
                real.close()
            http.close()
    note(f"{done} changed rows, {refused} were refused, {failed} failed in both")
    check(done > 20 and refused > 0)


if __name__ == "__main__":
    main(lambda parser: parser.add_argument("--seed", type=int, default=1))
