#!/usr/bin/python3
"""Many connections: idle ones cost neither threads nor much memory, and a wide fan-out under many
writers loses, repeats and reorders nothing. The subscribers are fanout_client.c."""
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Server, case, check, equal, main, note, seconds  # noqa: E402
from fanout import Fanout, build_client, write  # noqa: E402

def available(wanted):
    """Connections that the descriptor limit allows."""
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500)


def idle(args, table, limit_bytes, wanted, *options):
    count = available(wanted)
    with Directory() as directory:
        program = build_client(directory)
        server = Server(directory.file("idle.db"), "--max-connections", count + 200, *options)
        server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT)")
        # the first connections warm up workers, pools and caches
        with Fanout(program, server, 200, table, 0, 60) as warm:
            warm.end()
        time.sleep(0.5)
        threads, memory, descriptors = server.threads(), server.memory(), server.descriptors()
        with Fanout(program, server, count, table, 0, 120, 50 if table != "-" else 0) as fanout:
            time.sleep(1)
            grown = (server.memory() - memory) / count
            note(f"{count} connections: {grown:.0f} bytes each, {server.threads() - threads:+d} threads, "
                 f"{server.descriptors() - descriptors:+d} descriptors")
            check(server.threads() <= threads, "%d threads with %d connections, %d before", server.threads(), count, threads)
            check(grown < limit_bytes, "%.0f bytes per connection, wanted less than %d", grown, limit_bytes)
            equal(server.get("/health").json["connectedClients"], count, "connectedClients")
            used = server.cpu_seconds()
            time.sleep(2)
            check(server.cpu_seconds() - used < 0.4, "idle connections cost %.2f s of processor in 2 s", server.cpu_seconds() - used)
            result = fanout.end()
            equal((result["live"], result["closed"]), (count, 0), "connections")
        end = time.monotonic() + seconds(10)
        while time.monotonic() < end and server.get("/health").json["connectedClients"]:
            time.sleep(0.1)
        equal(server.get("/health").json["connectedClients"], 0, "connectedClients afterwards")
        check(server.descriptors() <= descriptors + 10, "%d descriptors, %d before", server.descriptors(), descriptors)
        server.stop()


@case("idle connections: no thread each, under 4 KB of the server's memory each")
def idle_connections(args):
    idle(args, "-", 4096, 1000 if args.quick else 5000)


# What does not grow with the connections weighs more where they are few.
@case("idle connections with a filtered subscription each: about 1 KB each")
def idle_subscriptions(args):
    idle(args, "t", *((4096, 1000) if args.quick else (1100, 5000)))


@case("the same with bounds for each: some 100 bytes more")
def idle_limited(args):
    idle(args, "t", *((4096, 1000) if args.quick else (1250, 5000)), "--limit-loopback", "--max-connections-per-address", 0,
         "--rate", "handshakes=off", "--rate", "http=off")


def fan_out(connections, commits, modulo, writers=8):
    with Directory() as directory:
        program = build_client(directory)
        server = Server(directory.file("fan.db"))
        answer = server.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT)")
        expected = commits // modulo if modulo else commits
        with Fanout(program, server, connections, "t", expected, 400, modulo) as fanout:
            begun = time.monotonic()
            equal(write(server, writers, commits, modulo), commits, "acknowledged commits")
            written = time.monotonic() - begun
            result = fanout.end()
            taken = time.monotonic() - begun
            note(f"{connections} subscribers, {commits} commits by {writers} writers: {commits / written:.0f} commits/s, "
                 f"{result['total'] / taken:.0f} deliveries/s, {server.memory() >> 20} MB; {result}")
            equal((result["live"], result["closed"], result["disorder"]), (connections, 0, 0), "live, closed, out of order or repeated")
            equal((result["least"], result["most"]), (expected, expected), "messages per subscriber")
            if not modulo:
                equal((result["firstSeq"], result["lastSeq"]), (answer["seq"] + 1, answer["seq"] + commits), "seq")
        server.stop()


@case("wide fan-out: every subscriber gets every commit, once, in order")
def everything(args):
    fan_out(*((200, 1000, 0) if args.quick else (1000, 20000, 0)))


@case("fan-out by filters: every subscriber gets its tenth, once, in order")
def filtered(args):
    fan_out(*((200, 1000, 10) if args.quick else (2000, 10000, 10)))


if __name__ == "__main__":
    main()
