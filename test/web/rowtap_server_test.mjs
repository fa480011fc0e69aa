// The client library against the real server, with npm's ws where Node has no WebSocket of its own.
//     ROWTAP_BIN=build/gcc/rowtap node --test --test-reporter=tap test/web/rowtap_server_test.mjs
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {after, before, test} from 'node:test';
import {isDeepStrictEqual} from 'node:util';
import {connect} from '../../src/web/rowtap.js';
import {Secret, Server} from './serve.mjs';

function packagedWebSocket() {
    try {
        return createRequire(new URL('../e2e/', import.meta.url))('ws');
    } catch {
        return undefined;
    }
}

const WebSocket = globalThis.WebSocket ?? packagedWebSocket();
const TIMEOUT = {timeout: 30000, skip: WebSocket ? false : 'there is no WebSocket here: npm ci in test/e2e'};
let server;
let client;

// Takes the next n items of an iterable.
async function take(iterable, n) {
    const items = [];
    for await (const item of iterable) {
        items.push(item);
        if (items.length === n) return items;
    }
    return items;
}

before(async () => {
    if (!WebSocket) return;
    server = await Server.start();
    client = connect(server.url, {WebSocket, reconnect: {min: 50, max: 200}});
    await client.sql('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, age INT, n, b)');
});

after(async () => {
    if (!WebSocket) return;
    client.close();
    await server.stop();
});

test('a change arrives with its values as they are', TIMEOUT, async () => {
    const subscription = client.subscribe('users');
    await subscription.ready;
    const bytes = Uint8Array.from({length: 256}, (_, i) => i);
    const {seq, changes} = await client.sql('INSERT INTO users (name, age, n, b) VALUES (?, 36, ?, ?)',
        ['Ada "12345678901234567"\u0000', 9223372036854775807n, bytes]);
    assert.equal(changes, 1);
    const [change] = await take(subscription, 1);
    assert.equal(change.seq, seq);
    assert.deepEqual([change.event, change.table, change.key], ['INSERT', 'users', {id: 1}]);
    assert.deepEqual(change.data,
        {id: 1, name: 'Ada "12345678901234567"\u0000', age: 36, n: 9223372036854775807n, b: bytes});
});

test('SQL gives back what it was given', TIMEOUT, async () => {
    const values = [-9223372036854775808n, 9007199254740991, 9007199254740993n, 0.5, Infinity, -Infinity, null, '',
        'é漢😀"\\', new Uint8Array(), new Uint8Array([0, 255])];
    const {columns, rows} = await client.sql(`SELECT ${values.map((_, i) => `?${i + 1} AS c${i}`).join(', ')}`, values);
    assert.deepEqual(columns, values.map((_, i) => `c${i}`));
    assert.deepEqual(rows, [values]);
});

test('parameters by name', TIMEOUT, async () => {
    const {rows} = await client.sql('SELECT :a, :b', {a: 1, b: 'two'});
    assert.deepEqual(rows, [[1, 'two']]);
});

test('an error of SQL has code, status and place', TIMEOUT, async () => {
    await assert.rejects(client.sql('SELECT nope FROM users'),
        (e) => e.code === 'SQL_ERROR' && e.status === 400 && /nope/.test(e.message) && e.offset === 7);
});

test('a transaction is all or nothing', TIMEOUT, async () => {
    await assert.rejects(client.transaction([{sql: "INSERT INTO users (name) VALUES ('x')"}, {sql: 'nonsense'}]),
        {code: 'SQL_ERROR'});
    const {rows} = await client.sql("SELECT count(*) FROM users WHERE name = 'x'");
    assert.deepEqual(rows, [[0]]);
});

test('filters, events and transitions', TIMEOUT, async () => {
    const adults = client.subscribe('users', {filter: 'age >= 18', events: ['UPDATE']});
    await adults.ready;
    await client.sql("INSERT INTO users (id, name, age) VALUES (10, 'Bo', 17), (11, 'Cy', 40)");
    await client.sql('UPDATE users SET age = age + 1 WHERE id >= 10');
    await client.sql('UPDATE users SET age = 5 WHERE id = 11');
    const changes = await take(adults, 3);
    assert.deepEqual(changes.map((c) => [c.key.id, c.transition, c.old.age, c.data.age]),
        [[10, 'enter', 17, 18], [11, undefined, 40, 41], [11, 'leave', 41, 5]]);
});

test('what cannot be subscribed to is an error', TIMEOUT, async () => {
    const quiet = {onError() {}};
    await assert.rejects(client.subscribe('nope', quiet).ready, {code: 'NOT_FOUND'});
    await assert.rejects(client.subscribe('users', {...quiet, filter: 'nope = 1'}).ready, {code: 'INVALID_FILTER'});
    await assert.rejects(client.subscribe('users', {...quiet, filter: ''}).ready, {code: 'INVALID_FILTER'});
});

test('DDL comes on channel tables', TIMEOUT, async () => {
    const tables = client.channel('tables');
    await tables.ready;
    await client.sql('CREATE TABLE made (a PRIMARY KEY, b); ALTER TABLE made RENAME TO remade; DROP TABLE remade');
    const messages = await take(tables, 3);
    assert.deepEqual(messages.map((m) => [m.type, m.data.tableName]),
        [['table:created', 'made'], ['table:altered', 'remade'], ['table:dropped', 'remade']]);
});

test('a ping is answered', TIMEOUT, async () => {
    assert.ok(await client.ping() < 5000);
});

test('unsubscribing stops the stream', TIMEOUT, async () => {
    const seen = [];
    const subscription = client.subscribe('users', {onChange: (c) => seen.push(c)});
    await subscription.ready;
    subscription.unsubscribe();
    const other = client.subscribe('users');
    await other.ready;
    await client.sql("INSERT INTO users (name) VALUES ('unseen')");
    await take(other, 1);
    assert.deepEqual(seen, []);
});

test('a thousand changes arrive once each, in order', TIMEOUT, async () => {
    const all = client.subscribe('*');
    await all.ready;
    const writes = Array.from({length: 100}, (_, i) => client.sql(
        'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 10) '
        + 'INSERT INTO users (name, n) SELECT ?, i FROM c', [`w${i}`]));
    const changes = await take(all, 1000);
    await Promise.all(writes);
    changes.forEach((c, i) => assert.equal(c.seq, changes[0].seq + i));
    assert.equal(new Set(changes.map((c) => `${c.data.name} ${c.data.n}`)).size, 1000);
});

// What a view of `where` must hold.
async function rowsOf(where) {
    const {columns, rows} = await client.sql(`SELECT * FROM notes WHERE ${where} ORDER BY id`);
    return rows.map((row) => Object.fromEntries(row.map((v, i) => [columns[i], v])));
}

const sorted = (view) => [...view.rows.values()].sort((a, b) => a.id - b.id);

// Waits until the view is what the table is.
async function agrees(view, where) {
    const wanted = await rowsOf(where);
    for (let i = 0; i < 1000 && !(view.current && isDeepStrictEqual(sorted(view), wanted)); i++) {
        await new Promise((r) => { setTimeout(r, 10); });
    }
    assert.ok(view.current, 'the view did not become current');
    assert.deepEqual(sorted(view), wanted);
}

test('a view is the table, whatever happens to rows and the connection', TIMEOUT, async () => {
    await client.sql('CREATE TABLE notes (id INTEGER PRIMARY KEY, n INT, text)');
    await client.sql('WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500) '
        + "INSERT INTO notes SELECT i, i % 10, 'note ' || i FROM c");
    const all = client.view('notes');
    const some = client.view('notes', {filter: 'n > 4'});
    await Promise.all([all.ready, some.ready]);
    assert.equal(all.rows.size, 500);
    for (let round = 0; round < 4; round++) {
        const writes = ['UPDATE notes SET n = (n + 3) % 10 WHERE id % 3 = 0',
            'UPDATE notes SET id = (SELECT max(id) FROM notes) + id WHERE n = 7',
            'DELETE FROM notes WHERE id % 11 = 0', `INSERT INTO notes (n, text) VALUES (${round}, 'a'), (9, 'b')`];
        for (const sql of writes) await client.sql(sql);
        if (round === 1) client._socket.close();
        if (round === 2) {
            await server.halt();
            await server.run(server.listen);
        }
        await client.sql("INSERT INTO notes (n, text) VALUES (5, 'last')");
        await agrees(all, '1');
        await agrees(some, 'n > 4');
    }
    all.close();
    some.close();
});

test('a view follows its table when that is altered, dropped and created again', TIMEOUT, async () => {
    await client.sql("CREATE TABLE Plants (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO Plants VALUES (1, 'oak')");
    const view = client.view('plants');
    await view.ready;
    const holds = async (...rows) => {
        for (let i = 0; i < 1000 && !(view.current && isDeepStrictEqual(sorted(view), rows)); i++) {
            await new Promise((r) => { setTimeout(r, 10); });
        }
        assert.deepEqual(sorted(view), rows);
    };
    await holds({id: 1, name: 'oak'});
    await client.sql("ALTER TABLE Plants ADD COLUMN h INT DEFAULT 7; INSERT INTO Plants VALUES (2, 'ash', 8)");
    await holds({id: 1, name: 'oak', h: 7}, {id: 2, name: 'ash', h: 8});
    await client.sql('DROP TABLE Plants');
    await holds();
    await client.sql("CREATE TABLE plants (id INTEGER PRIMARY KEY, x); INSERT INTO plants VALUES (3, 'x')");
    await holds({id: 3, x: 'x'});
    await client.sql('ALTER TABLE plants RENAME TO trees');
    await holds();
    client._socket.close();
    await client.sql('INSERT INTO trees VALUES (4, 1); ALTER TABLE trees RENAME TO plants; INSERT INTO plants VALUES (5, 1)');
    await holds({id: 3, x: 'x'}, {id: 4, x: 1}, {id: 5, x: 1});
    assert.ok(!view.closed);
    view.close();
    await client.sql('DROP TABLE plants');
});

test('a view shows whole transactions, also long ones', TIMEOUT, async () => {
    await client.sql('CREATE TABLE pairs (id INTEGER PRIMARY KEY, n INT, pad TEXT)');
    const sums = new Set();
    const sizes = new Set();
    const view = client.view('pairs', {onChange: ({rows}) => {
        sizes.add(rows.size);
        sums.add([...rows.values()].reduce((sum, {n}) => sum + n, 0));
    }});
    await view.ready;
    const fill = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 4000) '
        + "INSERT INTO pairs SELECT NULL, 1 - i % 2 * 2, hex(zeroblob(200)) FROM c";
    await client.sql(fill);
    for (let i = 0; i < 20; i++) {
        await client.sql(`BEGIN; UPDATE pairs SET n = n + ${i} WHERE id = 1; UPDATE pairs SET n = n - ${i} WHERE id = 2; COMMIT`);
        if (i === 10) client._socket.close();
    }
    await client.sql('DELETE FROM pairs');
    for (let i = 0; i < 1000 && !(sizes.has(4000) && view.rows.size === 0); i++) await new Promise((r) => { setTimeout(r, 10); });
    assert.deepEqual([[...sums], [...sizes]], [[0], [0, 4000]]);
    view.close();
});

test('a view has a bound', TIMEOUT, async () => {
    await client.sql('CREATE TABLE many (id INTEGER PRIMARY KEY); INSERT INTO many VALUES (1), (2), (3)');
    const errors = [];
    const onError = ({code}) => errors.push(code);
    const small = client.view('many', {maxRows: 2, onError});
    await assert.rejects(small.ready, {code: 'LIMIT_EXCEEDED'});
    const large = await client.view('many', {maxRows: 3, onError}).ready;
    await client.sql('INSERT INTO many VALUES (4)');
    for (let i = 0; i < 500 && errors.length < 2; i++) await new Promise((r) => { setTimeout(r, 10); });
    assert.deepEqual([errors, large.closed, large.current], [['LIMIT_EXCEEDED', 'LIMIT_EXCEEDED'], true, false]);
    await assert.rejects(client.view('nosuch', {onError}).ready, {code: 'NOT_FOUND'});
});

test('a snapshot comes in parts, then changes', TIMEOUT, async () => {
    const seen = [];
    const subscription = client.subscribe('notes', {snapshot: true, columns: ['id'],
        onSnapshot: (rows, info) => seen.push({rows, ...info}), onChange: (c) => seen.push(c)});
    await subscription.ready;
    const {seq} = await client.sql("INSERT INTO notes (n, text) VALUES (1, 'x')");
    for (let i = 0; i < 500 && seen.at(-1)?.event !== 'INSERT'; i++) await new Promise((r) => { setTimeout(r, 10); });
    assert.equal(seen.at(-1).seq, seq);
    const pages = seen.filter((s) => s.rows);
    assert.deepEqual([pages[0].first, pages.at(-1).last, pages[0].seq], [true, true, subscription.seq - 1]);
    assert.equal(pages.flatMap((p) => p.rows).length, (await rowsOf('1')).length - 1);
    subscription.unsubscribe();
    assert.throws(() => client.subscribe('notes', {snapshot: true}), TypeError);
});

test('after a restart of the server it is back and says what may be missing', TIMEOUT, async () => {
    const seen = [];
    const subscription = client.subscribe('users', {filter: "name = 'later'", onChange: (c) => seen.push(c.data.name)});
    await subscription.ready;
    const closed = new Promise((resolve) => client.on('close', resolve));
    const back = new Promise((resolve) => client.on('reconnected', resolve));
    await server.halt();
    assert.equal((await closed).code, 1012);
    await server.run(server.listen);
    assert.equal(typeof (await back).mayHaveMissed, 'boolean');
    const other = client.subscribe('users');
    await other.ready;
    await client.sql("INSERT INTO users (name) VALUES ('later')");
    await take(other, 1);
    assert.deepEqual(seen, ['later']);
});

// Queries over the socket

const COUNT = (n) => `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${n}) SELECT i FROM c`;

test('a query over the socket: values, parameters, errors', TIMEOUT, async () => {
    const {columns, rows, rowCount, duration} = await client.query("SELECT ? AS a, ? AS b, NULL AS c, 1.5 AS d, 'é' AS e",
        [9223372036854775807n, new Uint8Array([0, 255])]);
    assert.deepEqual([columns, rows, rowCount], [['a', 'b', 'c', 'd', 'e'],
        [[9223372036854775807n, new Uint8Array([0, 255]), null, 1.5, 'é']], 1]);
    assert.ok(duration >= 0);
    assert.deepEqual((await client.query('SELECT :x AS x', {':x': 3})).rows, [[3]]);
    await assert.rejects(client.query('SELECT nope'), (error) => error.code === 'SQL_ERROR' && error.offset === 7 && /nope/.test(error.message));
    const written = await client.query("INSERT INTO users (name) VALUES ('q'), ('r')");
    assert.deepEqual([written.changes, written.rows], [2, []]);
    await client.sql('DELETE FROM users');
});

test('a large result comes in pages: awaited, iterated over, and to a callback', TIMEOUT, async () => {
    const {rows} = await client.query(COUNT(12345));
    assert.equal(rows.length, 12345);
    assert.ok(rows.every(([i], at) => i === at + 1));
    let next = 1;
    let pages = 0;
    for await (const page of client.query(COUNT(12345))) {
        pages++;
        for (const [i] of page) assert.equal(i, next++);
    }
    assert.deepEqual([next, pages > 5], [12346, true]);
    let sum = 0;
    const progress = [];
    const result = await client.query(COUNT(1000000), [], {
        onRows: (page, {columns}) => { assert.deepEqual(columns, ['i']); for (const [i] of page) sum += i; },
        onProgress: ({rowCount}) => progress.push(rowCount),
    });
    assert.deepEqual([sum, result.rowCount, result.rows], [500000500000, 1000000, undefined]);
    assert.deepEqual(progress, [...progress].sort((a, b) => a - b));
});

test('a query that returns nothing for long has progress, and ends at once by its signal', TIMEOUT, async () => {
    const controller = new AbortController();
    const progress = [];
    const query = client.query(`SELECT count(*) FROM (${COUNT(1000000000)})`, [], {
        signal: controller.signal, onProgress: (p) => { if (progress.push(p) === 3) controller.abort(); },
    });
    await assert.rejects(query, {name: 'AbortError'});
    assert.ok(progress[2].elapsed - progress[0].elapsed < 1500, JSON.stringify(progress));
    const left = client.query(COUNT(100000000));
    for await (const page of left) { assert.equal(page[0][0], 1); break; }
    await assert.rejects(left, {code: 'QUERY_CANCELLED'});
    assert.deepEqual((await client.query('SELECT 1')).rows, [[1]]);
});

test('everybody\'s queries are on the channel, without rows and parameters', TIMEOUT, async () => {
    const heard = [];
    const other = connect(server.url, {WebSocket});
    const channel = other.channel('queries').on('*', (data, {type}) => heard.push({type, ...data}));
    await channel.ready;
    await client.query('SELECT ? AS secret', ['hush']);
    await assert.rejects(client.query('SELECT nope'));
    for (let i = 0; i < 200 && heard.length < 4; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    other.close();
    assert.deepEqual(heard.map(({type}) => type), ['query:started', 'query:complete', 'query:started', 'query:error']);
    assert.ok(!JSON.stringify(heard).includes('hush') && heard.every(({rows, results}) => !rows && !results), JSON.stringify(heard));
});

// Requests

test('many requests at once over the socket', TIMEOUT, async () => {
    const answers = await Promise.all(Array.from({length: 100}, (_, i) => client.request('sql', {sql: 'SELECT ? AS i', params: [i]})));
    assert.deepEqual(answers.map(({rows}) => rows[0][0]), Array.from({length: 100}, (_, i) => i));
    assert.equal((await client.request('health')).status, 'ok');
    assert.ok((await client.request('tables')).tables.some(({name}) => name === 'users'));
    await assert.rejects(client.request('sql', {sql: 'nonsense'}), {code: 'SQL_ERROR'});
    await assert.rejects(client.request('no such action'), {code: 'NOT_FOUND'});
});

// Channels and presence

const eventually = async (condition) => {
    for (let i = 0; i < 500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(condition(), String(condition));
};

test('broadcasts reach who is on the channel, in order, once', TIMEOUT, async () => {
    const others = await Promise.all([1, 2, 3].map(async () => {
        const other = connect(server.url, {WebSocket});
        const heard = [];
        const room = other.channel('room:1').on('n', (data) => heard.push(data));
        await room.ready;
        return {other, room, heard};
    }));
    const delivered = await Promise.all(Array.from({length: 100}, (_, i) => client.broadcast('room:1', 'n', {i, big: 2n ** 60n})));
    assert.ok(delivered.every((n) => n === 3), String(delivered));
    for (const {heard} of others) {
        await eventually(() => heard.length >= 100);
        assert.deepEqual(heard, Array.from({length: 100}, (_, i) => ({i, big: 2n ** 60n})));
    }
    assert.equal(await others[0].room.broadcast('n', null, {self: false}), 2);
    others[1].room.leave();
    await others[1].other.ping(); // the server has seen it leave
    assert.equal(await others[0].room.broadcast('n', null, {self: false}), 1);
    await assert.rejects(client.broadcast('no channel', 'n'), {code: 'INVALID_FORMAT'});
    for (const {other} of others) other.close();
});

test('presence: who is there, cursors, and a late joiner sees the same', TIMEOUT, async () => {
    const start = async () => {
        const each = connect(server.url, {WebSocket, reconnect: {min: 50, max: 200}});
        const team = each.presence('collaboration', {interval: 10});
        await team.ready;
        return {each, team};
    };
    const [one, two] = [await start(), await start()];
    await eventually(() => one.team.users.size === 2);
    for (let row = 0; row <= 50; row++) two.team.moveCursor({table: 'users', row, column: 'name'});
    const cursor = (team) => [...team.users.get(two.team.userId)?.cursors.values() ?? []].map(({table, row, column}) => ({table, row, column}))[0];
    await eventually(() => cursor(one.team)?.row === 50);
    const late = await start();
    assert.deepEqual(cursor(late.team), {table: 'users', row: 50, column: 'name'});
    assert.equal(late.team.users.size, 3);
    two.each.close();
    await eventually(() => one.team.users.size === 2 && late.team.users.size === 2);
    assert.deepEqual([...one.team.users.keys()].sort(), [one.team.userId, late.team.userId].sort());
    one.each.close();
    late.each.close();
});

test('a server with keys: refused without a token, and why; a token that ends is renewed in time', TIMEOUT, async () => {
    const secret = new Secret();
    const guarded = await Server.start({options: secret.options});
    const options = {WebSocket, reconnect: {min: 50, max: 200}};
    try {
        const stranger = connect(guarded.url, options);
        const error = await new Promise((refused) => stranger.on('error', refused));
        assert.deepEqual([error.code, error.status, stranger.state === 'open'], ['UNAUTHORIZED', 401, false]);
        stranger.close();
        let made = 0;
        const ann = connect(guarded.url, {...options, token: () => {
            made++;
            return secret.token({sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3});
        }});
        await ann.sql('CREATE TABLE t (n INT)');
        const subscription = ann.subscribe('t');
        await subscription.ready;
        const {connectionId} = ann; // its first token ends within 3 s, which are over below
        const before = made;
        await eventually(() => made > before);
        await new Promise((later) => setTimeout(later, 2000));
        await ann.sql('INSERT INTO t VALUES (1)');
        assert.deepEqual((await take(subscription, 1)).map((c) => c.data), [{n: 1}]);
        assert.equal(ann.connectionId, connectionId);
        ann.close();
    } finally {
        await guarded.stop();
        secret.remove();
    }
});
