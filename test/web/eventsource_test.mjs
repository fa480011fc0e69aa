// A page's own EventSource in headless Chromium, against the real server that is restarted under it.
//     ROWTAP_BIN=build/rowtap node --test --test-reporter=tap test/web/eventsource_test.mjs
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {Browser, sleep} from './browser.mjs';
import {Server} from './serve.mjs';

const TIMEOUT = {timeout: 60000};
const TABLE = 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)';
let browser;

before(async () => {
    browser = await Browser.start();
}, TIMEOUT);

after(() => browser?.stop(), TIMEOUT);

// Opens the stream in a page of the server and waits until it is live.
async function listen(server, query) {
    await browser.open(`${server.url}/health`);
    await browser.until(`location.href.startsWith(${JSON.stringify(server.url)}) && document.readyState === 'complete'`);
    await browser.evaluate(`(() => {
        window.seen = [];
        window.source = new EventSource('/api/changes?${query}');
        source.onmessage = (e) => seen.push(JSON.parse(e.data).data.name);
        for (const name of ['subscribed', 'resync', 'snapshot'])
            source.addEventListener(name, (e) => seen.push(name + ' ' + (JSON.parse(e.data).reason ?? '')));
        source.onerror = (e) => { if (e.data === undefined) seen.push('error ' + source.readyState); };
    })()`);
}

const insert = (server, name) => server.sql('INSERT INTO users (name) VALUES (?)', [name]);

const saw = (...wanted) => browser.until(
    `JSON.stringify(seen) === ${JSON.stringify(JSON.stringify(wanted))}`, `${wanted}`)
    .catch(async (error) => assert.fail(`${error.message}; seen: ${await browser.evaluate('JSON.stringify(seen)')}`));

async function restart(server, options, meanwhile = async () => {}) {
    const {listen} = server;
    await server.halt();
    await server.run(listen, options);
    await meanwhile();
}

test('it reconnects by itself and misses nothing, not even while the server was down', TIMEOUT, async () => {
    const options = ['--journal'];
    const server = await Server.start({options});
    try {
        await server.sql(TABLE);
        await listen(server, 'table=users');
        await saw('subscribed ');
        await insert(server, 'Ada');
        await saw('subscribed ', 'Ada');
        await restart(server, options, () => insert(server, 'Bea'));
        await saw('subscribed ', 'Ada', 'error 0', 'subscribed ', 'Bea');
        await insert(server, 'Cem');
        await saw('subscribed ', 'Ada', 'error 0', 'subscribed ', 'Bea', 'Cem');
    } finally {
        await server.stop();
    }
});

test('without a journal it is told that the past is lost', TIMEOUT, async () => {
    const server = await Server.start();
    try {
        await server.sql(TABLE);
        await listen(server, 'table=users');
        await saw('subscribed ');
        await restart(server, [], () => insert(server, 'Ada'));
        await saw('subscribed ', 'error 0', 'subscribed ', 'resync epoch_changed');
        await insert(server, 'Bea');
        await saw('subscribed ', 'error 0', 'subscribed ', 'resync epoch_changed', 'Bea');
    } finally {
        await server.stop();
    }
});

test('it gives up at a table that is not there', TIMEOUT, async () => {
    const server = await Server.start();
    try {
        await listen(server, 'table=nope');
        await saw('error 2');
    } finally {
        await server.stop();
    }
});

test('it comes back to a full server until there is a place', TIMEOUT, async () => {
    const server = await Server.start({options: ['--max-connections', '1']});
    try {
        await server.sql(TABLE);
        const held = new AbortController();
        const response = await fetch(`${server.url}/api/changes`,
            {headers: {Accept: 'text/event-stream'}, signal: held.signal});
        await listen(server, 'table=users');
        await saw('error 0');
        await sleep(500);
        held.abort();
        await response.text().catch(() => {});
        await saw('error 0', 'subscribed ');
    } finally {
        await server.stop();
    }
});
