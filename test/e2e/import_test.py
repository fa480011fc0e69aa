#!/usr/bin/python3
"""More than 100,000 rows are imported through the server while 200 subscribers with different filters
listen; then updates and deletes. Each must end with exactly the rows that its filter selects, having
seen changes in the order of seq and none twice."""
import asyncio
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from contract.replica import View, connect  # noqa: E402
from data.generate import COUNTRIES, KINDS, ROOMS, SCHEMA, THINGS, batches  # noqa: E402
from harness import Client, Directory, Http, Server, case, check, equal, in_thread, main, note  # noqa: E402

CHANGES = [
    "UPDATE orders SET status = 'shipped' WHERE id % 7 = 0",
    "UPDATE customers SET country = 'DE', balance = balance + 1 WHERE id % 50 = 3",
    "UPDATE customers SET age = age + 1 WHERE age BETWEEN 40 AND 42",
    "DELETE FROM orders WHERE id % 11 = 5",  # cascades to order_items
    "UPDATE order_items SET line = line + 2 WHERE order_id < 500",
    "DELETE FROM messages WHERE reply_to IS NOT NULL AND id % 2",
    "UPDATE messages SET seen = 1 WHERE seen IS NULL AND id < 3000",
    "INSERT OR REPLACE INTO messages SELECT id, 'archive', author, body, reply_to, seen FROM messages WHERE id % 40 = 1",
    "UPDATE products SET sku = 'OLD-' || sku WHERE stock < 20",
    "UPDATE customers SET id = id + 100000 WHERE id NOT IN (SELECT customer_id FROM orders)",
]


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def wishes(count):
    """(table, filters, the same in SQL), all different."""
    found = [("products", [], "1"), ("messages", [], "1")]
    found += [("customers", [f"country={c}"], f"country = '{c}'") for c in COUNTRIES]
    found += [("customers", [f"country = {c.upper()}", f"age>={a}"], f"country = '{c}' AND age >= {a}")
              for c, a in zip(COUNTRIES, range(20, 80, 3))]
    found += [("customers", ["avatar is not null", f"balance > {b}.0"], f"avatar IS NOT NULL AND balance > {b}") for b in (4000, 4500, 4900)]
    found += [("customers", ["age is null", f"country != {c}"], f"age IS NULL AND country <> '{c}'") for c in COUNTRIES[:5]]
    found += [("messages", [f"room={quoted(r)}"], f"room = {quoted(r)}") for r in ROOMS]
    found += [("messages", [f"room={r}", "author is null"], f"room = {quoted(r)} AND author IS NULL") for r in ROOMS]
    found += [("messages", [f"seen={s}"], f"seen = {s}") for s in ("0", "0.5")]
    found += [("products", [f"title={k} {t}"], f"title = '{k} {t}'") for k in KINDS[:4] for t in THINGS[:4]]
    found += [("products", [f"sku>=SKU-00{n}", f"sku<SKU-00{n + 50}"], f"sku >= 'SKU-00{n}' AND sku < 'SKU-00{n + 50}'") for n in (200, 400, 600)]
    found += [("orders", ["status=shipped", f"total>={t}"], f"status = 'shipped' AND total >= {t}") for t in range(0, 900, 60)]
    found += [("order_items", [f"sku in (SKU-{n:05d}, 'SKU-{n + 1:05d}')"], f"sku IN ('SKU-{n:05d}', 'SKU-{n + 1:05d}')") for n in range(1, 60, 2)]
    found += [("order_items", [f"order_id<={n}"], f"order_id <= {n}") for n in (10, 100, 700)]
    found += [("orders", [f"customer_id={n}"], f"customer_id = {n}") for n in range(1, count)]
    return found[:count]


async def feed(server, subscribers):
    """Imports in requests of several kinds, then the changes. Returns rows imported."""
    http, rows = Http(server), 0
    group = []
    for number, (sql, params, count) in enumerate(batches()):
        rows += count
        if number % 3 == 0:
            await in_thread(http.sql, sql, params)
        else:
            group.append({"sql": sql, "params": params})
            if len(group) == 4:
                await in_thread(http.sql, statements=group)
                group = []
    if group:
        await in_thread(http.sql, statements=group)
    for sql in CHANGES:
        await in_thread(http.sql, sql)
    await in_thread(http.sql, "INSERT INTO fence VALUES (1)")
    http.close()
    return rows


class Subscriber:
    def __init__(self, table, filters, where):
        self.view = View(None, table, filters, where)
        self.done = False
        self.count = 0

    async def open(self, server):
        self.client = await Client.open(server)
        self.client.consume = self.take
        await self.client.subscribe("fence")
        arguments = {"filter": self.view.filters} if self.view.filters else {}
        self.view.subscription = await self.client.subscribe(self.view.table, **arguments)

    def take(self, message):
        check(message["type"] == "database_change", "%s", message)
        if message["table"] == "fence":
            self.done = True
        else:
            self.count += 1
            self.view.apply(message)


@case("an import of 100,000 rows and changes to them: 200 filtered views are exact")
async def import_(args):
    with Directory() as directory:
        server = Server(directory.file("shop.db"))
        for sql in SCHEMA + ["CREATE TABLE fence(id INTEGER PRIMARY KEY)"]:
            server.sql(sql)
        subscribers = [Subscriber(*w) for w in wishes(50 if args.quick else 200)]
        for subscriber in subscribers:
            await subscriber.open(server)
        begun = time.monotonic()
        rows = await feed(server, subscribers)
        imported = time.monotonic() - begun
        check(rows >= 100000, "only %d rows", rows)
        source = connect(server.path)
        nothing = 0
        for subscriber in subscribers:
            await subscriber.client.wait(lambda s=subscriber: s.done, timeout=120, what=f"the fence for {subscriber.view.filters}")
            subscriber.view.compare(source)
            nothing += not subscriber.view.rows
        source.close()
        check(nothing < len(subscribers) / 10, "%d of the views are empty: the test would show nothing", nothing)
        note(f"{rows} rows in {imported:.1f} s, {sum(s.count for s in subscribers)} messages to {len(subscribers)} "
             f"subscribers in {time.monotonic() - begun:.1f} s, server at {server.memory() >> 20} MB")
        await asyncio.gather(*(s.client.close() for s in subscribers))
        equal(server.sql("PRAGMA integrity_check")["rows"], [["ok"]], "integrity_check")
        server.stop()


if __name__ == "__main__":
    main()
