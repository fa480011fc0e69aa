"""The same work by one other process on two copies of a file, one of them served: what is left is the same, byte
by byte."""
import asyncio
import os
import shutil
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from contract.foreign.follower import Follower  # noqa: E402
from contract.foreign.jobs import Jobs, SCHEMA  # noqa: E402
from contract.foreign.scenario import MARKS  # noqa: E402
from contract.foreign.writers import Python  # noqa: E402
from contract.replica import connect  # noqa: E402
from harness import Server, check, in_thread, note  # noqa: E402

FIELDS = {24: "file change counter", 92: "version-valid-for number", 96: "SQLite version number"}


def differences(one, other):
    """Offsets of the bytes in which two files differ; their lengths when these do."""
    with open(one, "rb") as a, open(other, "rb") as b:
        left, right = a.read(), b.read()
    if len(left) != len(right):
        return [f"{len(left)} and {len(right)} bytes"]
    return [i for i in range(len(left)) if left[i] != right[i]] if left != right else []


def truncate(path):
    """What is in the log goes into the file, and the log goes."""
    db = sqlite3.connect(path, timeout=10)
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    db.close()
    check(not busy, "the checkpoint was refused")
    check(not os.path.exists(path + "-wal"), "%s-wal is still there", path)


class Watched:
    """A server with a subscriber on the file."""

    def __init__(self, path, *options):
        self.path, self.options = path, options

    async def begin(self):
        self.server = Server(self.path, *self.options)
        source = connect(self.path)
        self.follower = Follower()
        self.follower.adopt(source)
        source.close()
        await self.follower.open(self.server)

    async def end(self, source):
        """When all has arrived."""
        done = source.execute("SELECT n FROM fence").fetchone()[0]
        table = self.follower.replica.tables["fence"]
        await self.follower.client.wait(lambda: self.follower.failure or next(iter(table.rows.values()))["n"] == done, 30, "the end")
        check(not self.follower.failure, "%s", self.follower.failure)
        check(self.follower.kinds["own"] == 0, "the server wrote: %s", self.follower.kinds)
        self.follower.replica.compare(source)
        events = self.follower.replica.seq
        await self.follower.close()
        return events


async def untouched(directory, form, seed, jobs, kill):
    """`kill` ends the server with SIGKILL, otherwise it is stopped. False: already without a server the work does not
    leave the same bytes twice, so that nothing can be said with this seed."""
    alone, again, served = directory.file("alone.db"), directory.file("again.db"), directory.file("served.db")
    form.create(alone, MARKS)
    truncate(alone)
    shutil.copyfile(alone, again)
    shutil.copyfile(alone, served)
    watched = Watched(served)
    await watched.begin()
    writers = [Python(alone), Python(again), Python(served)]
    source = connect(alone)
    generator = Jobs(seed, source, form.page_size, repeatable=True)
    work = [form.prologue(), SCHEMA]
    for number in range(jobs):
        items = work.pop(0) if work else generator.job()
        outcomes = await asyncio.gather(*(in_thread(w.run, items) for w in writers))
        check(outcomes[0].errors == outcomes[2].errors, "job %d: errors differ: %s and %s of %s", number, outcomes[0].errors, outcomes[2].errors, items)
    for writer in writers:
        await in_thread(writer.run, ["UPDATE fence SET n = 77"])
    seen = connect(served)
    events = await watched.end(seen)
    seen.close()
    source.close()
    for writer in writers:
        writer.close()
    watched.server.kill() if kill else watched.server.stop()
    for path in (alone, again, served):
        truncate(path)
    if differences(alone, again):
        note(f"seed {seed}: the same work left other bytes in two files that nobody served")
        return False
    found = differences(alone, served)
    check(not found, "the files differ: %s", [FIELDS.get(i // 4 * 4, i) if isinstance(i, int) and i < 100 else i for i in found[:40]])
    note(f"seed {seed}; {form}: {jobs} jobs, {events} events, {os.path.getsize(served)} bytes the same")
    return True
