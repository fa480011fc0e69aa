#!/usr/bin/python3
"""Acknowledged writes: "wait":"delivered" answers when the subscribers' sockets have taken the changes."""
import os
import queue
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Directory, Http, RawSocket, Server, case, check, equal, main, seconds  # noqa: E402

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, kind TEXT, text TEXT)"


def post(http, **body):
    return http.request("POST", "/api/sql", body)


def wait(http, sql, params=None, **more):
    answer = post(http, sql=sql, params=params or [], wait="delivered", **more)
    equal(answer.status, 200, f"status of {sql}: {answer.body[:200]}")
    return answer.json


def subscribe(server, **arguments):
    """A subscriber that reads only when told to."""
    s = RawSocket(server, receive_buffer=4096)
    s.upgrade()
    s.message()
    s.text({"type": "subscribe", "table": "t", **arguments})
    equal(s.message()["type"], "subscribed")
    return s


class Reader:
    """Reads all the time what a subscriber gets, so that no kernel's buffer counts."""

    def __init__(self, raw):
        self.raw, self.messages = raw, queue.Queue()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while True:
                self.messages.put(self.raw.message())
        except Exception as error:  # told to who waits for a message
            self.messages.put(error)

    def message(self):
        message = self.messages.get(timeout=seconds(20))
        if isinstance(message, Exception):
            raise message
        return message

    def close(self):
        self.raw.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(seconds(20))
        self.raw.close()


@case("nobody listens: answered at once, also reads and schema changes")
def nobody():
    with Directory() as d, Server(d.file("w.db")) as server:
        http = Http(server)
        for sql in (TABLE, "INSERT INTO t VALUES(1,'a','x')", "SELECT 1", "CREATE INDEX i ON t(kind)"):
            begun = time.monotonic()
            answer = wait(http, sql)
            equal(answer["delivered"], 0)
            check("pending" not in answer, "nothing is pending")
            check(time.monotonic() - begun < 2, "it waited for nobody")
        check("delivered" not in post(http, sql="SELECT 1").json, "only when asked for")


@case("those who match are counted, each once, whatever they subscribed to")
def counted():
    with Directory() as d, Server(d.file("w.db"), "--loops", "2") as server:
        http = Http(server)
        http.sql(TABLE)
        sockets = [subscribe(server), subscribe(server, filter="kind=a"), subscribe(server, filter="kind=b"),
                   subscribe(server, batch=True), subscribe(server)]
        sockets[4].text({"type": "subscribe", "table": "t", "filter": "id>0"})
        sockets[4].message()
        equal(wait(http, "INSERT INTO t VALUES(1,'a','x')")["delivered"], 4)
        equal(wait(http, "INSERT INTO t VALUES(2,'b','x')")["delivered"], 4)
        equal(wait(http, "INSERT INTO t VALUES(3,'c','x')")["delivered"], 3)
        script = "; ".join(f"INSERT INTO t(kind) VALUES('{kind}')" for kind in "abcab")
        equal(wait(http, script)["delivered"], 5)
        answer = post(http, wait="delivered", statements=[{"sql": "UPDATE t SET text='y' WHERE id=?", "params": [1]},
                                                          {"sql": "DELETE FROM t WHERE id=2"}])
        equal(answer.json["delivered"], 5)
        equal(wait(http, "UPDATE t SET text='y' WHERE id=1")["delivered"], 0)
        for s in sockets:
            s.close()


@case("a subscriber that does not read keeps the answer until it reads, goes away, or the time is up")
def stuck():
    with Directory() as d, Server(d.file("w.db")) as server:
        http = Http(server)
        http.sql(TABLE)
        slow, quick = subscribe(server), Reader(subscribe(server))
        wrote = 0
        answer = {"delivered": 2}
        while answer["delivered"] == 2 and wrote < 100:
            answer = wait(http, "INSERT INTO t(text) VALUES(?)", ["x" * 300000], waitMs=300)
            wrote += 1
            equal(quick.message()["event"], "INSERT")
        equal(answer["delivered"], 1, "delivered while one does not read")
        equal(answer["pending"], 1, "pending while one does not read")
        begun = time.monotonic()
        answer = wait(http, "INSERT INTO t(text) VALUES('y')", waitMs=700)
        check(0.6 < time.monotonic() - begun < 5, "waitMs is kept")
        equal(answer["pending"], 1)
        quick.message()
        equal(wait(http, "SELECT 1")["delivered"], 0, "reads do not wait")
        for i in range(wrote + 1):
            equal(slow.message()["seq"], i + 2)
        equal(wait(http, "INSERT INTO t(text) VALUES('z')")["delivered"], 2, "after it has read")
        quick.message()
        while "pending" not in wait(http, "INSERT INTO t(text) VALUES(?)", ["x" * 300000], waitMs=200):
            quick.message()
        quick.message()
        slow.close()
        answer = wait(http, "INSERT INTO t(text) VALUES('z')")
        equal(answer["delivered"], 1, "after it has gone")
        check("pending" not in answer, "who has gone is not pending")
        quick.close()


@case("a subscriber that leaves while it is waited for")
def leaves():
    with Directory() as d, Server(d.file("w.db")) as server:
        http = Http(server)
        http.sql(TABLE)
        slow = subscribe(server)
        while "pending" not in wait(http, "INSERT INTO t(text) VALUES(?)", ["x" * 300000], waitMs=200):
            pass
        timer = threading.Timer(0.5, slow.close)
        timer.start()
        begun = time.monotonic()
        answer = wait(http, "INSERT INTO t(text) VALUES('y')", waitMs=20000)
        check(time.monotonic() - begun < 10, "it waited for somebody who is gone")
        equal(answer["delivered"], 0)
        check("pending" not in answer, "who has gone is not pending")
        timer.join()


@case("an error is answered at once; what is asked wrongly is refused")
def errors():
    with Directory() as d, Server(d.file("w.db")) as server:
        http = Http(server)
        http.sql(TABLE)
        answer = post(http, sql="INSERT INTO nothing VALUES(1)", wait="delivered")
        equal(answer.status, 400)
        equal(answer.json["error"]["code"], "SQL_ERROR")
        for body in ({"wait": "sent"}, {"wait": 1}, {"wait": "delivered", "waitMs": -1}, {"waitMs": 5},
                     {"wait": "delivered", "waitMs": "5"}, {"wait": "delivered", "waitMs": 60001}):
            answer = post(http, sql="SELECT 1", **body)
            equal(answer.status, 400, f"status of {body}")
            equal(answer.json["error"]["code"], "INVALID_FORMAT")


@case("stopping does not wait for it")
def stopping():
    with Directory() as d, Server(d.file("w.db")) as server:
        http = Http(server)
        http.sql(TABLE)
        slow = subscribe(server)
        while "pending" not in wait(http, "INSERT INTO t(text) VALUES(?)", ["x" * 300000], waitMs=200):
            pass
        got = []
        other = Http(server)
        thread = threading.Thread(
            target=lambda: got.append(wait(other, "INSERT INTO t(text) VALUES('y')", waitMs=60000)))
        thread.start()
        time.sleep(0.3)
        server.stop()
        thread.join(5)
        check(not thread.is_alive() and got and got[0]["pending"] == 1, f"answered on the way out: {got}")
        slow.close()


if __name__ == "__main__":
    main()
