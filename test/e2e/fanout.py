"""Many subscribers at once: fanout_client.c, built and run; and writers for them."""
import json
import os
import subprocess
import tempfile
import threading

from harness import Http, Skip, check, raise_nofile, seconds

HERE = os.path.dirname(os.path.abspath(__file__))


def build_client(directory, name="fanout_client"):
    program = directory.file(name)
    for compiler in (os.environ.get("CC", "cc").split(), ["gcc"], ["clang"]):
        try:
            subprocess.run([*compiler, "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-o", program, os.path.join(HERE, name + ".c")],
                           check=True, stdin=subprocess.DEVNULL)
            return program
        except FileNotFoundError:
            continue
    raise Skip("there is no C compiler")


class Fanout:
    def __init__(self, program, server, connections, table, expected, limit, modulo=0):
        self.errors = tempfile.TemporaryFile()
        self.limit = limit
        self.process = subprocess.Popen(
            [program, server.host, str(server.port), str(connections), table, str(expected), str(seconds(limit)), str(modulo)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, preexec_fn=raise_nofile)
        try:
            line = self.process.stdout.readline().split()
            check(line == ["ready", str(connections)], "only %s of %d connections came up: %s", line, connections, self.words())
        except BaseException:
            self.kill()
            raise

    def words(self):
        self.errors.seek(0)
        return self.errors.read()[-1000:].decode(errors="replace")

    def end(self):
        self.process.stdin.close()
        line = self.process.stdout.readline()
        self.process.wait(seconds(self.limit) + 10)
        check(line, "the client said nothing: %s", self.words())
        return json.loads(line)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def write(server, writers, commits, modulo):
    """Each commit is a request of its own; the writers work at the same time."""
    failures = []
    total = [0] * writers

    def worker(number):
        http = Http(server)
        try:
            for i in range(number, commits, writers):
                http.sql("INSERT INTO t(k, v) VALUES (?, 'row ' || ?2)", [i % modulo if modulo else 0, i])
                total[number] += 1
        except Exception as error:  # reported by the case
            failures.append(error)
        http.close()

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(total)
