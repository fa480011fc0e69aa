#!/usr/bin/python3
"""Instructions of the hot paths, by callgrind, against those in counts.json: more than 5 percent more fails.

    counts_test.py [--update]

Counts are the same on every machine with the same compiler, SQLite and C library, so they are kept for each
such combination, and a machine with another one skips, saying so. --update writes what was counted to the
file: do that when a count has to change, and say why in the commit.
"""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BIN, Skip, case, check, main, note  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "counts.json")
PROGRAMS = os.path.join(os.path.dirname(BIN), "test", "bench")
BUILD = os.path.dirname(BIN)
WORSE = 1.05
BETTER = 0.95
# The C library chooses its functions by processor: those that every x86-64 has.
PLAIN = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-BMI1,-BMI2,-LZCNT,-MOVBE,-ERMS,-FSRM,-RTM,-SSSE3,-SSE4_1,-SSE4_2"


def collected(function, program, *arguments):
    """Instructions of a run, all of them or those of a function and what it calls."""
    with tempfile.TemporaryDirectory(prefix="rowtap-counts-") as folder:
        toggle = [f"--toggle-collect={function}"] if function else []
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *toggle,
                   os.path.join(PROGRAMS, program), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400,
                              env={**os.environ, "GLIBC_TUNABLES": PLAIN})
    check(done.returncode == 0 and "done" in done.stdout, "%s: %s", " ".join(command), done.stderr[-1500:])
    count = int(re.search(r"Collected : (\d+)", done.stderr)[1])
    check(count > 0, "no instruction was counted: is there still a function %s?", function)
    return count


def fanout(subscribers, *subscriptions):
    """Instructions of matching, encoding and queueing one change."""
    return collected("run_publication", "counts_hub", 1000, subscribers, *subscriptions) / 1000


def delivery():
    few, many = fanout(1, 0), fanout(21, 0)
    return (many - few) / 20


def crowd():
    few, many = fanout(1), fanout(21)
    return (many - few) / 20


def change():
    return fanout(1)


def matching():
    return fanout(10, 1000)


def commit():
    few, many = (collected(None, "counts_commit", rows) for rows in (20, 120))
    return (many - few) / 100


def batch():
    few, many = (collected(None, "counts_commit", 20, rows) for rows in (100, 1100))
    return (many - few) / 20000


def read():
    few, many = (collected(None, "counts_read", requests) for requests in (100, 600))
    return (many - few) / 500


def swift_read():
    """On a busy machine some are put off and read again, which only adds: the least of three runs."""
    few, many = (min(collected(None, "counts_read", requests, 4) for _ in range(3)) for requests in (100, 600))
    return (many - few) / 500


COUNTS = {
    "a delivery: match and queue": delivery,
    "a delivery to one of many who get the same, of 100 changes at once": crowd,
    "a change for one subscriber: match, encode and queue": change,
    "a change for one of 1000 subscriptions by =": matching,
    "a commit of one row, from the request to the answer": commit,
    "a row of a batch, from the JSON to the answer": batch,
    "a row read by its key, from the request's JSON to the answer's": read,
    "the same with three others in one turn": swift_read,
}


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()[0].strip()


def machine():
    """What the counts depend on."""
    with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json"), encoding="utf-8") as file:
        options = {o["name"]: o["value"] for o in json.load(file)}
    with open(os.path.join(BUILD, "compile_commands.json"), encoding="utf-8") as file:
        words = json.load(file)[0]["command"].split()
    compiler = words[1] if words[0].endswith("ccache") else words[0]
    if options.get("b_sanitize", "none") != "none":
        raise Skip("instructions are not counted in a build with sanitizers")
    return (f"{first_line(compiler, '--version')}, {platform.machine()}, -O{options['optimization']}, "
            f"SQLite {first_line('pkg-config', '--modversion', 'sqlite3')}, {' '.join(platform.libc_ver())}")


def kept():
    with open(FILE, encoding="utf-8") as file:
        return json.load(file)


def keep(key, name, count):
    counts = kept()
    counts.setdefault(key, {})[name] = round(count)
    with open(FILE, "w", encoding="utf-8") as file:
        json.dump(counts, file, indent=2, sort_keys=True)
        file.write("\n")


def compare(name, args):
    if not shutil.which("valgrind"):
        raise Skip("valgrind is not installed")
    key = machine()
    before = kept().get(key, {}).get(name)
    if before is None and not args.update:
        raise Skip(f"no counts are kept for {key}: test/bench/counts_test.py --update keeps them")
    count = COUNTS[name]()
    note(f"{count:,.0f} instructions" + (f", {count / before:.3f} of the {before:,} kept" if before else ""))
    if args.update:
        keep(key, name, count)
        return
    if count < before * BETTER:
        note("better: keep it with test/bench/counts_test.py --update")
    check(count <= before * WORSE, "%.0f instructions are %.1f %% more than the %d in test/bench/counts.json. "
          "If that is meant: test/bench/counts_test.py --update", count, 100 * (count / before - 1), before)


for counted in COUNTS:
    case(counted)(lambda args, counted=counted: compare(counted, args))

if __name__ == "__main__":
    main(lambda parser: parser.add_argument("--update", action="store_true", help="write the counts to the file"))
