"""The journal's cost; clients that resume, and those that take a snapshot."""
import contextlib

from figures import figure, latency_table, progress, ratios, table
from running import LISTENERS, RATE, Cost, forget_peak, fresh, live, load, meanwhile, past, resident, serving

CLIENTS = (1, 4)  # that read the past at once


def journal(args):
    workloads = {"1 writer, 100 rows a commit": (1, 100), "32 writers, 1 row a request": (32, 1)}
    rows = []
    for name, (writers, batch) in workloads.items():
        runs = {(): [], ("--journal",): []}
        for pair in range(args.pairs):
            for options, found in runs.items():
                progress(f"journal: {name}, pair {pair + 1} of {args.pairs}, {'on' if options else 'off'}")
                with fresh(args) as path, serving(path, *options) as server:
                    cost = Cost(server)
                    result = load(server, "--writes-only", "--writers", writers, "--rows-per-request", batch,
                                  "--payload", 80, "--seconds", args.seconds)
                    found.append((result["writesPerSecond"], *cost.per(result["rows"])))
        for i, (what, digits, over) in enumerate((("rows per second", 0, False), ("server CPU µs per row", 2, True),
                                                  ("bytes written per row", 0, True))):
            off, on = ([run[i] for run in found] for found in runs.values())
            ratio = [1 / r for r in ratios(off, on)] if over else ratios(off, on)
            rows.append([name if i == 0 else "", what, figure(off, digits), figure(on, digits),
                         "on / off" if over else "off / on", figure(ratio, 2)])
    table("Journal: what it costs (rows of about 100 bytes, no subscribers)",
          ["", "", "journal off", "journal on", "", "ratio"], rows)


RESUME = {"memory": ["--history", "1GiB"], "journal": ["--history", "0", "--journal"]}


def resume_pair(args, server, found):
    """One run of each kind; `found` takes their results by kind."""
    for n in CLIENTS:
        cost = Cost(server)
        result = past(server, args, "resume", n)
        found.setdefault(n, []).append({**result, "cpu": cost.per(result["least"] * n)[0]})
    found.setdefault("alone", []).append(live(server, args))
    for n in CLIENTS:
        with meanwhile(lambda: past(server, args, "resume", n)):
            found.setdefault(f"{n} resuming", []).append(live(server, args))


def beside(found):
    """The runs of live clients beside something else."""
    return {name: runs for name, runs in found.items() if isinstance(name, str) and name != "alone"}


def resume(args):
    found = {source: {} for source in RESUME}
    with contextlib.ExitStack() as stack:
        servers = {source: stack.enter_context(serving(stack.enter_context(fresh(args)), *options))
                   for source, options in RESUME.items()}
        for source, server in servers.items():
            progress(f"resume: writing {args.rows:,} rows for {source}")
            past(server, args, "resume", 1)
        for pair in range(args.pairs):
            for source, server in servers.items():
                progress(f"resume: pair {pair + 1} of {args.pairs}, from {source}")
                resume_pair(args, server, found[source])
    rows = []
    for source, runs in found.items():
        least = min(run["least"] for n in CLIENTS for run in runs[n])
        rows.append([source, *(figure([run["perSecond"] / n / 1000 for run in runs[n]]) for n in CLIENTS),
                     *(figure([run["cpu"] for run in runs[n]], 2) for n in CLIENTS), f"{least:,}"])
    table(f"Resume from the earliest of {args.rows:,} changes, 100 a commit: thousands per second for each client",
          ["from", "1 client", "4 clients", "CPU µs/change, 1", "4 clients", "changes each"], rows)
    for source, runs in found.items():
        latency_table(f"Live latency beside a resume from {source} (before the request to {LISTENERS} subscribers of "
                      f"another table, {RATE} commits/s)", "latencyMs", runs["alone"], beside(runs))


def snapshot_memory(args, path, n):
    """A server just started, so that nothing it holds is from before: the result with its memory."""
    with serving(path) as server:
        server.sql("SELECT count(*) FROM past")
        forget_peak(server)
        before = resident(server)[0]
        result = past(server, args, "snapshot", n)
        return {**result, "before": before, "peak": resident(server)[1]}


def snapshot(args):
    found = {}
    with fresh(args) as path:
        with serving(path) as server:
            progress(f"snapshot: writing {args.rows:,} rows")
            past(server, args, "snapshot", 1)
        for pair in range(args.pairs):
            progress(f"snapshot: pair {pair + 1} of {args.pairs}")
            for n in CLIENTS:
                found.setdefault(n, []).append(snapshot_memory(args, path, n))
            with serving(path) as server:
                found.setdefault("alone", []).append(live(server, args))
                for n in CLIENTS:
                    with meanwhile(lambda: past(server, args, "snapshot", n)):
                        found.setdefault(f"{n} at once", []).append(live(server, args))
    table(f"Snapshot of {args.rows:,} rows: thousands of rows per second for each client, the server's memory (RSS, MB)",
          ["clients", "1000 rows/s", "before", "peak", "grown"],
          [[str(n), figure([run["perSecond"] / n / 1000 for run in found[n]]),
            *(figure([run[what] for run in found[n]], 1) for what in ("before", "peak")),
            figure([run["peak"] - run["before"] for run in found[n]], 1)] for n in CLIENTS])
    latency_table(f"A writer's answers beside snapshots ({RATE} requests/s)", "answerMs", found["alone"], beside(found))
    latency_table(f"Live latency beside snapshots ({LISTENERS} subscribers of another table)", "latencyMs", found["alone"],
                  beside(found))
