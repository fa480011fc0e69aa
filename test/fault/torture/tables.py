"""The tables that the torture writes to, and what is subscribed to."""
import json
import os
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from harness import dumps  # noqa: E402

# integer key; text key that may be NULL; WITHOUT ROWID; composite key with NULLs; no key; large rows;
# rows by the thousand
SCHEMA = """
CREATE TABLE items(id INTEGER PRIMARY KEY, grp INT, price REAL, name TEXT, data BLOB, tag TEXT)
CREATE TABLE words(word TEXT PRIMARY KEY, n INT, note TEXT, tag TEXT)
CREATE TABLE pairs(a INT, b TEXT, v, w REAL, tag TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID
CREATE TABLE comp(a INT, b TEXT COLLATE NOCASE, c NUMERIC, tag TEXT, PRIMARY KEY(a, b))
CREATE TABLE loose(x, y REAL, tag TEXT)
CREATE INDEX loose_x ON loose(x)
CREATE INDEX items_grp ON items(grp)
CREATE TABLE big(id INTEGER PRIMARY KEY, n INT, body TEXT, tag TEXT)
CREATE TABLE bulk(id INTEGER PRIMARY KEY, n INT, tag TEXT)
""".strip().splitlines()

FILL = [
    "INSERT INTO items(grp, price, name, data, tag) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) "
    "SELECT i % 10, i / 4.0, 'name ' || i, zeroblob(i % 5), 'fill' FROM c",
    "INSERT INTO words WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) "
    "SELECT CASE WHEN i % 9 THEN 'w' || i END, i % 7, printf('%.*c', i, 'x'), 'fill' FROM c",
    "INSERT INTO pairs WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 80) "
    "SELECT i % 8, 'b' || i, i, i, 'fill' FROM c",
    "INSERT INTO comp WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) "
    "SELECT CASE WHEN i % 5 THEN i END, 'b' || i, i / 3.0, 'fill' FROM c",
    "INSERT INTO loose WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) "
    "SELECT CASE i % 4 WHEN 0 THEN i WHEN 1 THEN 'x' || i WHEN 2 THEN i / 2.0 END, i, 'fill' FROM c",
    "INSERT INTO big(n, body, tag) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 400) "
    "SELECT i % 5, printf('%.*c', 8000, 'y'), 'fill' FROM c",
]


class Spec:
    """What one subscription asks for. `where` is the filter in SQL."""

    def __init__(self, table, filters=(), where="1", **options):
        self.table, self.filters, self.where, self.options = table, list(filters), where, options
        self.columns = options.get("columns")
        self.events = options.get("events")
        self.name = " ".join([table, *self.filters, *(f"{k}={dumps(v)}" for k, v in options.items())])

    @property
    def is_view(self):
        """A view of a table's rows is kept; otherwise only the changes are checked."""
        return self.table not in ("*", "tables") and not self.events

    def target(self):
        if self.table == "tables":
            return {"channel": "tables"}
        return {"table": self.table, **({"filter": self.filters} if self.filters else {}), **self.options}


SPECS = [
    Spec("items"),
    Spec("items", ["grp = 3"], "grp = 3"),
    Spec("items", ["grp=3"], "grp=3", batch=True),
    Spec("items", ["grp in (1,4,7)", "price < 40.5"], "grp IN (1, 4, 7) AND price < 40.5"),
    Spec("items", ["price >= 20", "price <= 60"], "price >= 20 AND price <= 60", columns=["id", "price"]),
    Spec("items", ["name is null"], "name IS NULL"),
    Spec("items", ["id > 200"], "id > 200", batch=True, columns=["name", "grp"]),
    Spec("items", ["data = x'0000'"], "data = x'0000'"),
    Spec("items", ["grp != 5"], "grp <> 5", events=["insert", "delete"]),
    Spec("words"),
    Spec("words", ["word >= w3", "word < x"], "word >= 'w3' AND word < 'x'"),
    Spec("words", ["word is null"], "word IS NULL"),
    Spec("words", ["n in (2,3)"], "n IN (2, 3)", batch=True),
    Spec("pairs"),
    Spec("pairs", ["a = 4"], "a = 4"),
    Spec("pairs", ["b > b3", "w < 50"], "b > 'b3' AND w < 50", columns=["a", "b", "v"]),
    Spec("pairs", ["v = 7"], "v = 7"),
    Spec("comp"),
    Spec("comp", ["a is null"], "a IS NULL"),
    Spec("comp", ["b = B12"], "b = 'B12'"),
    Spec("comp", ["c > 5", "c < 15"], "c > 5 AND c < 15", batch=True),
    Spec("loose"),
    Spec("loose", ["y < 30"], "y < 30"),
    Spec("loose", ["x is not null"], "x IS NOT NULL", columns=["y"]),
    Spec("big"),
    Spec("big", ["n = 2"], "n = 2"),
    Spec("big", ["n < 2"], "n < 2", batch=True, columns=["n", "tag"]),
    Spec("bulk", ["n in (1,2)"], "n IN (1, 2)"),
    Spec("bulk", ["n = 5"], "n = 5", batch=True),
    Spec("*"),
    Spec("*", batch=True),
    Spec("tables"),
]


def digest(message, columns=None):
    """A number for all that a change says, so that two subscribers' words can be compared."""
    if message["type"] != "database_change":
        data = message["data"]
        said = [data["tableName"], data["timestamp"], data["changes"]]
    else:
        rows = [message.get("data"), message.get("old")]
        if columns:
            rows = [{n: v for n, v in row.items() if n in columns} if row else row for row in rows]
        said = [message["table"], message["event"], message["key"], message.get("oldKey"), *rows]
    said += [message["id"], message["seq"], message["tx"], message["timestamp"]]
    return zlib.crc32(dumps_sorted(said))


def dumps_sorted(value):
    return json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")
