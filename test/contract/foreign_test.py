#!/usr/bin/python3
"""The replica property with writers in other processes: the sqlite3 shell, Python's sqlite3 and Node's
better-sqlite3 write the served file, several at once and between the server's own writes. After every burst a
replica that was fed by nothing but events equals the source; every event is checked as it comes.

On demand: --seed N, --steps N jobs in each file, --minutes M (each time with the next seed), --writers WHO.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from contract.foreign.file import Format  # noqa: E402
from contract.foreign.scenario import Scenario  # noqa: E402
from contract.foreign.untouched import untouched  # noqa: E402
from contract.foreign.writers import Node  # noqa: E402
from harness import CASES, Directory, Skip, case, check, main, note  # noqa: E402

FORMATS = [
    Format(4096),
    Format(512, 1, "UTF-16le", secure_delete=1),
    Format(1024, 2, "UTF-16be", reserved=32, cache=1),
    Format(512, 0, reserved=16, cache=1),
    Format(2048, 2, secure_delete=1),
    Format(8192, 1, cache=2, secure_delete=1),
    Format(16384, 0, "UTF-16le", cache=1),
    Format(32768, 2, reserved=255),
    Format(65536, 1, cache=1),
]


def steps(args):
    return args.steps or (120 if args.quick else 330)


def seed_of(args, number):
    return args.seed + number if args.seed is not None else int.from_bytes(os.urandom(4), "big")


async def replica(args, form, seed, who, *options, jobs=None):
    note(f"seed {seed}; {form}; writers: {who}; repeat with --seed {seed}")
    with Directory() as directory:
        scenario = Scenario(directory.file("source.db"), seed, form, who, "--history", 1 << 30, *options)
        await scenario.begin()
        await scenario.go(jobs or steps(args))
        await scenario.resume()
        await scenario.end()


def of(form):
    async def run(args):
        await replica(args, form, seed_of(args, 0), args.writers)
    return run


for one in FORMATS[1:4] if "--quick" in sys.argv else FORMATS:
    case(f"replica equals source: {one}")(of(one))


@case("replica equals source: nobody but others write, with --journal")
async def journal(args):
    await replica(args, Format(4096, 2, cache=2), seed_of(args, 100), "foreign" if args.writers == "mixed" else args.writers, "--journal", jobs=steps(args) // 2)


@case("the file is the same byte for byte with and without rowtap watching")
async def bytes_alike(args):
    for number, form in enumerate(FORMATS[:1 if args.quick else 3]):
        for attempt in range(5):
            seed = seed_of(args, number) + attempt
            note(f"seed {seed}; {form}")
            with Directory() as directory:
                if await untouched(directory, form, seed, steps(args) // 2, kill=number == 1):
                    break
        else:
            check(False, "five seeds, and none that leaves the same bytes twice without a server")


@case("better-sqlite3 is one of the writers")
def node():
    if Node.missing():
        raise Skip(Node.missing())


async def long_run(args):
    end, number = time.monotonic() + 60 * args.minutes, 0
    first = seed_of(args, 0)
    while time.monotonic() < end:
        who = args.writers if number % 3 else "foreign" if args.writers == "mixed" else args.writers
        await replica(args, FORMATS[number % len(FORMATS)], first + number, who)
        number += 1


if "--minutes" in sys.argv:
    CASES.clear()
    case("for as long as --minutes says: all formats, seed after seed")(long_run)


def options(parser):
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="jobs in each file")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--writers", choices=["server", "foreign", "mixed"], default="mixed")


if __name__ == "__main__":
    main(options)
