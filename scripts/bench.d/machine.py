"""Building, and what there is to say of the machine. Sets $ROWTAP_BIN for the tests' harness."""
import os
import platform
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build", "bench")
os.environ["ROWTAP_BIN"] = BIN = os.path.join(BUILD, "rowtap")
sys.path[:0] = [os.path.join(TOP, "test"), os.path.join(TOP, "test", "bench")]
import foreign_load  # noqa: E402


PEERS = ["scripts/bench.d/floor", "scripts/bench.d/insert", "scripts/bench.d/load"]


def build():
    options = ["--buildtype=release", "-Doptimization=2", "-Db_ndebug=false", "-Dtests=disabled"]
    commands = [["ninja", "-C", BUILD, "rowtap", *PEERS]]
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        commands.insert(0, ["meson", "setup", BUILD, TOP, *options])
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
        if done.returncode:
            sys.exit(done.stdout[-4000:] + "\nthe build failed")
    foreign_load.build(BUILD)


def cpu_model():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def file_system(path):
    """(type, device) of the file system that holds path."""
    best = ("", "unknown", "unknown")
    with open("/proc/mounts") as mounts:
        for line in mounts:
            device, point, kind = line.split()[:3]
            if os.path.commonpath([point, path]) == point and len(point) >= len(best[0]):
                best = (point, kind, device)
    return best[1:]


def describe(directory):
    kind, device = file_system(os.path.realpath(directory))
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{directory} is in memory ({kind}): choose a directory on a disk with --dir")
    commit = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, rowtap {commit or 'of unknown commit'}, release build\n"
          f"{cpu_model()}, {len(os.sched_getaffinity(0))} processors, Linux {platform.release()}\n"
          f"database on {kind} ({device}), load before: {os.getloadavg()[0]:.2f}", flush=True)
