-- A small shop to try things out on. Runs once: a table that exists is left alone.
BEGIN;
CREATE TABLE IF NOT EXISTS users(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT UNIQUE,
    age INTEGER,
    city TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS products(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price REAL NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0)
);
CREATE TABLE IF NOT EXISTS orders(
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    product_id INTEGER NOT NULL REFERENCES products(id),
    quantity INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'new',
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    room TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

WITH first(n, name) AS (VALUES (0, 'Alice'), (1, 'Bruno'), (2, 'Chiara'), (3, 'David'),
        (4, 'Emine'), (5, 'Farid'), (6, 'Greta'), (7, 'Hiro')),
    last(n, name) AS (VALUES (0, 'Martin'), (1, 'Rossi'), (2, 'Keller'), (3, 'Nakamura'),
        (4, 'Okafor')),
    cities(n, name) AS (VALUES (0, 'Berlin'), (1, 'Lisbon'), (2, 'Oslo'), (3, 'Kyoto'),
        (4, 'Toronto'), (5, 'Nairobi'), (6, 'Zürich'))
INSERT INTO users(name, email, age, city, created_at)
SELECT f.name || ' ' || l.name, lower(f.name || '.' || l.name) || '@example.com',
    14 + (f.n * 11 + l.n * 17) % 60, c.name,
    datetime('2024-01-01', '+' || (f.n * 37 + l.n * 11) || ' days')
FROM first f JOIN last l JOIN cities c ON c.n = (f.n * 5 + l.n) % 7
WHERE NOT EXISTS (SELECT 1 FROM users)
ORDER BY l.n, f.n;

WITH items(name, category, price, stock) AS (VALUES
    ('Espresso beans 1 kg', 'coffee', 18.9, 120), ('Filter papers', 'coffee', 3.5, 800),
    ('Hand grinder', 'coffee', 74.0, 25), ('Moka pot', 'coffee', 32.5, 40),
    ('Green tea 100 g', 'tea', 9.8, 200), ('Teapot', 'tea', 27.0, 35),
    ('Chasen whisk', 'tea', 14.2, 60), ('Notebook A5', 'paper', 6.4, 500),
    ('Fountain pen', 'paper', 29.9, 80), ('Ink, blue-black', 'paper', 8.0, 150),
    ('Desk lamp', 'office', 49.0, 30), ('Headphones', 'office', 119.0, 22))
INSERT INTO products(name, category, price, stock)
SELECT * FROM items WHERE NOT EXISTS (SELECT 1 FROM products);

WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 59),
    states(n, name) AS (VALUES (0, 'delivered'), (1, 'shipped'), (2, 'paid'), (3, 'new'))
INSERT INTO orders(user_id, product_id, quantity, status, created_at)
SELECT (SELECT min(id) FROM users) + numbers.n * 7 % 40,
    (SELECT min(id) FROM products) + numbers.n * 5 % 12, 1 + numbers.n % 3, s.name,
    datetime('2025-01-01', '+' || (numbers.n * 5) || ' hours')
FROM numbers JOIN states s ON s.n = numbers.n * 13 % 4
WHERE NOT EXISTS (SELECT 1 FROM orders);

WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 29),
    lines(n, body) AS (VALUES (0, 'Has anyone tried the new beans?'), (1, 'The grinder arrived.'),
        (2, 'When does the shop open tomorrow?'), (3, 'Thanks, that helped!'),
        (4, 'I''ll take two, please.'), (5, 'See you on Friday.'))
INSERT INTO messages(user_id, room, body, created_at)
SELECT (SELECT min(id) FROM users) + numbers.n * 11 % 40,
    CASE numbers.n % 3 WHEN 0 THEN 'support' ELSE 'lobby' END, l.body,
    datetime('2025-01-10', '+' || (numbers.n * 17) || ' minutes')
FROM numbers JOIN lines l ON l.n = numbers.n % 6
WHERE NOT EXISTS (SELECT 1 FROM messages);
COMMIT;
