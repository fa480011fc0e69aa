#!/usr/bin/python3
"""Builds rowtap several ways and runs all tests; scripts/test is the way to call it.

A suite is a program that prints TAP. Each prints one line here, and what failed of its log.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = sys.executable
SANITIZER = re.compile(r"(ERROR|WARNING): \w*Sanitizer|runtime error:")
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1:exitcode=66",
}

# name: compiler, meson options, how much slower than an ordinary build
BUILDS = {
    "gcc": ("gcc", ["-Dbuildtype=debugoptimized", "-Dwerror=true"], 1),
    "clang": ("clang", ["-Dbuildtype=debugoptimized", "-Dwerror=true"], 1),
    "asan": ("gcc", ["-Dbuildtype=debug", "-Doptimization=1", "-Db_sanitize=address,undefined"], 3),
    "tsan": ("clang", ["-Dbuildtype=debug", "-Doptimization=1", "-Db_sanitize=thread", "-Db_lundef=false"], 8),
}
THREADED = ("base", "access", "net", "capture", "hub", "http")  # rooms whose unit tests run under the thread sanitizer

# suite, build, program and arguments, limit in seconds, part of --quick (with --quick passed on)
BLACK_BOX = [
    ("open", "asan", ["test/fault/open_test.py"], 180, True),
    ("transcript", "asan", ["test/contract/transcript_test.py"], 240, True),
    ("websocket", "asan", ["test/contract/websocket_test.py"], 240, False),
    ("transcripts", "asan", ["test/transcript/transcript_test.py"], 240, False),
    ("bad-input", "asan", ["test/contract/bad_input_test.py"], 300, False),
    ("replica", "asan", ["test/contract/replica_test.py"], 600, True),
    ("foreign", "gcc", ["test/contract/foreign_test.py"], 400, True),
    ("foreign", "asan", ["test/contract/foreign_test.py", "--steps", "200"], 400, False),
    ("foreign", "tsan", ["test/contract/foreign_test.py", "--steps", "120"], 600, False),
    ("mixed", "asan", ["test/contract/mixed_test.py"], 240, True),
    ("resume", "asan", ["test/contract/resume_test.py"], 240, True),
    ("ddl", "asan", ["test/contract/ddl_test.py"], 240, False),
    ("requests", "asan", ["test/contract/requests_test.py"], 300, True),
    ("auth", "asan", ["test/contract/auth_test.py"], 240, False),
    ("auth", "tsan", ["test/contract/auth_test.py"], 400, False),
    ("tls", "asan", ["test/contract/tls_test.py"], 300, False),
    ("tls", "tsan", ["test/contract/tls_test.py", "--quick"], 400, False),
    ("websocket-tls", "asan", ["test/contract/websocket_test.py", "--tls"], 400, False),
    ("snapshot-tls", "asan", ["test/contract/snapshot_test.py", "--tls"], 400, False),
    ("limits", "asan", ["test/contract/limits_test.py"], 300, False),
    ("access", "asan", ["test/contract/access_test.py"], 300, False),
    ("wait", "asan", ["test/contract/wait_test.py"], 120, True),
    ("snapshot", "asan", ["test/contract/snapshot_test.py"], 400, True),
    ("foreign-snapshot", "asan", ["test/contract/foreign_snapshot_test.py"], 240, False),
    ("compression", "asan", ["test/contract/compression_test.py"], 240, False),
    ("sse", "asan", ["test/contract/sse_test.py"], 240, False),
    ("metrics", "asan", ["test/contract/metrics_test.py"], 240, False),
    ("log", "asan", ["test/contract/log_test.py"], 240, False),
    ("service", "asan", ["test/contract/service_test.py"], 240, False),
    ("stop", "asan", ["test/fault/stop_test.py"], 240, False),
    ("stop", "tsan", ["test/fault/stop_test.py"], 300, False),
    ("metrics", "tsan", ["test/contract/metrics_test.py", "--quick"], 240, False),
    ("query", "asan", ["test/contract/query_test.py", "--quick"], 240, False),
    ("query", "gcc", ["test/contract/query_test.py"], 240, False),
    ("query", "tsan", ["test/contract/query_test.py", "--quick"], 400, False),
    ("channels", "asan", ["test/contract/channels_test.py"], 240, True),
    ("channels", "tsan", ["test/contract/channels_test.py", "--quick"], 400, False),
    ("kill", "asan", ["test/fault/kill_test.py"], 180, True),
    ("damage", "asan", ["test/fault/damage_test.py"], 180, True),
    ("full", "asan", ["test/fault/full_test.py"], 120, False),
    ("journal-fault", "asan", ["test/fault/journal_fault_test.py"], 240, False),
    ("clients", "asan", ["test/e2e/clients_test.py"], 180, False),
    ("reconnect", "asan", ["test/e2e/reconnect_test.py"], 400, False),
    ("cli", "asan", ["test/cli/cli_test.py"], 240, False),
    ("counts", "gcc", ["test/bench/counts_test.py"], 900, False),
    ("tail", "asan", ["test/cli/tail_test.py"], 240, False),
    ("tail", "tsan", ["test/cli/tail_test.py", "--quick"], 300, False),
    ("policy", "asan", ["test/cli/policy_test.py"], 60, True),
    ("rules", "asan", ["test/contract/policy_test.py"], 240, False),
    ("rules-sql", "asan", ["test/contract/policy_sql_test.py"], 240, False),
    ("rules-sql", "tsan", ["test/contract/policy_sql_test.py"], 400, False),
    ("rules-random", "gcc", ["test/contract/policy_random_test.py"], 400, False),
    ("rules-random", "asan", ["test/contract/policy_random_test.py", "--quick"], 400, False),
    ("rules", "tsan", ["test/contract/policy_test.py"], 400, False),
    ("prompt", "asan", ["test/cli/prompt_test.py"], 120, False),
    ("rowtap.js", "gcc", ["test/web/rowtap_test.mjs"], 120, True),
    ("rowtap.js-session", "gcc", ["test/web/rowtap_session_test.mjs"], 120, True),
    ("rowtap.js-server", "gcc", ["test/web/rowtap_server_test.mjs"], 120, False),
    ("console", "gcc", ["test/web/console_test.mjs"], 180, False),
    ("eventsource", "gcc", ["test/web/eventsource_test.mjs"], 120, False),
    ("import", "gcc", ["test/e2e/import_test.py"], 240, False),
    ("proxy", "gcc", ["test/e2e/proxy_test.py"], 120, False),
    ("torture", "gcc", ["test/fault/torture_test.py"], 400, False),
    ("torture", "asan", ["test/fault/torture_test.py", "--rounds", "4"], 400, False),
    ("torture", "tsan", ["test/fault/torture_test.py", "--rounds", "2", "--only", "torture,"], 400, False),
    ("scale", "gcc", ["test/e2e/scale_test.py"], 600, False),
    ("attack", "gcc", ["test/fault/attack_test.py", "--quick"], 300, False),
    ("unsteady", "gcc", ["test/fault/unsteady_test.py"], 240, False),
    ("slow", "gcc", ["test/e2e/slow_test.py"], 400, False),
    ("cursors", "gcc", ["test/e2e/cursors_test.py"], 300, False),
    ("snapshot", "gcc", ["test/contract/snapshot_test.py", "--only", "large"], 120, False),
    ("snapshot", "tsan", ["test/contract/snapshot_test.py", "--quick"], 400, False),
    ("foreign-snapshot", "tsan", ["test/contract/foreign_snapshot_test.py", "--quick"], 300, False),
    ("mixed", "tsan", ["test/contract/mixed_test.py"], 400, False),
    ("requests", "tsan", ["test/contract/requests_test.py"], 400, False),
    ("transcript", "tsan", ["test/contract/transcript_test.py"], 400, False),
]


class Totals:
    lock = threading.Lock()
    passed = failed = skipped = 0
    slow = []


def log_file(name):
    folder = os.path.join(TOP, "build", "log")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, re.sub(r"[^\w.-]+", "-", name) + ".log")


def execute(command, log, env=None, limit=900, cwd=TOP):
    """Runs to the end or the limit, with all that it started; returns the exit status or "time-out"."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return "time-out"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def count(text, status):
    """(passed, failed, skipped) of a TAP log; a program without TAP is one case."""
    lines = re.findall(r"^(not )?ok\b(.*)$", text, re.M)
    skipped = sum(1 for _, rest in lines if re.search(r"#\s*skip", rest, re.I))
    failed = sum(1 for bad, rest in lines if bad and not re.search(r"#\s*(skip|todo)", rest, re.I))
    passed = sum(1 for bad, _ in lines if not bad) - skipped
    if not lines:
        passed, failed = (1, 0) if status == 0 else (0, 1)
    planned = re.search(r"^1\.\.(\d+)", text, re.M)
    if planned and int(planned[1]) > len(lines):
        failed += int(planned[1]) - len(lines)
    if (status != 0 or SANITIZER.search(text)) and failed == 0:
        failed = 1
    return passed, failed, skipped


def what_failed(text, most=60):
    """The failed cases with their comments, or the end of the log."""
    found, keep = [], False
    for line in text.splitlines():
        if re.match(r"(not )?ok\b", line):
            keep = line.startswith("not ok")
        if keep or SANITIZER.search(line):
            found.append(line)
    return "\n".join("    " + line[:400] for line in (found or text.splitlines()[-most:])[:most])


def suite(name, command, env=None, limit=300):
    """Runs a test program, prints its line, adds to the totals."""
    log = log_file(name)
    begun = time.monotonic()
    status = execute(command, log, env, limit)
    taken = time.monotonic() - begun
    with open(log, errors="replace") as file:
        text = file.read()
    passed, failed, skipped = count(text, status)
    with Totals.lock:
        Totals.passed += passed
        Totals.failed += failed
        Totals.skipped += skipped
    words = f"{passed} passed" + (f", {failed} FAILED" if failed else "") + (f", {skipped} skipped" if skipped else "")
    ending = "" if status == 0 else f" ({status})" if status == "time-out" else f" (exit {status})"
    print(f"{name:<34} {words}{ending} [{taken:.1f} s]", flush=True)
    if failed:
        print(what_failed(text) + f"\n    log: {os.path.relpath(log, TOP)}", flush=True)
    for line in re.findall(r"^# (section .*)$", text, re.M) + re.findall(r"^ok .*# SKIP .*$", text, re.M):
        print("    " + line, flush=True)


def build(name):
    """Sets up and builds; True when it worked."""
    compiler, options, _ = BUILDS[name]
    folder = os.path.join(TOP, "build", name)
    log = log_file("build-" + name)
    begun = time.monotonic()
    status = 0
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        shutil.rmtree(folder, ignore_errors=True)
        status = execute(["meson", "setup", folder, TOP, "-Dtests=enabled", *options], log, {"CC": os.environ.get("CC_" + name, compiler)})
    if status == 0:
        status = execute(["ninja", "-C", folder], log)
    Totals.passed += status == 0
    Totals.failed += status != 0
    print(f"{'build/' + name:<34} {'done' if status == 0 else 'FAILED'} [{time.monotonic() - begun:.1f} s]", flush=True)
    if status != 0:
        with open(log, errors="replace") as file:
            lines = [line for line in file.read().splitlines() if not line.startswith("[")]
        print("\n".join("    " + line for line in lines[-60:]) + f"\n    log: {os.path.relpath(log, TOP)}", flush=True)
    return status == 0


def unit_tests(name):
    """What meson knows in this build: (name, command, env)."""
    listed = subprocess.run(["meson", "introspect", "--tests", os.path.join(TOP, "build", name)],
                            capture_output=True, check=True, stdin=subprocess.DEVNULL)
    for test in json.loads(listed.stdout):
        if name != "tsan" or test["name"].split("/")[0] in THREADED:
            yield test["name"], test["cmd"], test["env"], test.get("timeout", 30)


def randomization():
    """The thread sanitizer of older compilers needs addresses not to be randomized too far."""
    source, program = log_file("probe.c"), log_file("probe") + ".bin"
    with open(source, "w") as file:
        file.write("int main(void) { return 0; }\n")
    try:
        subprocess.run(["clang", "-x", "c", "-fsanitize=thread", source, "-o", program], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    for prefix in ([], ["setarch", "-R"]):
        try:
            if subprocess.run([*prefix, program], capture_output=True, timeout=30).returncode == 0:
                return prefix
        except (OSError, subprocess.TimeoutExpired):
            pass
    return []


def interpret(program, *arguments):
    """The command that runs a black-box test."""
    if program.endswith(".mjs"):
        return ["node", "--test", "--test-reporter=tap", program]
    return [PYTHON, program, *arguments]


def plan(args):
    """[(suite's name, its build or None, command or None for the unit tests, env, limit)]"""
    suites = [("check-layers", None, ["scripts/check-layers"], {}, 30), ("check-format", None, ["scripts/check-format"], {}, 60)]
    for name in ["gcc"] if args.quick else BUILDS:
        if name == "gcc":
            suites.append(("check-symbols", name, ["scripts/check-symbols", os.path.join(TOP, "build", name, "rowtap")], {}, 60))
            suites.append(("check-readme", name, ["scripts/check-readme", os.path.join(TOP, "build", name, "rowtap")], {}, 120))
        suites.append(("unit/" + name, name, None, {}, 0))
        for box, on, command, limit, quick in BLACK_BOX:
            if args.quick and quick:
                suites.append((f"{box}/gcc", "gcc", interpret(*command, "--quick"), {"ROWTAP_SLOW": "1"}, limit))
            elif not args.quick and on == name:
                suites.append((f"{box}/{on}", on, interpret(*command), {"ROWTAP_SLOW": str(BUILDS[on][2])}, limit))
    return [s for s in suites if args.only in s[0]]


def run_units(name, prefix, slow, at_once):
    def one(test):
        title, command, env, limit = test
        suite(f"{title} ({name})", [*prefix, *command], {**SANITIZER_ENV, **env}, max(60, limit) * slow)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(one, t) for t in unit_tests(name)]:
            done.result()


def run(args):
    """The quick form, with its one build, runs two at once: most of them wait most of the time."""
    if not args.quick:
        for one in build_and_run_units(args):
            suite(*one)
        return
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(suite, *one) for one in build_and_run_units(args)]:
            done.result()


def build_and_run_units(args):
    """Yields the suites that are left, when it is their turn."""
    built = {}
    prefix = {}
    for name, on, command, env, limit in plan(args):
        if on and on not in built:
            built[on] = build(on)
            prefix[on] = randomization() if on == "tsan" else []
        if on and not built[on]:
            continue  # counted as failed with the build
        if command is None:
            run_units(on, prefix[on], BUILDS[on][2], 4 if args.quick else 2)
        else:
            binary = {"ROWTAP_BIN": os.path.join(TOP, "build", on, "rowtap")} if on else {}
            yield name, [*(prefix[on] if on else []), *command], {**SANITIZER_ENV, **env, **binary}, limit


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description="Builds and tests rowtap.")
    parser.add_argument("--quick", action="store_true", help="one build, smaller sizes, under two minutes")
    parser.add_argument("--only", default="", metavar="PATTERN", help="the suites whose name contains PATTERN")
    parser.add_argument("--list", action="store_true", help="print the suites' names")
    args = parser.parse_args()
    if args.list:
        print("\n".join(s[0] for s in plan(args)))
        return 0
    begun = time.monotonic()
    os.makedirs(os.path.join(TOP, "build"), exist_ok=True)
    run(args)
    print(f"{Totals.skipped} skipped, {time.monotonic() - begun:.0f} s; logs are in build/log")
    print(f"{Totals.passed} passed, {Totals.failed} failed")
    return 1 if Totals.failed or not Totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
