// The page at / in headless Chromium against the real server.
//     ROWTAP_BIN=build/rowtap [SCREENSHOT=console.png] node --test --test-reporter=tap test/web/console_test.mjs
// CHROMIUM names the browser if it is not "chromium".
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {Browser} from './browser.mjs';
import {Secret, Server} from './serve.mjs';

const TIMEOUT = {timeout: 60000};
let server;
let browser;

// What the feed shows, newest first: each row's badge, table, key and values, without the time.
const feed = () => browser.evaluate(`[...document.querySelectorAll('#feed > li')].map((row) =>
    row.className.includes('notice') ? row.textContent
        : [...row.querySelectorAll('.badge, .table, .key, .values')].map((e) => e.textContent.trim().replace(/\\s+/g, ' ')).join(' | '))`);

const text = (selector) => browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).textContent`);

// Waits until the feed's newest row contains that text.
const newest = (part) => browser.until(
    `document.querySelector('#feed > li')?.textContent.includes(${JSON.stringify(part)})`, `${part} at the top of the feed`);

async function typeInto(selector, value) {
    await browser.click(selector);
    await browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).select()`);
    if (value) await browser.type(value);
    else await browser.press('Delete', {keyCode: 46});
}

async function choose(table) {
    await browser.evaluate(`(() => {
        const select = document.getElementById('table');
        select.value = ${JSON.stringify(table)};
        select.dispatchEvent(new Event('change'));
    })()`);
}

const enter = (ctrl = false) => browser.press('Enter', {keyCode: 13, ctrl, text: ctrl ? undefined : '\r'});

before(async () => {
    server = await Server.start();
    await server.sql('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT, photo BLOB)');
    browser = await Browser.start();
    await browser.open(server.url);
}, TIMEOUT);

after(async () => {
    await browser?.stop();
    await server?.stop();
}, TIMEOUT);

test('the page loads, connects and shows the tables', TIMEOUT, async () => {
    await browser.until(`document.getElementById('state').textContent === 'Connected'`);
    await browser.until(`document.querySelector('#tables summary')`);
    assert.equal(await text('#tables summary'), 'users');
    const columns = await browser.evaluate(
        `[...document.querySelectorAll('#tables dt, #tables dd')].map((e) => e.textContent).join(' | ')`);
    assert.equal(columns, 'id | INTEGER key | name | TEXT not null | age | INT | photo | BLOB');
    await browser.until(`document.getElementById('clients').textContent === '1'`);
    assert.match(await text('#database'), /test\.db$/);
});

test('a view can be browsed, not watched', TIMEOUT, async () => {
    await server.sql('CREATE VIEW names AS SELECT name FROM users');
    await browser.open(server.url);
    await browser.until(`document.querySelectorAll('#tables summary').length === 2`);
    const actions = await browser.evaluate(
        `[...document.querySelectorAll('#tables .actions')].map((e) => e.textContent).join(' | ')`);
    const choices = await browser.evaluate(`[...document.getElementById('table').options].map((o) => o.value).join(' | ')`);
    assert.deepEqual([actions, choices], ['Browse | WatchBrowse', '* | users']);
    await server.sql('DROP VIEW names');
    await browser.open(server.url);
    await browser.until(`document.querySelectorAll('#tables summary').length === 1`);
    await browser.until(`document.getElementById('state').textContent === 'Connected'`);
});

test('changes appear as they are committed, newest first', TIMEOUT, async () => {
    await server.sql("INSERT INTO users (name, age, photo) VALUES ('Ada', 36, x'00ff')");
    await server.sql("UPDATE users SET age = 37, photo = NULL WHERE name = 'Ada'");
    await server.sql("DELETE FROM users WHERE name = 'Ada'");
    await newest('DELETE');
    assert.deepEqual((await feed()).slice(0, 3), [
        'DELETE | users | 1 | name Ada age 37 photo NULL',
        "UPDATE | users | 1 | age 36 → 37 photo x'00ff' → NULL name Ada",
        "INSERT | users | 1 | name Ada age 36 photo x'00ff'",
    ]);
});

test('what is in the database is never taken for markup', TIMEOUT, async () => {
    const nasty = '<img src=x onerror=alert(1)><script>alert(2)</script>';
    await server.sql('INSERT INTO users (name) VALUES (?)', [nasty]);
    await server.sql(`CREATE TABLE "<b>bold" ("<i>col" TEXT)`);
    await newest('CREATE');
    assert.ok((await feed())[1].includes(nasty));
    assert.equal(await browser.evaluate(`document.querySelectorAll('img, main script, b b, nav b, i').length`), 0);
    await server.sql('DROP TABLE "<b>bold"');
    await newest('DROP');
});

test('big integers are shown to the last digit', TIMEOUT, async () => {
    await server.sql("INSERT INTO users (name, age) VALUES ('big', 9223372036854775807)");
    await newest('9223372036854775807');
});

test('a row opens to all its columns', TIMEOUT, async () => {
    await server.sql("UPDATE users SET age = 1 WHERE name = 'big'");
    await newest('UPDATE');
    await browser.evaluate(`document.getElementById('feed').focus()`);
    await browser.press('ArrowDown', {keyCode: 40});
    await enter();
    await browser.until(`document.querySelector('#feed .whole')`);
    const changed = await browser.evaluate(`document.querySelector('#feed .whole tr.changed').textContent`);
    assert.equal(changed, 'age92233720368547758071');
});

test('a filter is applied by the server', TIMEOUT, async () => {
    await choose('users');
    await typeInto('#filter', 'age >= 18');
    await enter();
    await newest('Watching users where age >= 18');
    await server.sql("INSERT INTO users (name, age) VALUES ('young', 5), ('old', 50)");
    await newest('old');
    const rows = await feed();
    assert.ok(rows[0].includes('| name old age 50'));
    assert.ok(rows[1].startsWith('Watching'), rows[1]);
});

test('a wrong filter shows the server\'s message and leaves the stream as it was', TIMEOUT, async () => {
    await typeInto('#filter', 'shoe_size = 45');
    await browser.until(`document.getElementById('filter-error').textContent`);
    assert.match(await text('#filter-error'), /shoe_size/);
    assert.equal(await browser.evaluate(`document.getElementById('filter').getAttribute('aria-invalid')`), 'true');
    await server.sql("INSERT INTO users (name, age) VALUES ('young2', 5), ('old2', 52)");
    await newest('old2');
    await typeInto('#filter', '');
    await newest('Watching users');
    assert.equal(await text('#filter-error'), '');
});

test('events can be left out', TIMEOUT, async () => {
    await browser.click('input[value="INSERT"]');
    await newest('UPDATE and DELETE only');
    await server.sql("INSERT INTO users (name) VALUES ('hidden'); UPDATE users SET age = 3 WHERE name = 'hidden'");
    await newest('hidden');
    assert.ok((await feed())[0].startsWith('UPDATE'));
    assert.ok((await feed())[1].startsWith('Watching'));
    await browser.click('input[value="INSERT"]');
    await choose('*');
    await newest('Watching all tables');
});

test('SQL runs with Ctrl+Enter and its result is shown', TIMEOUT, async () => {
    await typeInto('#sql', "SELECT 1 AS one, NULL AS none, x'0102' AS bytes, 9223372036854775807 AS big");
    await enter(true);
    await browser.until(`document.querySelector('#rows td')`);
    const cells = await browser.evaluate(`[...document.querySelectorAll('#rows th, #rows td')].map((e) => e.textContent).join(' | ')`);
    assert.equal(cells, "one | none | bytes | big | 1 | NULL | x'0102' | 9223372036854775807");
    assert.match(await text('#sql-status'), /^1 row · /);
    assert.deepEqual(browser.problems, []);
});

test('a table that is browsed stays as it is in the database', TIMEOUT, async () => {
    const cells = () => browser.evaluate(`[...document.querySelectorAll('#rows tr')].map((row) =>
        [...row.children].map((e) => e.textContent).join(' | '))`);
    const status = (part) => browser.until(`document.getElementById('sql-status').textContent.startsWith(${JSON.stringify(part)})`);
    await server.sql("CREATE TABLE stock (id INTEGER PRIMARY KEY, item TEXT, n INT); INSERT INTO stock VALUES (1, 'tea', 4), (2, 'rice', 9)");
    await browser.until(`document.querySelector('#tables [data-name=stock]')`);
    await browser.evaluate(`document.querySelector('#tables [data-name=stock]').open = true`);
    await browser.evaluate(`document.querySelector('#tables [data-name=stock] .actions button:last-child').click()`);
    await status('2 rows');
    assert.match(await text('#sql-status'), /^2 rows · seq \d+ · live$/);
    assert.deepEqual(await cells(), ['id | item | n', '1 | tea | 4', '2 | rice | 9']);
    await server.sql("UPDATE stock SET n = 3 WHERE id = 1; DELETE FROM stock WHERE id = 2; INSERT INTO stock VALUES (7, '<b>', 1), (8, 'x', 2)");
    await status('3 rows');
    if (process.env.SCREENSHOT_LIVE) await browser.screenshot(process.env.SCREENSHOT_LIVE);
    assert.deepEqual(await cells(), ['id | item | n', '1 | tea | 3', '7 | <b> | 1', '8 | x | 2']);
    await server.sql("ALTER TABLE stock ADD COLUMN note TEXT DEFAULT 'new'");
    await browser.until(`document.querySelector('#rows th:nth-child(4)')`);
    assert.equal((await cells())[1], '1 | tea | 3 | new');
    await server.sql('DELETE FROM stock');
    await status('0 rows');
    assert.deepEqual(await cells(), ['id | item | n | note']);
    await server.sql('DROP TABLE stock');
    await typeInto('#sql', 'SELECT 2 AS two');
    await enter(true);
    await status('1 row · ');
    assert.ok(!(await text('#sql-status')).includes('live'));
    assert.deepEqual(await cells(), ['two', '2']);
});

test('SQL\'s errors show where', TIMEOUT, async () => {
    await typeInto('#sql', "SELECT 'é',\n  nope FROM users");
    await enter(true);
    await browser.until(`!document.getElementById('sql-error').hidden`);
    assert.match(await text('#sql-error'), /nope[^]*\n\n {2}nope FROM users\n {2}\^$/);
    // The browser itself logs the status 400.
    assert.ok(browser.problems.every((p) => /400/.test(p)), browser.problems.join('\n'));
    browser.problems.length = 0;
});

test('a long query shows rows and progress while it runs, and Escape cancels it', TIMEOUT, async () => {
    await typeInto('#sql', 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000000) SELECT i FROM c');
    await enter(true);
    await browser.until(`!document.getElementById('sql-progress').hidden`);
    await browser.until(`document.querySelectorAll('#rows tr').length > 100`);
    assert.match(await text('#sql-status'), /^Running · [\d,]+ rows · /);
    assert.equal(await browser.evaluate(`document.getElementById('run').hidden`), true);
    if (process.env.SCREENSHOT_QUERY) await browser.screenshot(process.env.SCREENSHOT_QUERY);
    await browser.press('Escape', {keyCode: 27});
    await browser.until(`document.getElementById('sql-status').textContent.startsWith('Cancelled after')`);
    assert.equal(await browser.evaluate(`document.getElementById('sql-progress').hidden`), true);
    assert.equal(await browser.evaluate(`document.querySelectorAll('#rows tbody tr').length`), 200);
});

test('a statement that writes says how many rows it changed', TIMEOUT, async () => {
    await typeInto('#sql', "UPDATE users SET age = age WHERE name = 'big'");
    await enter(true);
    await browser.until(`/^1 row changed · /.test(document.getElementById('sql-status').textContent)`);
});

test('channels: join, send, see who is there, leave', TIMEOUT, async () => {
    const messages = () => browser.evaluate(`[...document.querySelectorAll('#messages > li')].map((e) => e.textContent.replace(/\\s+/g, ' '))`);
    const join = async (name) => {
        await typeInto('#channel', name);
        await enter();
        await browser.until(`document.querySelector('#messages > li')?.textContent === 'Joined ${name}'`);
    };
    await browser.click('#tab-channels');
    await join('room:1');
    await join('collaboration');
    await browser.until(`document.querySelector('#users li')?.textContent.endsWith('(you)')`);
    await typeInto('#send-channel', 'room:1');
    await typeInto('#event', 'said');
    await typeInto('#data', '{"text":"<b>hi</b>"}');
    await enter();
    await browser.until(`document.getElementById('sent').textContent === 'Delivered to 1 connection'`);
    await browser.until(`document.querySelector('#messages > li')?.textContent.includes('<b>hi</b>')`);
    assert.match((await messages())[0], /said ?room:1.*text <b>hi/);
    if (process.env.SCREENSHOT_CHANNELS) await browser.screenshot(process.env.SCREENSHOT_CHANNELS);
    await typeInto('#data', '{"text":');
    await enter();
    await browser.until(`document.getElementById('sent').textContent === 'the data is not valid JSON'`);
    await browser.click('#joined li:first-child button');
    await browser.until(`document.querySelectorAll('#joined li').length === 1`);
    await typeInto('#data', 'late');
    await enter();
    await browser.until(`document.getElementById('sent').textContent === 'Delivered to 0 connections'`);
    await typeInto('#channel', 'no such');
    await enter();
    await browser.until(`document.getElementById('channel-error').textContent`);
    assert.equal(await browser.evaluate(`document.querySelectorAll('#joined li').length`), 1);
});

test('the server\'s figures and everybody\'s queries, by keyboard', TIMEOUT, async () => {
    await browser.evaluate(`document.getElementById('tab-channels').focus()`);
    await browser.press('ArrowRight', {keyCode: 39});
    await browser.until(`document.querySelectorAll('#figures .card').length >= 4`);
    assert.equal(await browser.evaluate(`document.getElementById('channels').hidden`), true);
    assert.match(await text('#figures'), /round trip[\d.]+ ms/);
    await browser.until(`document.querySelector('#client-list tbody tr')`);
    await typeInto('#sql', 'SELECT count(*) FROM users');
    await enter(true);
    await browser.until(`/count.*done$/.test(document.querySelector('#query-list tbody tr')?.textContent ?? '')`);
    if (process.env.SCREENSHOT_SERVER) await browser.screenshot(process.env.SCREENSHOT_SERVER);
    await browser.evaluate(`document.getElementById('tab-server').focus()`);
    await browser.press('1', {keyCode: 49, text: '1'});
    assert.equal(await browser.evaluate(`document.getElementById('changes').hidden`), false);
});

test('pause holds the feed back, clear empties it', TIMEOUT, async () => {
    const before = (await feed()).length;
    await browser.click('#pause');
    await server.sql("INSERT INTO users (name) VALUES ('held')");
    await browser.until(`document.getElementById('pause').textContent === 'Resume (1)'`);
    assert.equal((await feed()).length, before);
    await browser.click('#pause');
    await newest('held');
    if (process.env.SCREENSHOT) await browser.screenshot(process.env.SCREENSHOT);
    await browser.click('#clear');
    assert.deepEqual(await feed(), []);
});

test('the page stays bounded', TIMEOUT, async () => {
    await server.sql('WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) '
        + "INSERT INTO users (name) SELECT 'bulk ' || i FROM c");
    await newest('bulk 3000');
    assert.equal((await feed()).length, 500);
});

test('it fits a narrow window', TIMEOUT, async () => {
    await browser.resize(400, 800);
    for (const tab of ['channels', 'server', 'changes']) {
        await browser.click(`#tab-${tab}`);
        assert.ok(await browser.evaluate('document.documentElement.scrollWidth') <= 400, tab);
    }
    await browser.resize(1280, 800);
});

test('it comes back after a restart of the server', TIMEOUT, async () => {
    await server.halt();
    await browser.until(`document.getElementById('state').textContent.startsWith('Disconnected')`);
    await server.run(server.listen);
    await browser.until(`document.getElementById('state').textContent === 'Connected'`);
    await server.sql("INSERT INTO users (name) VALUES ('back')");
    await newest('back');
    // While it was away, connecting failed: the browser logs that by itself.
    browser.problems = browser.problems.filter((p) => !/ERR_CONNECTION_REFUSED|WebSocket connection/.test(p));
});

test('a server with keys asks for a token, and takes one from the address', TIMEOUT, async () => {
    const secret = new Secret();
    const guarded = await Server.start({options: secret.options});
    const now = Math.floor(Date.now() / 1000);
    try {
        await browser.open(guarded.url);
        await browser.until(`document.getElementById('sign-in').open`);
        assert.equal(await text('#sign-in-error'), '');
        await browser.click('#token');
        await browser.type(secret.token({sub: 'ann', exp: now - 10}));
        await browser.click('#sign-in button');
        await browser.until(`document.getElementById('sign-in-error').textContent === 'the token has expired'`);
        if (process.env.SCREENSHOT_TOKEN) await browser.screenshot(process.env.SCREENSHOT_TOKEN);
        await browser.click('#token');
        await browser.type(secret.token({sub: 'ann', exp: now + 600}));
        await browser.click('#sign-in button');
        await browser.until(`document.getElementById('state').textContent === 'Connected'`);
        await guarded.sql('CREATE TABLE t (n INT)', [], secret.token({sub: 'bob'}));
        await newest('t');
        await browser.evaluate('sessionStorage.clear()');
        await browser.open(`${guarded.url}/?#token=${secret.token({sub: 'ann'})}`);
        await browser.until(`document.getElementById('state').textContent === 'Connected'`);
        assert.equal(await browser.evaluate('location.href'), `${guarded.url}/`);
    } finally {
        await guarded.stop();
        secret.remove();
    }
    browser.problems = browser.problems.filter((p) => !/401|ERR_CONNECTION_REFUSED|WebSocket connection/.test(p));
});

test('nothing was logged as an error', () => {
    assert.deepEqual(browser.problems, []);
});
