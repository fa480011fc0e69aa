-- What happens in the sample shop every few seconds; each statement by chance.
INSERT INTO messages(user_id, room, body)
SELECT id, 'lobby', 'Hello from ' || city || '!'
FROM users WHERE abs(random()) % 2 = 0 ORDER BY random() LIMIT 1;

UPDATE orders SET status = CASE status WHEN 'new' THEN 'paid' WHEN 'paid' THEN 'shipped'
    ELSE 'delivered' END
WHERE id = (SELECT id FROM orders WHERE status <> 'delivered' ORDER BY random() LIMIT 1);

INSERT INTO orders(user_id, product_id, quantity)
SELECT (SELECT id FROM users ORDER BY random() LIMIT 1), id, 1
FROM products WHERE stock > 0 AND abs(random()) % 2 = 0 ORDER BY random() LIMIT 1;

UPDATE products SET stock = CASE WHEN stock < 5 THEN stock + 100 ELSE stock - 1 END
WHERE abs(random()) % 3 = 0 AND id = (SELECT id FROM products ORDER BY random() LIMIT 1);

UPDATE users SET age = 14 + abs(random()) % 60
WHERE id = (SELECT id FROM users ORDER BY random() LIMIT 1);

-- The sample stays small however long it runs.
DELETE FROM messages WHERE id <= (SELECT max(id) - 500 FROM messages);
DELETE FROM orders WHERE id <= (SELECT max(id) - 500 FROM orders);
