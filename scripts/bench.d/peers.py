"""rowtap beside the machine's limits and beside other servers: the bars it has to meet."""
import contextlib
import statistics
import time

from figures import figure, progress, table
from programs import MEANING, NODE_PROGRAMS, Load, Program, insert, install_node, once


class Comparison:
    """Runs that alternate: results by the name of what was run."""
    def __init__(self, args, title, missing):
        self.args, self.title, self.missing, self.results = args, title, missing, {}
        self.begun = time.monotonic()

    def usable(self, names):
        return [name for name in names if not (self.missing and name in NODE_PROGRAMS)]

    def alternate(self, runs):
        """`runs`: {name: what gives a result}. Each round begins with another of them."""
        names = list(runs)
        for round_ in range(self.args.pairs):
            for i in range(len(names)):
                name = names[(round_ + i) % len(names)]
                progress(f"{self.title}: round {round_ + 1} of {self.args.pairs}, {name}")
                self.results.setdefault(name, []).append(runs[name]())
        return self

    def steps(self, cases, directory=None):
        """`cases`: {name: (program, test, options)}, all with their servers and connections open."""
        with contextlib.ExitStack() as stack:
            runs = {}
            for name, (program, test, *options) in cases.items():
                progress(f"{self.title}: connecting to {name}")
                server = Program(program, directory or place(self.args))
                stack.callback(server.stop)
                load = Load(server, test, *options)
                stack.callback(load.stop)
                runs[name] = load.step
            return self.alternate(runs)

    def values(self, name, what):
        def one(result):
            for part in what.split("."):
                result = result[part]
            return result
        return [one(result) for result in self.results.get(name, [])]

    def median(self, name, what):
        values = self.values(name, what)
        return statistics.median(values) if values else None


MEMORY = "/dev/shm"


def place(args):
    """Where the files go that are not there for the disk's sake."""
    return MEMORY if args.memory else args.dir


class Lines:
    """The table: what was measured, rowtap, the other, the ratio of medians, the bar."""
    def __init__(self):
        self.rows = []

    def add(self, name, mine, other, ratio, wanted, met):
        self.rows.append([name, mine, other, ratio, wanted, {True: "yes", False: "NO", None: ""}[met]])

    def ratio(self, name, comparison, what, mine, other, *, least=None, most=None, digits=0, label=None):
        """mine/other of medians, to be at least or at most so much."""
        if not comparison.values(other, what):
            self.add(name, figure(comparison.values(mine, what), digits), f"{other}: {comparison.missing}", "", bar(least, most), None)
            return
        ratio = comparison.median(mine, what) / comparison.median(other, what)
        self.add(name, figure(comparison.values(mine, what), digits),
                 f"{label or other}: {figure(comparison.values(other, what), digits)}", f"{ratio:.2f}", bar(least, most),
                 judge(ratio, least, most))

    def value(self, name, values, *, least=None, most=None, digits=0):
        self.add(name, figure(values, digits), "", "", bar(least, most), judge(statistics.median(values), least, most))

    def print(self, title):
        table(title, ["", "rowtap", "beside", "ratio", "bar", "met"], self.rows)
        self.rows = []


def bar(least, most):
    return f"≥ {least:,g}" if least is not None else f"≤ {most:,g}" if most is not None else ""


def judge(value, least, most):
    return value >= least if least is not None else value <= most if most is not None else None


# ---- the comparisons -----------------------------------------------------------------------------

MOST = 1000000  # deliveries of a run: what is not sent in its second has to be waited for


def fanout(args, missing, lines):
    for count, names in ((100, ["rowtap", "coalesce", "each", "ws", "socket.io"]),
                         (1000, ["rowtap", "coalesce", "each", "ws", "socket.io"]), (10000, ["rowtap", "coalesce", "ws"])):
        c = Comparison(args, f"fan-out to {count:,}", missing)
        c.steps({name: (name, "fanout", "--subscribers", count, "--seconds", 1, "--requests", MOST // count)
                 for name in c.usable(names)})
        what = "deliveriesPerSecond"
        lines.ratio(f"{count:,} subscribers: deliveries/s", c, what, "rowtap", "coalesce", least=0.85)
        lines.ratio("", c, what, "rowtap", "ws", least=20)
        for other in names[2:]:
            if other != "ws":
                lines.ratio("", c, what, "rowtap", other)
        lines.ratio("  commits/s", c, "writesPerSecond", "rowtap", "coalesce")
        lines.ratio("  server's CPU µs per delivery", c, "serverMicrosPerDelivery", "rowtap", "coalesce", digits=3)
        lines.ratio("  the load's processors", c, "clientCpu", "rowtap", "coalesce", digits=2)
    long_fanout(args, missing, lines)
    crowd(args, missing, lines)


def long_fanout(args, missing, lines):
    """The 100 commits of the run above are two passes over the subscribers; here they are many."""
    c = Comparison(args, "fan-out to 10,000 for a second", missing)
    c.steps({name: (name, "fanout", "--subscribers", 10000, "--seconds", 1) for name in ("rowtap", "coalesce")})
    lines.ratio("10,000 subscribers, for a whole second", c, "deliveriesPerSecond", "rowtap", "coalesce", least=0.85)
    lines.ratio("  server's CPU µs per delivery", c, "serverMicrosPerDelivery", "rowtap", "coalesce", digits=3)


def crowd(args, missing, lines):
    """One writer who waits for each answer leaves a server idle that has few subscribers; others do not."""
    c = Comparison(args, "fan-out to 100, 32 writers", missing)
    c.steps({name: (name, "fanout", "--writers", 32, "--subscribers", 100, "--seconds", 1) for name in c.usable(["rowtap", "coalesce", "ws"])})
    what = "deliveriesPerSecond"
    lines.ratio("32 writers, 100 subscribers: deliveries/s", c, what, "rowtap", "coalesce")
    lines.ratio("", c, what, "rowtap", "ws", least=20)
    c = Comparison(args, "fan-out to 100, a writer who does not wait", missing)
    c.steps({name: (name, "fanout", "--pipeline", 100, "--subscribers", 100, "--seconds", 1) for name in c.usable(["rowtap", "ws"])})
    lines.ratio("1 writer, 100 requests under way, 100 subscribers", c, what, "rowtap", "ws", least=20)


def latency(args, missing, lines):
    c = Comparison(args, "latency, 1,000 subscribers", missing)
    c.steps({name: (name, "latency", "--rate", 50, "--writers", 1, "--subscribers", 1000, "--seconds", 3)
             for name in ("rowtap", "each")})
    lines.ratio("50 commits/s, 1,000 subscribers: p50 ms", c, "latencyMs.p50", "rowtap", "each", most=1.25, digits=2)
    lines.ratio("  p99 ms", c, "latencyMs.p99", "rowtap", "each", most=1.5, digits=2)
    lines.ratio("  server's CPU µs per delivery", c, "serverMicrosPerDelivery", "rowtap", "each", most=1.15, digits=2)
    c = Comparison(args, "latency, 10 subscribers", missing)
    c.steps({name: (name, "latency", "--rate", 50, "--writers", 1, "--subscribers", 10, "--seconds", 2)
             for name in ("rowtap", "each")})
    lines.ratio("10 subscribers: p50 ms", c, "latencyMs.p50", "rowtap", "each", digits=3)
    lines.ratio("  p99 ms", c, "latencyMs.p99", "rowtap", "each", digits=3)
    # What the server itself takes: no disk that flushes, and a load that does not sleep.
    for rate in (50, 200):
        c = Comparison(args, f"latency, 10 subscribers, {rate} commits/s, in memory, --spin", missing)
        c.steps({name: (name, "latency", "--rate", rate, "--writers", 1, "--subscribers", 10, "--seconds", 2, "--spin")
                 for name in ("rowtap", "each")}, MEMORY)
        lines.value(f"10 subscribers, {rate} commits/s, in memory, --spin: p50 ms", c.values("rowtap", "latencyMs.p50"),
                    most=0.15, digits=3)
        lines.ratio("  p50 ms", c, "latencyMs.p50", "rowtap", "each", digits=3)
        lines.ratio("  p99 ms", c, "latencyMs.p99", "rowtap", "each", digits=3)


def matching(args, missing, lines):
    c = Comparison(args, "matching, equality", missing)
    c.steps({f"{n:,}": ("rowtap", "filters", "--subscribers", 1000, "--subscriptions", n, "--writers", 4,
                        "--rows-per-request", 100, "--seconds", 0.5) for n in (1000, 100000, 1000000)})
    what = "deliveriesPerSecond"
    lines.ratio("100,000 subscriptions by =: changes/s", c, what, "100,000", "1,000", least=0.8)
    lines.ratio("1,000,000", c, what, "1,000,000", "1,000", least=0.7)
    lines.value("  server's bytes per subscription", c.values("1,000,000", "bytesPerSubscription")[:1], most=250)
    for kind in ("range", "in"):
        c = Comparison(args, f"matching, {kind}", missing)
        c.steps({f"{n:,}": ("rowtap", "filters", "--filter", kind, "--subscribers", 100, "--subscriptions", n, "--writers", 4,
                            "--rows-per-request", 10, "--seconds", 0.5) for n in (100, 10000)})
        lines.ratio(f"10,000 subscriptions by {kind}: changes/s", c, what, "10,000", "100", least=0.3)


def fresh_connect(args, name, count):
    server = Program(name, place(args))
    try:
        return once(server, "connect", "--subscribers", count)
    finally:
        server.stop()


def connections(args, missing, lines):
    c = Comparison(args, "connections", missing)
    c.alternate({name: lambda name=name: fresh_connect(args, name, 10000) for name in c.usable(["rowtap", "coalesce", "ws"])})
    lines.value("bytes of the server's per connection", c.values("rowtap", "bytesPerConnection"), most=1000)
    lines.ratio("", c, "bytesPerConnection", "rowtap", "coalesce")
    lines.ratio("", c, "bytesPerConnection", "rowtap", "ws")
    lines.value("connections accepted/s", c.values("rowtap", "connectionsPerSecond"), least=8000)
    lines.ratio("", c, "connectionsPerSecond", "rowtap", "coalesce")
    lines.ratio("", c, "connectionsPerSecond", "rowtap", "ws")


def stepping(stack, args, program, test, *options):
    server = Program(program, args.dir)
    stack.callback(server.stop)
    load = Load(server, test, *options)
    stack.callback(load.stop)
    return load.step


def writes(args, missing, lines):
    single = ("--writers", 32, "--rows-per-request", 1, "--seconds", 1)
    batch = ("--writers", 1, "--rows-per-request", 1000, "--seconds", 1)
    c = Comparison(args, "writes, single rows", missing)
    with contextlib.ExitStack() as stack:
        c.alternate({"insert": lambda: insert(args.dir, 1, 1),
                     **{name: stepping(stack, args, name, "writes", *single) for name in c.usable(["rowtap", "ws"])}})
    what = "writesPerSecond"
    lines.ratio("32 writers, one row each: rows/s", c, what, "rowtap", "insert", least=2)
    lines.ratio("", c, what, "rowtap", "ws", least=4)
    c = Comparison(args, "writes, batches", missing)
    with contextlib.ExitStack() as stack:
        c.alternate({"insert": lambda: insert(args.dir, 1000, 1),
                     "rowtap": stepping(stack, args, "rowtap", "writes", *batch),
                     "matching": stepping(stack, args, "rowtap", "filters", "--subscribers", 1000, "--matching", 10, *batch)})
    lines.ratio("1,000 rows a request, no subscriber: rows/s", c, what, "rowtap", "insert", least=0.75)
    lines.ratio("1,000 subscribers of whom 10 match", c, what, "matching", "insert", least=0.6)


def reads(args, missing, lines):
    c = Comparison(args, "reads", missing)
    cases = {"rowtap": ("rowtap", "reads", "--readers", 16, "--seconds", 1),
             "ws": ("ws", "reads", "--readers", 16, "--seconds", 1),
             "beside a writer": ("rowtap", "reads", "--readers", 16, "--writers", 1, "--seconds", 1)}
    c.steps({name: cases[name] for name in cases if name in c.usable(cases)})
    lines.ratio("point SELECTs/s, 16 connections", c, "readsPerSecond", "rowtap", "ws", least=3)
    lines.ratio("beside a writer at full speed", c, "readsPerSecond", "beside a writer", "rowtap", least=0.67,
                label="without it")


COMPARISONS = {
    fanout: "Fan-out at saturation: 1 writer over HTTP (in the end 32), one row a request, all to all",
    latency: "Latency from when a request was due to the delivery, open loop",
    matching: "Matching: each change matches one subscription; changes delivered per second beside those with few subscriptions",
    connections: "10,000 connections with one subscription each, idle",
    writes: "Writes over HTTP, by SQLite's defaults (synchronous=FULL), beside a loop without a server",
    reads: "Reads over kept HTTP connections",
}


def peers(args):
    missing = "--no-node" if args.no_node else install_node()
    if missing:
        print(f"the Node servers are left out: {missing}", flush=True)
    if args.memory:
        print("files in memory (/dev/shm), but for the writes", flush=True)
    for name, text in MEANING.items():
        print(f"  {name:<10} {text}")
    wrong = []
    for compare, title in COMPARISONS.items():
        if args.only not in compare.__name__:
            continue
        lines = Lines()
        try:
            compare(args, missing, lines)
        except RuntimeError as error:  # the others are worth having all the same
            wrong.append(f"{compare.__name__}: {error}")
        lines.print(title)
    if wrong:
        raise RuntimeError("\n".join(wrong))
