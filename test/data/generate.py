#!/usr/bin/python3
"""A data set of more than 100,000 rows, the same every time: customers, products, orders, their items and
a chat about them. SCHEMA creates the tables; batches() yields multi-row INSERTs with their parameters.

    test/data/generate.py >data.sql     prints it as SQL
"""
import base64
import random

CUSTOMERS, PRODUCTS, ORDERS, ITEMS, MESSAGES = 6000, 1000, 30000, 60000, 20000

SCHEMA = [
    """CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, country TEXT COLLATE NOCASE,
       age INTEGER, balance REAL, avatar BLOB, note TEXT)""",
    "CREATE TABLE products(sku TEXT PRIMARY KEY, title TEXT NOT NULL, price REAL NOT NULL, stock INT, tags) WITHOUT ROWID",
    """CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(id), status TEXT NOT NULL DEFAULT 'new',
       total REAL, placed_at INTEGER, gift BOOLEAN)""",
    """CREATE TABLE order_items(order_id INTEGER NOT NULL REFERENCES orders(id) ON DELETE CASCADE, line INTEGER NOT NULL, sku TEXT NOT NULL,
       quantity INTEGER NOT NULL, price REAL, PRIMARY KEY(order_id, line)) WITHOUT ROWID""",
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, room TEXT NOT NULL, author INTEGER, body TEXT NOT NULL, reply_to INTEGER, seen REAL)",
]

GIVEN = "Ada Grace Linus Margaret Alan Barbara Edsger Radia Ken Hedy Dennis Frances Tim Karen Donald Zoë Jürgen Søren Łucja 美咲".split()
FAMILY = "Lovelace Hopper Núñez Hamilton Turing Liskov O'Neill Perlman Thompson Lamarr Ritchie Allen Müller Sparck-Jones Knuth Østergård Wójcik 田中".split()
COUNTRIES = "de fr us jp br in ng se pl mx ca au it es nl ke eg cn kr za".split()
THINGS = "kettle lamp notebook bicycle chair teapot radio camera blanket globe clock mirror basket lantern pencil umbrella".split()
KINDS = "red blue wooden tiny sturdy quiet folding woollen brass second-hand".split()
OPENINGS = ["Hello, has anyone seen", "I really like", "When does", "Could you send me", "My neighbour's dog chewed", "We ran out of",
            "Is it true that nobody orders", "“Please,” she said, “not another", "Yesterday I returned", "It's 20% off:"]
ENDINGS = ["in the new shop?", "that arrived this morning.", "before Friday?", "- thanks!", "again :-)", "for my mother's birthday.",
           "; the old one broke.", "with a ribbon around it\nand a card.", "…", "and it works \"perfectly\"."]
ROOMS = ["general", "support", "random", "it's here", "büro", "sales-1", "sales-2", "dev"]


def customers(dice):
    for i in range(1, CUSTOMERS + 1):
        name = f"{dice.choice(GIVEN)} {dice.choice(FAMILY)}"
        email = f"user{i}@example.com" if dice.random() < 0.95 else None
        avatar = dice.randbytes(dice.randint(0, 48)) if dice.random() < 0.3 else None
        yield (i, name, email, dice.choice(COUNTRIES), dice.randint(14, 90) if dice.random() < 0.9 else None,
               round(dice.uniform(-100, 5000), 2), avatar, sentence(dice) if dice.random() < 0.2 else None)


def products(dice):
    for i in range(1, PRODUCTS + 1):
        tags = dice.choice([None, 7, 2.5, "new", "sale", b"\x00\x01\xff"])
        yield (f"SKU-{i:05d}", f"{dice.choice(KINDS)} {dice.choice(THINGS)}", round(dice.uniform(1, 400), 2), dice.randint(0, 500), tags)


def orders(dice):
    for i in range(1, ORDERS + 1):
        yield (i, dice.randint(1, CUSTOMERS), dice.choice(["new", "paid", "packed"]), float(dice.randint(1, 900)),
               1700000000000 + i * 61000, dice.choice([0, 1, None]))


def items(dice):
    for i in range(ITEMS):
        yield (i // 2 + 1, i % 2, f"SKU-{dice.randint(1, PRODUCTS):05d}", dice.randint(1, 9), round(dice.uniform(1, 400), 2))


def messages(dice):
    for i in range(1, MESSAGES + 1):
        yield (i, dice.choice(ROOMS), dice.randint(1, CUSTOMERS) if dice.random() < 0.9 else None, sentence(dice),
               dice.randint(1, i) if dice.random() < 0.3 else None, dice.choice([None, 0.0, 1.0, 0.5]))


def sentence(dice):
    return f"{dice.choice(OPENINGS)} the {dice.choice(KINDS)} {dice.choice(THINGS)} {dice.choice(ENDINGS)}"


TABLES = [("customers", customers, 8), ("products", products, 5), ("orders", orders, 6), ("order_items", items, 5), ("messages", messages, 6)]


def batches(size=500, seed=20240101):
    """(sql, params, rows) for each INSERT of up to `size` rows."""
    dice = random.Random(seed)
    for table, rows, width in TABLES:
        pending = []
        for row in rows(dice):
            pending.append(row)
            if len(pending) == size:
                yield insert(table, width, pending)
                pending = []
        if pending:
            yield insert(table, width, pending)


def insert(table, width, rows):
    marks = "(" + ", ".join("?" * width) + ")"
    return f"INSERT INTO {table} VALUES " + ", ".join([marks] * len(rows)), [wire(v) for row in rows for v in row], len(rows)


def wire(value):
    return {"$base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        return "x'" + base64.b64decode(value["$base64"]).hex() + "'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def main():
    for statement in SCHEMA:
        print(statement + ";")
    for sql, params, _ in batches():
        parts = sql.split("?")
        print("".join(p + (literal(params[i]) if i < len(params) else "") for i, p in enumerate(parts)) + ";")


if __name__ == "__main__":
    main()
