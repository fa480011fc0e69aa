#!/usr/bin/python3
"""rowtap policy check: what a policy file says, in sentences, and what is wrong with it."""
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BIN, Directory, case, check, environment, equal, main  # noqa: E402

EXAMPLE = {"roles": {
    "user": {"sql": True, "tables": {
        "notes": {"read": ["id", "user_id", "title"], "write": ["user_id", "title"], "rows": "user_id={sub}"},
        "public": {"read": True, "write": True}},
        "channels": {"join": ["notifications", "tables", "room:*"], "broadcast": ["room:*"]}},
    "admin": {"sql": True, "tables": {"*": {"read": True, "write": True}}, "channels": {"join": ["*"], "broadcast": ["*"]}}}}

EXPLAINED = """\
role user
  SQL: yes, on these tables
  table notes: reads id, user_id, title; writes user_id, title; only rows where user_id={sub}
  table public: reads every column; writes every column
  every other table: nothing
  joins notifications, tables, room:*
  broadcasts to room:*
role admin
  SQL: yes, on these tables
  every table: reads every column; writes every column
  joins *
  broadcasts to *
anybody else: nothing
"""


def policy(*arguments):
    done = subprocess.run([BIN, "policy", *arguments], capture_output=True, text=True, env=environment(), timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text, indent=1))
    return path


@case("who may what, in sentences")
def explains_who_may_what(_args):
    with Directory() as d:
        path = write(d.path, "policy.json", EXAMPLE)
        equal(policy("check", path), (0, EXPLAINED, ""))
        code, out, err = policy("check", path, "--role", "admin")
        equal((code, out.splitlines()[0], len(out.splitlines()), err), (0, "role admin", 5, ""))
        code, out, err = policy("check", path, "--role", "Admin")
        equal((code, out), (1, ""))
        check("no role \"Admin\"" in err, err)


@case("a mistake is named with its line")
def names_the_line_of_a_mistake(_args):
    with Directory() as d:
        path = write(d.path, "policy.json", '{"roles":{\n"user":{"tables":{\n"notes":{"reed":true}}}}}')
        equal(policy("check", path), (1, "", f'rowtap: {path}, line 3: roles.user.tables.notes.reed: unknown member; '
                                              'there can be "read", "write" and "rows"\n'))
        path = write(d.path, "broken.json", '{"roles":{\n')
        code, out, err = policy("check", path)
        equal((code, out), (1, ""))
        check("line 2" in err or "line 1" in err, err)
        code, out, err = policy("check", os.path.join(d.path, "none.json"))
        equal((code, out), (1, ""))
        check("No such file" in err, err)


@case("what does not fit a database")
def compares_with_a_database(_args):
    with Directory() as d:
        path, database = write(d.path, "policy.json", EXAMPLE), os.path.join(d.path, "app.db")
        connection = sqlite3.connect(database)
        connection.executescript("create table notes(id integer primary key, user text, title text, secret text);")
        code, out, err = policy("check", path, database)
        equal((code, out), (1, EXPLAINED))
        equal([line.partition(": ")[2].partition(": ")[2] for line in err.splitlines()], [
            'roles.user.tables.notes.read[1]: the table notes has no column "user_id"',
            'roles.user.tables.notes.write[0]: the table notes has no column "user_id"',
            'roles.user.tables.notes.rows: at character 1: table "notes" has no column "user_id"; its columns are id, '
            'user, title, secret',
            "roles.user.tables.public: there is no table of this name"])
        connection.executescript("alter table notes rename column user to user_id; create table public(x);")
        equal(policy("check", path, database), (0, EXPLAINED, ""))
        connection.close()
        code, out, err = policy("check", path, path)
        equal(code, 1)
        check("is not a database" in err, err)
        code, out, err = policy("check", path, os.path.join(d.path, "none.db"))
        equal(code, 1)
        check(not os.path.exists(os.path.join(d.path, "none.db")), "made the file")


@case("usage")
def usage(_args):
    for arguments in ([], ["check"], ["chek", "x"]):
        code, out, err = policy(*arguments)
        equal((code, out), (2, ""))
        check("rowtap help policy" in err, err)


if __name__ == "__main__":
    main()
