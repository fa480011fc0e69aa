"""Figures of several runs, and tables of them."""
import statistics
import sys


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def figure(values, digits=0):
    """The median with the lowest and the highest."""
    def form(value):
        return f"{value:,.{digits}f}"
    return f"{form(statistics.median(values))} [{form(min(values))} – {form(max(values))}]"


def ratios(a, b):
    return [x / y for x, y in zip(a, b)]


def table(title, header, rows):
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    progress("")
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), flush=True)


def percentiles(runs, what):
    return {p: [run[what][p] for run in runs] for p in ("p50", "p99")}


def compare_latency(quiet, busy):
    """Cells: p50 and p99 of the busy runs, and against the quiet ones beside them."""
    cells = []
    for p in ("p50", "p99"):
        cells += [figure(busy[p], 2), figure(ratios(busy[p], quiet[p]), 1),
                  figure([b - q for b, q in zip(busy[p], quiet[p])], 2)]
    return cells


def latency_table(title, what, quiet, busy):
    """`quiet`: runs without anything else; `busy`: {what ran beside: runs}."""
    rest = percentiles(quiet, what)
    rows = [["nothing", figure(rest["p50"], 2), "", "", figure(rest["p99"], 2), "", ""]]
    rows += [[name, *compare_latency(rest, percentiles(runs, what))] for name, runs in busy.items()]
    table(title, ["beside it", "p50 ms", "ratio", "+ ms", "p99 ms", "ratio", "+ ms"], rows)
