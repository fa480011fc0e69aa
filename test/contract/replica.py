"""A replica fed by nothing but events, and its comparison with the source."""
import sqlite3
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from harness import check, form, same, shorten  # noqa: E402


def connect(path):
    """A read-only look at the source; text as str with U+FFFD for what is not UTF-8, blobs as bytes."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=20, cached_statements=0)
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def quote(name):
    return '"' + name.replace('"', '""') + '"'


class Shape:
    """A table of the source as PRAGMA table_list and table_xinfo describe it."""

    def __init__(self, db, name, kind, without_rowid):
        self.name, self.virtual, self.without_rowid = name, kind == "virtual", bool(without_rowid)
        rows = db.execute(f"PRAGMA table_xinfo({quote(name)})").fetchall()
        # cid, name, type, notnull, dflt_value, pk, hidden (2: virtual generated, 3: stored generated)
        self.columns = [r for r in rows if r[6] != 1]
        self.key = [r[1] for r in sorted((r for r in self.columns if r[5]), key=lambda r: r[5])]
        self.alias = None
        if not without_rowid and len(self.key) == 1:
            column = next(r for r in self.columns if r[5])
            if column[2].upper() == "INTEGER":
                self.alias = column[1]

    def names(self, writable=False):
        return [r[1] for r in self.columns if not (writable and r[6])]

    def computed(self):
        return {r[1] for r in self.columns if r[6] == 2}


def shapes(db):
    """The tables whose rows or definition are reported, by name."""
    found = {}
    for _, name, kind, _, without_rowid, _ in db.execute("PRAGMA main.table_list").fetchall():
        if kind in ("table", "virtual") and not name.startswith(("sqlite_", "rowtap_")):
            found[name] = Shape(db, name, kind, without_rowid)
    return found


def contents(db, shape, where="1"):
    """{comparable key: (key, row)} in JSON forms, as events would name them."""
    names = shape.names()
    columns = ", ".join(quote(n) for n in names)
    rowid = "NULL" if shape.without_rowid else "_rowid_"
    rows = {}
    for rowid_value, *values in db.execute(f"SELECT {rowid}, {columns} FROM {quote(shape.name)} WHERE {where}"):
        row = dict(zip(names, map(form, values)))
        key = {n: row[n] for n in shape.key}
        if not shape.key or None in key.values():
            key = {"rowid": rowid_value}
        rows[same(key)] = (key, row)
    return rows


class Table:
    def __init__(self, columns):
        self.columns = columns
        self.rows = {}  # comparable key -> row

    def computed(self):
        return {c["name"] for c in self.columns if c["generated"] in ("virtual", "VIRTUAL")}


def default_value(column):
    """The JSON form of what ADD COLUMN gives to rows that exist, computed by SQLite itself."""
    if column["default"] is None:
        return None
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    db.execute(f"CREATE TABLE t(k, c {column['type'] or ''} DEFAULT ({column['default']}))")
    db.execute("INSERT INTO t(k) VALUES(1)")
    value, = db.execute("SELECT c FROM t").fetchone()
    db.close()
    return form(value)


def altered(rows, changes):
    """The rows as table:altered leaves them: columns renamed, dropped, and added with their defaults."""
    columns = changes["columns"]
    renamed = {r["from"]: r["to"] for r in changes.get("renamed") or []}
    names = {c["name"] for c in columns}
    key_names = {c["name"] for c in columns if c["primaryKey"]}
    # only a table that others made anew under its name can have another stored generated column
    defaults = {c["name"]: None if c["generated"] else default_value(c) for c in columns if c["generated"] != "virtual"}
    result = {}
    for key, row in rows.items():
        row = {renamed.get(n, n): v for n, v in row.items()}
        row = {**defaults, **{n: v for n, v in row.items() if n in names}}
        if renamed and key_names and None not in (row[n] for n in key_names):
            key = same({n: row[n] for n in key_names})
        result[key] = row
    check(len(result) == len(rows), "renaming columns merged rows: %s", changes)
    return result


def compare_row(got, wanted, computed, what):
    """Columns that are not stored may be absent; all others must be there and right."""
    for name in wanted:
        if name not in got:
            check(name in computed, "%s: column %s is missing: %s", what, name, shorten(got))
        else:
            check(same(got[name]) == same(wanted[name]), "%s: column %s is %s, wanted %s", what, name,
                  shorten(got[name]), shorten(wanted[name]))
    unknown = set(got) - set(wanted)
    check(not unknown, "%s: unknown columns %s", what, unknown)


class Replica:
    def __init__(self):
        self.tables = {}
        self.seq = 0
        self.tx = 0
        self.rows_in_tx = False
        self.kinds = {}
        self.renumbered = set()  # tables whose rowids a VACUUM changed, which nobody has read anew

    def apply(self, message):
        """One event of a subscription to everything; any irregularity fails."""
        kind, seq, tx = message["type"], message["seq"], message.get("tx", self.tx)
        check(seq == self.seq + 1, "seq %d came after %d: %s", seq, self.seq, shorten(message))
        if kind == "resync" and message["reason"] == "rowids_renumbered":
            self.seq = seq
            self.renumbered.add(message["table"])
            return
        check(tx >= self.tx, "tx %d came after %d", tx, self.tx)
        if tx != self.tx:
            self.rows_in_tx = False
        self.seq, self.tx = seq, tx
        check(message["channel"] == "tables", "channel: %s", shorten(message))
        if kind == "database_change":
            self.rows_in_tx = True
            self.row(message)
            kind = message["event"]
        elif kind in ("table:created", "table:altered", "table:dropped"):
            check(kind == "table:dropped" or not self.rows_in_tx, "%s after rows of its commit: %s", kind, message)
            getattr(self, kind.split(":")[1])(message["data"])
        else:
            raise AssertionError(f"unexpected message {shorten(message)}")
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def created(self, data):
        name = data["tableName"]
        check(name not in self.tables, "table:created for %s, which exists", name)
        self.tables[name] = Table(data["changes"]["columns"])

    def dropped(self, data):
        check(self.tables.pop(data["tableName"], None) is not None, "table:dropped for unknown %s", data["tableName"])

    def altered(self, data):
        name, changes = data["tableName"], data["changes"]
        before = changes.get("renamedFrom") or name
        check(before in self.tables, "table:altered for unknown %s", before)
        if before != name:
            check(name not in self.tables, "%s renamed to %s, which exists", before, name)
        table = self.tables.pop(before)
        self.tables[name] = table
        table.columns = changes["columns"]
        table.rows = altered(table.rows, changes)

    def row(self, message):
        name, event = message["table"], message["event"]
        what = f"{event} {name} seq {message['seq']}"
        table = self.tables.get(name)
        check(table is not None, "%s: unknown table", what)
        key = same(message["key"])
        if event == "INSERT":
            check("old" not in message and "oldKey" not in message, "%s carries old values", what)
            check(key not in table.rows, "%s: key %s exists", what, message["key"])
            table.rows[key] = message["data"]
        else:
            old_key = same(message["oldKey"]) if "oldKey" in message else key
            check(old_key in table.rows, "%s: no row %s", what, old_key)
            old = table.rows.pop(old_key)
            compare_row({n: v for n, v in message["old"].items() if n not in table.computed()},
                        {n: v for n, v in old.items() if n not in table.computed()}, set(), what + " old")
            if event == "UPDATE":
                check(old_key != key or "oldKey" not in message, "%s: oldKey equals key", what)
                check(same(message["old"]) != same(message["data"]) or old_key != key, "%s changes nothing", what)
                check(key not in table.rows, "%s: key %s exists", what, message["key"])
                table.rows[key] = message["data"]
            else:
                check(event == "DELETE", "event %s", event)
                check(same(message["data"]) == same(message["old"]), "%s: data differs from old", what)

    def compare(self, db):
        """Equal to the source, table by table, columns and rows."""
        source = shapes(db)
        check(set(source) == set(self.tables), "tables: only in the source %s, only in the replica %s",
              set(source) - set(self.tables), set(self.tables) - set(source))
        for name, shape in source.items():
            if not shape.virtual:
                self.compare_columns(shape)
                compare_rows(self.tables[name].rows, contents(db, shape), shape.computed(), name)

    def compare_columns(self, shape):
        got = [(c["name"], c["type"] or "", bool(c["notNull"]), c["default"], bool(c["primaryKey"]),
                bool(c["generated"])) for c in self.tables[shape.name].columns]
        wanted = [(r[1], r[2] or "", bool(r[3]), r[4], bool(r[5]), r[6] in (2, 3)) for r in shape.columns]
        check(got == wanted, "columns of %s:\n  got    %s\n  wanted %s", shape.name, got, wanted)


def compare_rows(got, wanted, computed, name):
    if got.keys() != wanted.keys():
        raise AssertionError(f"{name}: missing {shorten(list(wanted.keys() - got.keys()))}, "
                             f"too many {shorten(list(got.keys() - wanted.keys()))}")
    for key, (_, row) in wanted.items():
        compare_row(got[key], row, computed, f"{name} {shorten(key, 80)}")


class View:
    """The rows that a filter selects, kept by transitions."""

    def __init__(self, subscription, table, filters, where):
        self.subscription, self.table, self.filters, self.where = subscription, table, filters, where
        self.rows = {}
        self.seq = 0

    def alter(self, message):
        """A table:altered of any table."""
        if message["data"]["tableName"] == self.table:
            self.rows = altered(self.rows, message["data"]["changes"])

    def apply(self, message):
        event, transition = message["event"], message.get("transition")
        what = f"view {self.filters} seq {message['seq']} {event} {transition}"
        check(message["seq"] > self.seq, "%s: came after %d", what, self.seq)
        check(message["table"] == self.table, "%s: of %s", what, message["table"])
        self.seq = message["seq"]
        key = same(message["key"])
        old_key = same(message["oldKey"]) if "oldKey" in message else key
        if event == "INSERT":
            check(transition is None and key not in self.rows, "%s: in the view already", what)
            self.rows[key] = message["data"]
        elif event == "DELETE":
            check(transition is None and self.rows.pop(key, None) is not None, "%s: not in the view", what)
        else:
            here = self.rows.pop(old_key, None)
            check((here is None) == (transition == "enter"), "%s: wrong transition", what)
            if transition != "leave":
                self.rows[key] = message["data"]

    def compare(self, db):
        shape = shapes(db)[self.table]
        compare_rows(self.rows, contents(db, shape, self.where), shape.computed(), f"view {self.table} {self.filters}")
