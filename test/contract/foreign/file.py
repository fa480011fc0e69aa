"""Files to serve, of every format that SQLite has."""
import os
import sqlite3
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from harness import check  # noqa: E402


class Format:
    def __init__(self, page_size, auto_vacuum=0, encoding="UTF-8", reserved=0, secure_delete=0, cache=None):
        """`cache` pages for each writer: few make transactions spill into the log before they commit."""
        self.page_size, self.auto_vacuum, self.encoding, self.reserved = page_size, auto_vacuum, encoding, reserved
        self.secure_delete, self.cache = secure_delete, cache

    def __str__(self):
        words = [f"pages of {self.page_size}", self.encoding]
        words += [f"auto_vacuum {self.auto_vacuum}"] if self.auto_vacuum else []
        words += [f"{self.reserved} bytes reserved"] if self.reserved else []
        words += ["secure_delete"] if self.secure_delete else []
        words += ["spilling"] if self.cache else []
        return ", ".join(words)

    def create(self, path, statements):
        """A database in WAL mode on which the statements were run."""
        script = [f".filectrl reserve_bytes {self.reserved}"] if self.reserved else []
        script += [f"PRAGMA page_size = {self.page_size};", f"PRAGMA auto_vacuum = {self.auto_vacuum};", f"PRAGMA encoding = '{self.encoding}';",
                   "PRAGMA journal_mode = WAL;", *(f"{s};" for s in statements)]
        done = subprocess.run(["sqlite3", "-batch", "-bail", path], input="\n".join(script).encode(), capture_output=True, timeout=60)
        check(done.returncode == 0 and not done.stderr, "sqlite3 says %s", done.stderr.decode(errors="replace"))
        self.verify(path)

    def verify(self, path):
        with open(path, "rb") as file:
            head = file.read(100)
        size, = struct.unpack(">H", head[16:18])
        encoding, = struct.unpack(">I", head[56:60])
        got = (65536 if size == 1 else size, head[18], head[20], ["UTF-8", "UTF-16le", "UTF-16be"][encoding - 1])
        wanted = (self.page_size, 2, self.reserved, self.encoding)
        check(got == wanted, "the file is of format %s, wanted %s", got, wanted)

    def prologue(self):
        """What each writer says when it opens the file."""
        return [f"PRAGMA secure_delete = {self.secure_delete}", "PRAGMA synchronous = OFF"] + \
            ([f"PRAGMA cache_size = {self.cache}"] if self.cache else [])


def integrity(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return [row[0] for row in db.execute("PRAGMA integrity_check")]
    finally:
        db.close()
