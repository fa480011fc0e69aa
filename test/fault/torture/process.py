"""Child processes that do as they are told over a pipe."""
import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from harness import check, seconds, story  # noqa: E402

PR_SET_PDEATHSIG = 1


class Process:
    """Runs `make(*args)` in a process of its own and calls its methods there."""

    def __init__(self, name, make, *args):
        context = multiprocessing.get_context("fork")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=child, args=(theirs, make, args), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, method, *args):
        self.pipe.send((method, args))

    def receive(self, timeout=60):
        check(self.pipe.poll(seconds(timeout)), "%s: no answer within %s s", self.name, timeout)
        worked, result = self.pipe.recv()
        check(worked, "%s: %s", self.name, result)
        return result

    def ask(self, method, *args, timeout=60):
        self.send(method, *args)
        return self.receive(timeout)

    def end(self):
        self.process.kill()
        self.process.join(3)
        self.pipe.close()


def child(pipe, make, args):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    asyncio.run(obey(pipe, make(*args)))


async def obey(pipe, worker):
    """Calls the worker's methods as the pipe says, until it is closed."""
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), ready.set)
    while True:
        await ready.wait()
        ready.clear()
        try:
            while pipe.poll():
                method, args = pipe.recv()
                try:
                    result = getattr(worker, method)(*args)
                    answer = True, (await result if asyncio.iscoroutine(result) else result)
                except Exception as error:
                    answer = False, story(error)
                pipe.send(answer)
        except (EOFError, OSError):
            return  # the parent is gone


def all_of(processes, method, *args, timeout=60):
    """Asks all at once; their answers in order."""
    for process in processes:
        process.send(method, *args)
    return [process.receive(timeout) for process in processes]
