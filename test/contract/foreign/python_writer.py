"""A process that writes with Python's sqlite3: python_writer.py FILE. A job in JSON a line in, its outcome a line out.

A job's items are SQL or {"blob": [table, column, rowid, offset, hex]}, incremental BLOB I/O. With "keep" a
transaction stays open at the end.
"""
import json
import sqlite3
import sys


def write_blob(db, table, column, rowid, offset, text):
    data = bytes.fromhex(text)
    with db.blobopen(table, column, rowid) as handle:
        room = len(handle) - len(data)
        if room >= 0:
            handle.seek(offset % (room + 1))
            handle.write(data)


def run_item(db, item):
    """The rows of a checkpoint's answer, otherwise nothing."""
    if not isinstance(item, str):
        if hasattr(db, "blobopen"):
            write_blob(db, *item["blob"])
        return []
    cursor = db.execute(item)
    if "wal_checkpoint" in item:
        return [cursor.fetchone()]
    for _ in cursor:
        pass
    return []


def main():
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10, cached_statements=0)
    db.text_factory = bytes
    for line in sys.stdin:
        job = json.loads(line)
        errors, checkpoints = [], []
        for item in job["items"]:
            try:
                checkpoints += run_item(db, item)
            except sqlite3.Error as error:
                errors.append(str(error))
        if db.in_transaction and not job.get("keep"):
            db.execute("ROLLBACK")
        print(json.dumps({"errors": errors, "checkpoints": checkpoints}), flush=True)
    db.close()


if __name__ == "__main__":
    main()
