"""One statement of another process that changes much."""
import contextlib
import os
import shutil
import sqlite3
import time

import foreign_load
from foreign_load import Listener, Statement, WalSize, Writer, latencies
from figures import progress, table
from foreign import complain, latency_cells, watching
from running import forget_peak, fresh, resident

BOUNDS = ("--history", "64MiB", "--max-queue", "64MiB")


def fill(path, rows, payload, thin):
    """A table of so many rows, every tenth of them taken out again when `thin`; the log is empty then."""
    progress(f"large: building {rows:,} rows")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA wal_autocheckpoint=10000")
    db.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, v INTEGER, text TEXT)")
    for first in range(1, rows + 1, 100000):
        db.execute("INSERT INTO big WITH RECURSIVE n(i) AS (VALUES(?1) UNION ALL SELECT i + 1 FROM n WHERE i < ?2) "
                   "SELECT i, i, substr(hex(randomblob(16)) || ?3, 1, ?4) FROM n",
                   (first, min(first + 99999, rows), "row " * (payload // 4), payload))
    if thin:
        db.execute("DELETE FROM big WHERE id % 10 = 0")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def large_run(path, sql, due, watched):
    """The statement, due so many events, beside a writer of 100 commits/s: what came of it, memory, latencies."""
    logs = [os.path.join(os.path.dirname(path), name) for name in ("committed", "arrived")]
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(Writer(path, "live", "-r", 100, "-b", 60000, log=logs[0]))
        statement = stack.enter_context(Statement(path, sql))
        server = stack.enter_context(watching(path, *BOUNDS))
        listener = stack.enter_context(Listener(server, "live", log=logs[1]))
        of_big = stack.enter_context(Listener(server, "big")) if watched else None
        size = stack.enter_context(WalSize(path))
        live.go()
        time.sleep(3)
        before = resident(server)[0]
        forget_peak(server)
        ran = statement.run()
        time.sleep(1)  # commits behind it
        live.stop()
        commits = live.end()["commits"]
        heard = listener.wait(commits)
        complain(listener, heard, commits)
        events = of_big.wait(due) if watched else None
        if watched:
            complain(of_big, events, due)
        peak = resident(server)[1]
        listener.end()
    return {"ran": ran, "events": events, "before": before, "peak": peak, "wal": size.most, "logs": logs,
            **caught_up(logs, ran, events)}


def caught_up(logs, ran, events):
    """When all of the statement was out (what was committed after it comes after it), and latencies."""
    quiet = latencies(*logs, end=ran["begin"])[1]
    commits, arrivals = (foreign_load.triples(log) for log in logs)
    after = [arrivals[row][1] for row, (_, end) in commits.items() if end > ran["end"] and row in arrivals]
    done = max(min(after, default=ran["end"]), events["last"] if events else 0)
    return {"quiet": quiet, "busy": latencies(*logs, begin=ran["begin"], end=done)[1], "done": done}


def large_case(args, rows, payload, sql, due, watched=True):
    with fresh(args) as path:
        fill(path, rows, payload, thin=due == 0)
        size = os.stat(path).st_size / 1e6
        progress(f"large: {sql}, {rows:,} rows")
        run = large_run(path, sql, due, watched)
    return [f"{sql}, {rows:,} rows, {size:,.0f} MB{', subscribed' if watched else ''}",
            f"{(run['ran']['end'] - run['ran']['begin']) / 1e9:.1f}", f"{(run['done'] - run['ran']['end']) / 1e9:.2f}",
            f"{run['events']['received']:,}" if run["events"] else "", f"{run['before']:.0f}", f"{run['peak']:.0f}",
            f"{run['wal']:,.0f}", " ".join(latency_cells(run["quiet"])), " ".join(latency_cells(run["busy"]))]


def large(args):
    needed = 4e6 * args.megabytes + 1e9
    if shutil.disk_usage(args.dir).free < needed:
        raise RuntimeError(f"large needs {needed / 1e9:.0f} GB in {args.dir}: choose another disk with --dir, or --megabytes")
    update = "UPDATE big SET v = v + 1"
    small, wide = args.megabytes * 1000000 // 116, args.megabytes * 1000000 // 1080
    rows = [large_case(args, args.rows, 100, update, args.rows, watched=False),
            large_case(args, args.rows, 100, update, args.rows),
            large_case(args, small, 100, "VACUUM", 0), large_case(args, wide, 1000, "VACUUM", 0)]
    table(f"One statement of another process, beside 100 commits/s by a third in another table, one run each; {' '.join(BOUNDS)} "
          "(bar: peak memory 256 MB + these; no events of VACUUM)",
          ["", "took s", "then all sent in s", "events", "RSS MB", "peak", "-wal MB", "others' ms, quiet: p50 p99 max",
           "beside it"], rows)
