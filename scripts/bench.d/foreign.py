"""Other processes that write to the file."""
import contextlib
import os
import statistics
import time

import foreign_load
from foreign_load import Listener, WalSize, Writer, latencies, percentile
from figures import figure, progress, ratios, table
from running import RATE, Cost, fresh, load, meanwhile, serving

FOREIGN = {  # how many writers, their options, whether somebody subscribes
    "1 writer": (1, [], True),
    "1 writer, no subscriber": (1, [], False),
    "1 writer, synchronous=FULL": (1, ["-y", "full"], True),
    "2 writers": (2, [], True),
    "1 writer, wal_autocheckpoint=100": (1, ["-c", 100], True),
    "1 writer, no busy timeout": (1, ["-b", 0], True),
}


@contextlib.contextmanager
def watching(path, *options):
    """A server that must see what others write."""
    with serving(path, *options) as server:
        if not foreign_load.sees_others(server):
            raise RuntimeError("the server does not see what other processes write (externalWrites in /health)")
        yield server


def complain(listener, heard, wanted):
    """Nothing here is a test, but figures of a feed that lost something would mislead."""
    if heard["received"] != wanted or heard["disorder"] or heard["resyncs"]:
        progress("")
        print(f"  a subscriber got {heard['received']:,} of {wanted:,} changes, {heard['disorder']} out of order, "
              f"{heard['resyncs']} resync {listener.words()}", flush=True)


def writing(writers):
    """Lets them write to their end: {"commits", "rate" per second, "busy" of 100,000, "cpu" µs each, "end" clock}."""
    for writer in writers:
        writer.go()
    results = [writer.end() for writer in writers]
    total = {what: sum(r[what] for r in results) for what in ("commits", "busy", "cpu")}
    commits, end = total["commits"], max(r["end"] for r in results)
    return {"commits": commits, "rate": commits * 1e9 / (end - min(r["begin"] for r in results)),
            "busy": total["busy"] * 1e5 / commits, "cpu": total["cpu"] / 1e3 / commits, "end": end}


def foreign_run(args, count, options, subscribed, watched):
    with fresh(args) as path, contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Writer(path, "w", "-s", args.seconds, *options)) for _ in range(count)]
        if not watched:
            os.sync()
            return writing(writers)
        server = stack.enter_context(watching(path))
        listener = stack.enter_context(Listener(server, "w")) if subscribed else None
        cost = Cost(server)
        result = writing(writers)
        result["server"] = cost.per(result["commits"])[0]
        if subscribed:
            heard = listener.wait(result["commits"], 60)
            complain(listener, heard, result["commits"])
            result["behind"] = (heard["last"] - result["end"]) / 1e6
        return result


def foreign_latency(args):
    """Seconds of a run: six times what others take."""
    with fresh(args) as path, contextlib.ExitStack() as stack:
        logs = [os.path.join(os.path.dirname(path), name) for name in ("committed", "arrived")]
        writer = stack.enter_context(Writer(path, "w", "-r", RATE, "-s", args.seconds * 6, log=logs[0]))
        server = stack.enter_context(watching(path))
        listener = stack.enter_context(Listener(server, "w", log=logs[1]))
        commits = writing([writer])["commits"]
        complain(listener, listener.wait(commits, 30), commits)
        listener.end()
        return latencies(*logs)


def latency_cells(values):
    return [f"{percentile(values, share):.2f}" for share in (0.5, 0.99, 1)]


def foreign(args):
    rows = []
    for name, case in FOREIGN.items():
        runs = {False: [], True: []}
        for pair in range(args.pairs):
            for watched in (False, True) if pair % 2 == 0 else (True, False):
                progress(f"foreign: {name}, pair {pair + 1} of {args.pairs}, {'watched' if watched else 'alone'}")
                runs[watched].append(foreign_run(args, *case, watched))
        alone, watched = ([run["rate"] for run in runs[side]] for side in (False, True))
        rows.append([name, figure(alone), figure(watched), f"{statistics.median(watched) / statistics.median(alone):.2f}",
                     figure(ratios(watched, alone), 2),
                     *(f"{statistics.median(run['cpu'] for run in runs[side]):.1f}" for side in (False, True)),
                     f"{statistics.median(run['server'] for run in runs[True]):.1f}",
                     *(f"{statistics.mean(run['busy'] for run in runs[side]):.1f}" for side in (False, True)),
                     figure([run["behind"] for run in runs[True]], 1) if case[2] else ""])
    table("Commits per second of other processes, single rows of about 100 bytes, and one subscriber of all (bar: ratio of "
          "medians 0.9)",
          ["", "unwatched", "watched", "of medians", "ratio of pairs", "writer's CPU µs", "watched", "server's",
           "busy of 100,000", "watched", "last event, ms after"], rows)
    progress("foreign: latency")
    inserted, committed = foreign_latency(args)
    table(f"From another process's commit to a subscriber's socket, {RATE} commits/s, {len(committed):,} commits "
          "(bars: p50 1 ms, p99 10 ms)", ["ms after", "p50", "p99", "max"],
          [["COMMIT returned", *latency_cells(committed)], ["before the INSERT", *latency_cells(inserted)]])


def wal_run(args, count, watched, own):
    with fresh(args) as path, contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Writer(path, "w", "-n", args.commits // count)) for _ in range(count)]
        if not watched:
            with WalSize(path) as size:
                rate = writing(writers)["rate"]
            return [f"{rate:,.0f}", "", f"{size.most:.1f}", "", ""]
        server = stack.enter_context(watching(path))
        listener = stack.enter_context(Listener(server, "w"))
        with WalSize(path) as size:
            with meanwhile(lambda: load(server, "--table", "own", "--writes-only", "--writers", 2, "--seconds", 1)) \
                    if own else contextlib.nullcontext([]) as answered:
                result = writing(writers)
            heard = listener.wait(result["commits"], 120)
            complain(listener, heard, result["commits"])
            time.sleep(2)  # the server may make it smaller when all is quiet
            own_rate = statistics.mean(run["writesPerSecond"] for run in answered) if own else 0
            return [f"{result['rate']:,.0f}", f"{own_rate:,.0f}" if own else "", f"{size.most:.1f}", f"{size.now():.1f}",
                    f"{(heard['last'] - result['end']) / 1e6:.1f}"]


def wal(args):
    rows = []
    for count in (1, 4):
        for name, watched, own in (("unwatched", False, False), ("watched", True, False),
                                   ("watched, 2 writers of the server's too", True, True)):
            label = f"{count} writer{'s' if count > 1 else ''}, {name}"
            progress(f"wal: {label}")
            rows.append([label, *wal_run(args, count, watched, own)])
    table(f"The -wal file under {args.commits:,} commits of other processes as fast as they go (one run each)",
          ["", "commits/s", "the server's/s", "largest MB", "in the end MB", "last event, ms after"], rows)
