// The client library against a WebSocket that the test plays.
//     node --test --test-reporter=tap test/web/rowtap_test.mjs
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {afterEach, mock, test} from 'node:test';
import {connect, parse, RowtapError, stringify} from '../../src/web/rowtap.js';
import {FakeSocket, settle, socketNumber} from './fake_socket.mjs';

// Names of groups stand in front of their cases', so that the TAP is flat.
let group = '';
const describe = (name, cases) => {
    group = name;
    cases();
};
const it = (name, run) => test(`${group}: ${name}`, run);

const fast = {min: 2, max: 4};
const open = [];

function start(options = {}) {
    const client = connect('http://db.test:8080', {WebSocket: FakeSocket, reconnect: fast, ...options});
    open.push(client);
    return client;
}

async function started(options, ack) {
    const before = FakeSocket.sockets.length;
    const client = start(options);
    const socket = await socketNumber(before + 1);
    socket.ack(ack);
    await settle();
    return {client, socket};
}

afterEach(() => {
    for (const client of open.splice(0)) client.close();
    FakeSocket.sockets.length = 0;
});

describe('values', () => {
    it('reads integers as numbers up to 2^53 and as BigInts past it', () => {
        assert.deepEqual(parse('[9007199254740991,9007199254740992,9007199254740993]'),
            [9007199254740991, 9007199254740992n, 9007199254740993n]);
        assert.deepEqual(parse('{"a":9223372036854775807,"b":-9223372036854775808,"c":-9007199254740991}'),
            {a: 9223372036854775807n, b: -9223372036854775808n, c: -9007199254740991});
    });

    it('leaves reals alone, however many digits they have', () => {
        assert.deepEqual(parse('[9223372036854775807.0,1e300,0.12345678901234567890,12345678901234567890e-5]'),
            [9223372036854775807.0, 1e300, 0.12345678901234567890, 12345678901234567890e-5]);
        assert.deepEqual(parse('[9e999,-9e999,12345678901234567]'), [Infinity, -Infinity, 12345678901234567n]);
    });

    it('leaves digits in texts and names alone', () => {
        for (const text of ['12345678901234567', 'a"12345678901234567', 'a\\', '\\"', ',12345678901234567,"', '\u0000']) {
            const row = {[text]: text, n: 12345678901234567n};
            assert.deepEqual(parse(stringify(row)), row);
        }
    });

    it('does not take a text for its own mark', () => {
        const marked = stringify({a: 'big-abc:12345678901234567'});
        assert.deepEqual(parse(marked), {a: 'big-abc:12345678901234567'});
    });

    it('reports broken JSON, cut at every byte', () => {
        const text = '{"a":[12345678901234567,"x\\"y",{"$base64":"AAEC"}],"b":9223372036854775807}';
        for (let i = 0; i < text.length; i++) assert.throws(() => parse(text.slice(0, i)), SyntaxError, text.slice(0, i));
        assert.deepEqual(parse(text).a[0], 12345678901234567n);
    });

    it('reads and writes blobs', () => {
        const all = Uint8Array.from({length: 256}, (_, i) => i);
        assert.deepEqual(parse(stringify({b: all})), {b: all});
        assert.equal(stringify(new Uint8Array([0, 1, 2])), '{"$base64":"AAEC"}');
        assert.equal(stringify(new Uint8Array([9, 0, 1, 2, 9]).subarray(1, 4)), '{"$base64":"AAEC"}');
        assert.equal(stringify(new Uint8Array([0, 1, 2]).buffer), '{"$base64":"AAEC"}');
        assert.deepEqual(parse('{"$base64":""}'), new Uint8Array());
        const big = new Uint8Array(100000).fill(7);
        assert.deepEqual(parse(stringify(big)), big);
    });

    it('takes only a lone and valid $base64 for a blob', () => {
        for (const value of [{$base64: 1}, {$base64: 'AA', more: 1}, {$base64: '*'}, {$base64: null}]) {
            assert.deepEqual(parse(JSON.stringify(value)), value);
        }
    });

    it('writes what JSON.stringify cannot', () => {
        assert.equal(stringify([1n, -9223372036854775808n, Infinity, -Infinity, NaN, undefined, null]),
            '[1,-9223372036854775808,9e999,-9e999,null,null,null]');
        assert.equal(stringify({a: undefined, b: () => 1, c: new Date(0), d: {e: [true]}}),
            '{"c":"1970-01-01T00:00:00.000Z","d":{"e":[true]}}');
        assert.equal(stringify({__proto__: null, '__proto__x': '"\\\n'}), '{"__proto__x":"\\"\\\\\\n"}');
    });

    it('reads a text of a million quotes and backslashes in bounded time', () => {
        const text = '\\"'.repeat(500000) + '12345678901234567';
        const begin = performance.now();
        assert.equal(parse(stringify({text, n: 12345678901234567n})).text, text);
        assert.ok(performance.now() - begin < 5000);
    });
});

describe('connecting', () => {
    it('finds the WebSocket and the API from either kind of address', () => {
        for (const [url, expected] of [
            ['http://h:1', 'ws://h:1/ws'], ['https://h', 'wss://h/ws'], ['ws://h:1/ws', 'ws://h:1/ws'],
            ['wss://h/proxy/ws', 'wss://h/proxy/ws'],
        ]) {
            const client = connect(url, {WebSocket: FakeSocket});
            assert.equal(client.url, expected);
            assert.equal(FakeSocket.sockets.at(-1).url, expected);
            client.close();
        }
    });

    it('says what is missing where there is no WebSocket', () => {
        const kept = globalThis.WebSocket;
        globalThis.WebSocket = undefined;
        try {
            assert.throws(() => connect('http://h'), /pass \{WebSocket\}/);
        } finally {
            globalThis.WebSocket = kept;
        }
    });

    it('refuses an address that is none', () => {
        assert.throws(() => connect('not an address', {WebSocket: FakeSocket}), /Invalid URL/);
    });

    it('reports open and remembers epoch and seq', async () => {
        const client = start();
        const acks = [];
        client.on('open', (ack) => acks.push(ack.connectionId));
        assert.equal(client.state, 'connecting');
        FakeSocket.sockets[0].ack({seq: 41, epoch: 'e7'});
        await settle();
        assert.deepEqual([client.state, client.seq, client.epoch, client.connectionId], ['open', 41, 'e7', 'c1']);
        assert.deepEqual(acks, ['c1']);
    });

    it('shows a token in the address, asked for again on every connect', async () => {
        let n = 0;
        const {client, socket} = await started({token: async () => `t+${++n}`});
        client.subscribe('users', {onChange() {}});
        await settle();
        assert.deepEqual(socket.sent.map((m) => m.type), ['subscribe']);
        assert.equal(new URL(socket.url).searchParams.get('token'), 't+1');
        assert.ok(!client.url.includes('token'));
        socket.drop();
        const next = await socketNumber(2);
        assert.equal(new URL(next.url).searchParams.get('token'), 't+2');
    });

    it('opens nothing after close(), however late the token comes', async () => {
        let give;
        const client = start({token: () => new Promise((ok) => { give = ok; })});
        client.close();
        give('t1');
        await settle();
        assert.equal(FakeSocket.sockets.length, 0);
    });

    it('tries again when there is no token to be had', async () => {
        let n = 0;
        const token = async () => {
            if (++n === 1) throw new Error('away');
            return 't2';
        };
        const errors = [];
        start({token}).on('error', (e) => errors.push(e.message));
        const socket = await socketNumber(1);
        assert.equal(new URL(socket.url).searchParams.get('token'), 't2');
        assert.deepEqual(errors, ['away']);
    });

    it('renews the token when the server says that it ends', async () => {
        let n = 0;
        const {client, socket} = await started({token: () => `t${++n}`});
        const errors = [];
        const answer = (data) => socket.say({type: 'auth_response', requestId: socket.last('auth').requestId, data});
        client.on('error', (e) => errors.push(e.code));
        socket.say({type: 'token_expiring', expiresAt: 1, data: {expiresAt: 1}});
        await settle();
        assert.equal(socket.last('auth').token, 't2');
        answer({success: true, userId: 'ann'});
        const renewed = client.renew();
        await settle();
        answer({success: false, error: {code: 'FORBIDDEN', message: 'of another user'}});
        await assert.rejects(renewed, {code: 'FORBIDDEN', message: 'of another user'});
        assert.deepEqual(errors, []);
        socket.say({type: 'token_expiring', expiresAt: 1, data: {expiresAt: 1}});
        await settle();
        answer({success: false, error: {code: 'UNAUTHORIZED', message: 'bad'}});
        await settle();
        assert.deepEqual(errors, ['UNAUTHORIZED']);
    });
});

describe('subscribing', () => {
    it('sends what was asked, and only that', async () => {
        const {client, socket} = await started();
        client.subscribe('users', {filter: ['age >= 18', 'city=Oslo'], events: ['INSERT'], columns: ['id'],
            batch: true, self: false, onChange() {}});
        assert.deepEqual(socket.sent, [{type: 'subscribe', table: 'users', filter: ['age >= 18', 'city=Oslo'],
            events: ['INSERT'], columns: ['id'], batch: true, self: false, requestId: 'r1'}]);
        client.subscribe('*', {onChange() {}});
        assert.deepEqual(socket.sent[1], {type: 'subscribe', table: '*', requestId: 'r2'});
    });

    it('waits for the connection', async () => {
        const client = start();
        const seen = [];
        const subscription = client.subscribe('users', {onChange: (c) => seen.push(c.seq)});
        const [socket] = FakeSocket.sockets;
        assert.deepEqual(socket.sent, []);
        socket.ack();
        await settle();
        socket.subscribed('s1', 5);
        socket.change(6);
        assert.equal(await subscription.ready, subscription);
        assert.deepEqual([seen, subscription.id, subscription.seq, client.seq], [[6], 's1', 6, 6]);
    });

    it('gives each subscription its own changes, in whatever order the answers come', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('users', {onChange: (c) => seen.push(`a${c.seq}`)});
        client.subscribe('users', {onChange: (c) => seen.push(`b${c.seq}`)});
        const [a, b] = socket.sent;
        socket.say({type: 'subscribed', requestId: b.requestId, data: {subscription: 's1', seq: 0}});
        socket.change(1, {subscriptions: ['s1']});
        socket.say({type: 'subscribed', requestId: a.requestId, data: {subscription: 's2', seq: 1}});
        socket.change(2, {subscriptions: ['s1', 's2']});
        socket.change(3, {subscriptions: ['s2']});
        assert.deepEqual(seen, ['b1', 'b2', 'a2', 'a3'].sort((x, y) => x[1] - y[1] || 0));
    });

    it('delivers a change that comes in the same turn as the answer', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('users', {onChange: (c) => seen.push(c.data.id)});
        socket.subscribed('s1');
        socket.change(1, {data: {id: 1}});
        assert.deepEqual(seen, [1]);
    });

    it('turns the values of changes', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('t', {onChange: (c) => seen.push(c.data)});
        socket.subscribed('s1');
        socket.say('{"type":"database_change","seq":1,"subscriptions":["s1"],"data":{"n":9223372036854775807,"b":{"$base64":"/w=="}}}');
        assert.deepEqual(seen, [{n: 9223372036854775807n, b: new Uint8Array([255])}]);
    });

    it('reports an error of the server to the subscription, with its code', async () => {
        const {client, socket} = await started();
        const errors = [];
        const subscription = client.subscribe('nope', {onChange() {}, onError: (e) => errors.push(e)});
        socket.say({type: 'error', requestId: 'r1', error: {code: 'NOT_FOUND', message: 'no such table: nope'}});
        assert.ok(errors[0] instanceof RowtapError);
        assert.deepEqual([errors.length, errors[0].code, errors[0].message], [1, 'NOT_FOUND', 'no such table: nope']);
        await assert.rejects(subscription.ready, {code: 'NOT_FOUND'});
        assert.equal(subscription.closed, true);
    });

    it('reports an error that nobody takes to the client', async () => {
        const {client, socket} = await started();
        const errors = [];
        client.on('error', (e) => errors.push(e.code));
        client.subscribe('nope', {onChange() {}});
        client.subscribe('nope');
        socket.say({type: 'error', requestId: 'r1', error: {code: 'NOT_FOUND', message: '…'}});
        socket.say({type: 'error', requestId: 'r2', error: {code: 'INVALID_FILTER', message: '…'}});
        socket.say({type: 'error', data: {code: 'RATE_LIMITED', message: '…'}});
        assert.deepEqual(errors, ['NOT_FOUND', 'INVALID_FILTER', 'RATE_LIMITED']);
    });

    it('ends a subscription that the server ends, and does not ask for it again', async () => {
        const {client, socket} = await started();
        const errors = [];
        const subscription = client.subscribe('users', {onChange() {}, onError: (e) => errors.push(e.message)});
        socket.subscribed('s1');
        const error = {code: 'INVALID_FILTER', message: 'column age is gone', subscription: 's1'};
        socket.say({type: 'error', error, data: error});
        assert.deepEqual([errors, subscription.closed], [['column age is gone'], true]);
        socket.drop();
        const next = await socketNumber(2);
        next.ack();
        await settle();
        assert.deepEqual(next.sent, []);
    });

    it('stops on unsubscribe at once, also before the server answered', async () => {
        const {client, socket} = await started();
        const seen = [];
        const a = client.subscribe('users', {onChange: (c) => seen.push(c.seq)});
        socket.subscribed('s1');
        a.unsubscribe();
        a.unsubscribe();
        socket.change(1);
        assert.deepEqual(socket.sent.slice(1), [{type: 'unsubscribe', subscription: 's1', requestId: 'r2'}]);
        const b = client.subscribe('users', {onChange: (c) => seen.push(c.seq)});
        b.unsubscribe();
        socket.subscribed('s2');
        socket.change(2, {subscriptions: ['s2']});
        assert.equal(socket.last('unsubscribe').subscription, 's2');
        assert.deepEqual(seen, []);
    });

    it('groups a batch by subscription', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('users', {batch: true, onChange: (list) => seen.push(['a', ...list.map((c) => c.seq)])});
        socket.subscribed('s1');
        client.subscribe('users', {batch: true, onChange: (list) => seen.push(['b', ...list.map((c) => c.seq)])});
        socket.subscribed('s2');
        socket.say({type: 'changes', tx: 1, seq: 3, changes: [
            {seq: 1, subscriptions: ['s1']}, {seq: 2, subscriptions: ['s1', 's2']}, {seq: 3, subscriptions: ['s1']}]});
        socket.say({type: 'changes', tx: 2, seq: 4, subscriptions: ['s2'], changes: [{seq: 4}]});
        assert.deepEqual(seen, [['a', 1, 2, 3], ['b', 2], ['b', 4]]);
    });

    it('receives channels, once per subscription, and leaves with the last', async () => {
        const {client, socket} = await started();
        const seen = [];
        const a = client.channel('tables', {onChange: (m) => seen.push(`a ${m.type}`)});
        const b = client.channel('tables', {onChange: (m) => seen.push(`b ${m.type}`)});
        client.on('notification', (m) => seen.push(`n ${m.type}`));
        socket.say({type: 'table:created', channel: 'tables', seq: 1, data: {tableName: 't'}});
        socket.say({type: 'deployed', channel: 'notifications', data: {}});
        socket.change(2, {subscriptions: ['s9']});
        assert.deepEqual(seen, ['a table:created', 'b table:created', 'n deployed']);
        a.unsubscribe();
        assert.equal(socket.last('unsubscribe'), undefined);
        b.unsubscribe();
        assert.equal(socket.last('unsubscribe').channel, 'tables');
    });

    it('goes on when a listener throws', async () => {
        const {client, socket} = await started();
        const uncaught = [];
        const seen = [];
        const keep = (e) => uncaught.push(e.message);
        const others = process.listeners('uncaughtException');
        process.removeAllListeners('uncaughtException');
        process.on('uncaughtException', keep);
        client.subscribe('users', {onChange: (c) => { if (c.seq === 1) throw new Error('mine'); seen.push(c.seq); }});
        socket.subscribed('s1');
        socket.change(1);
        socket.change(2);
        await settle();
        process.off('uncaughtException', keep);
        for (const other of others) process.on('uncaughtException', other);
        assert.deepEqual([seen, uncaught], [[2], ['mine']]);
    });
});

describe('iterating', () => {
    it('yields what came before and after the loop began, and ends by break', async () => {
        const {client, socket} = await started();
        const subscription = client.subscribe('users');
        socket.subscribed('s1');
        socket.change(1);
        const seen = [];
        setTimeout(() => { socket.change(2); socket.change(3); }, 5);
        for await (const change of subscription) {
            seen.push(change.seq);
            if (change.seq === 3) break;
        }
        assert.deepEqual(seen, [1, 2, 3]);
        assert.equal(socket.last('unsubscribe').subscription, 's1');
        assert.equal(subscription.closed, true);
    });

    it('ends when the subscription or the client does', async () => {
        const {client, socket} = await started();
        const subscription = client.subscribe('users');
        socket.subscribed('s1');
        setTimeout(() => { socket.change(1); client.close(); }, 5);
        const seen = [];
        for await (const change of subscription) seen.push(change.seq);
        assert.deepEqual(seen, [1]);
    });

    it('throws the server\'s error', async () => {
        const {client, socket} = await started();
        const subscription = client.subscribe('users', {filter: 'age >'});
        setTimeout(() => socket.say({type: 'error', requestId: 'r1', error: {code: 'INVALID_FILTER', message: 'x'}}), 5);
        await assert.rejects(async () => { for await (const c of subscription) assert.fail(c); }, {code: 'INVALID_FILTER'});
    });

    it('ends with an error when too much waits', async () => {
        const {client, socket} = await started();
        const subscription = client.subscribe('users', {maxQueue: 3});
        client.on('error', () => {});
        socket.subscribed('s1');
        for (let i = 1; i <= 5; i++) socket.change(i);
        const seen = [];
        await assert.rejects(async () => { for await (const c of subscription) seen.push(c.seq); }, {code: 'LIMIT_EXCEEDED'});
        assert.deepEqual(seen, [1, 2, 3]);
        assert.equal(socket.last('unsubscribe').subscription, 's1');
    });

    it('is for one loop, and not beside onChange', async () => {
        const {client} = await started();
        const a = client.subscribe('users', {onChange() {}});
        await assert.rejects(a[Symbol.asyncIterator]().next(), TypeError);
        const b = client.subscribe('users');
        b[Symbol.asyncIterator]().next();
        await assert.rejects(b[Symbol.asyncIterator]().next(), TypeError);
    });
});

describe('requests', () => {
    it('matches pings by requestId', async () => {
        const {client, socket} = await started();
        const first = client.ping();
        const second = client.ping();
        const [a, b] = socket.sent;
        assert.equal(typeof a.sentAt, 'number');
        assert.notEqual(a.requestId, b.requestId);
        socket.say({type: 'pong', requestId: b.requestId, sentAt: b.sentAt});
        assert.ok(await second >= 0);
        let done = false;
        first.then(() => { done = true; });
        await settle();
        assert.equal(done, false);
        socket.say({type: 'pong', requestId: a.requestId, sentAt: a.sentAt});
        await first;
    });

    it('fails what is under way when the connection ends', async () => {
        const {client, socket} = await started();
        const ping = client.ping();
        socket.drop(1012, 'restart');
        await assert.rejects(ping, {code: 'DISCONNECTED', message: 'the connection ended (1012 restart)'});
        await assert.rejects(client.ping(), {code: 'DISCONNECTED'});
    });

    it('runs SQL over HTTP and reports its errors', async () => {
        const seen = [];
        const server = createServer((request, response) => {
            let body = '';
            request.on('data', (d) => { body += d; });
            request.on('end', () => {
                const {method, url, headers} = request;
                seen.push([method, url, headers['content-type'], headers.authorization, body]);
                if (body.includes('bad')) {
                    response.writeHead(400).end('{"error":{"code":"SQL_ERROR","message":"near \\"bad\\"","offset":3}}');
                } else if (body.includes('html')) {
                    response.writeHead(502).end('<html>');
                } else {
                    response.end('{"columns":["n"],"rows":[[9223372036854775807]],"seq":4}');
                }
            });
        }).listen(0, '127.0.0.1');
        await new Promise((resolve) => server.on('listening', resolve));
        const client = connect(`http://127.0.0.1:${server.address().port}`, {WebSocket: FakeSocket, token: 'T'});
        open.push(client);
        try {
            const result = await client.sql('SELECT ?', [9223372036854775807n, new Uint8Array([1])]);
            assert.deepEqual(result, {columns: ['n'], rows: [[9223372036854775807n]], seq: 4});
            assert.deepEqual(seen[0], ['POST', '/api/sql', 'application/json', 'Bearer T',
                '{"sql":"SELECT ?","params":[9223372036854775807,{"$base64":"AQ=="}]}']);
            await assert.rejects(client.sql('bad'), {name: 'RowtapError', code: 'SQL_ERROR', offset: 3, status: 400,
                message: 'near "bad"'});
            await assert.rejects(client.sql('html'), {code: 'INVALID_FORMAT', status: 502});
            await client.transaction([{sql: 'SELECT 1'}]);
            assert.equal(seen[3][4], '{"statements":[{"sql":"SELECT 1"}]}');
            await client.fetch('api/tables');
            assert.deepEqual(seen[4].slice(0, 3), ['GET', '/api/tables', undefined]);
        } finally {
            server.closeAllConnections();
            server.close();
        }
    });
});

describe('reconnecting', () => {
    it('comes back, subscribes again and tells that changes may be missing', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const seen = [];
        const resyncs = [];
        const reconnects = [];
        client.on('reconnected', (r) => reconnects.push(r));
        client.subscribe('users', {filter: 'age=1', onChange: (c) => seen.push(c.seq), onResync: (r) => resyncs.push(r)});
        socket.subscribed('s1', 10);
        socket.change(11);
        socket.drop(1012);
        assert.equal(client.state, 'waiting');
        const next = await socketNumber(2);
        next.ack({seq: 15});
        await settle();
        assert.equal(next.last('subscribe').filter, 'age=1');
        assert.deepEqual(reconnects, []);
        next.subscribed('s7', 15);
        next.change(16, {subscriptions: ['s7']});
        await settle();
        assert.deepEqual(seen, [11, 16]);
        assert.deepEqual(resyncs, [{reason: 'reconnected', lastSeq: 11, seq: 15}]);
        assert.deepEqual(reconnects, [{seq: 15, epoch: 'e1', mayHaveMissed: true}]);
    });

    it('knows when nothing was missed', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const resyncs = [];
        const reconnects = [];
        client.on('reconnected', (r) => reconnects.push(r.mayHaveMissed));
        client.subscribe('users', {onChange() {}, onResync: (r) => resyncs.push(r)});
        socket.subscribed('s1', 10);
        socket.change(11);
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 11});
        await settle();
        next.subscribed('s1', 11);
        await settle();
        assert.deepEqual([resyncs, reconnects], [[], [false]]);
    });

    it('resumes where it was, and says so only when it could not', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const seen = [];
        const resyncs = [];
        const reconnects = [];
        client.on('reconnected', (r) => reconnects.push(r.mayHaveMissed));
        const options = {onChange: (c) => seen.push(c.seq), onResync: (r) => resyncs.push(r.reason)};
        client.subscribe('users', options);
        client.subscribe('quiet', {onChange() {}});
        const [a, b] = socket.sent.filter((m) => m.type === 'subscribe');
        socket.say({type: 'subscribed', requestId: a.requestId, data: {subscription: 's1', seq: 10}});
        socket.say({type: 'subscribed', requestId: b.requestId, data: {subscription: 's2', seq: 10}});
        socket.change(11, {tx: 5});
        socket.change(12, {tx: 6});
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 15});
        await settle();
        const [c, d] = next.sent.filter((m) => m.type === 'subscribe');
        assert.deepEqual([c.since, c.epoch, d.since, d.epoch], [12, 'e1', 11, 'e1']);
        next.say({type: 'subscribed', requestId: c.requestId, data: {subscription: 's1', seq: 12, recovered: true}});
        next.say({type: 'subscribed', requestId: d.requestId, data: {subscription: 's2', seq: 11, recovered: true}});
        next.change(13, {tx: 7});
        await settle();
        assert.deepEqual([seen, resyncs, reconnects], [[11, 12, 13], [], [false]]);
        next.drop();
        const third = await socketNumber(3);
        third.ack({seq: 3, epoch: 'e2'});
        await settle();
        const [e, f] = third.sent.filter((m) => m.type === 'subscribe');
        assert.deepEqual([e.since, e.epoch, f.since], [13, 'e1', 11]);
        third.say({type: 'subscribed', requestId: e.requestId, data: {subscription: 's1', seq: 3, recovered: false}});
        third.say({type: 'resync', subscription: 's1', reason: 'epoch_changed'});
        third.say({type: 'subscribed', requestId: f.requestId, data: {subscription: 's2', seq: 3, recovered: false}});
        await settle();
        assert.deepEqual([resyncs, reconnects], [['epoch_changed'], [false, true]]);
    });

    it('does not ask again for what the server could not capture', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const resyncs = [];
        client.subscribe('users', {onChange() {}, onResync: (r) => resyncs.push([r.reason, r.lastSeq, r.seq])});
        socket.subscribed('s1', 10);
        socket.change(11);
        socket.say({type: 'resync', reason: 'capture_gap', seq: 20, data: {reason: 'capture_gap', seq: 20}});
        assert.deepEqual(resyncs, [['capture_gap', 11, 20]]);
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 25});
        await settle();
        assert.equal(next.sent.find((m) => m.type === 'subscribe').since, 20);
    });

    it('does not trust the same number of another epoch', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const resyncs = [];
        client.subscribe('users', {onChange() {}, onResync: (r) => resyncs.push(r)});
        socket.subscribed('s1', 10);
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 10, epoch: 'e2'});
        await settle();
        next.subscribed('s1', 10);
        assert.equal(resyncs.length, 1);
    });

    it('ends a subscription that cannot be had again', async () => {
        const {client, socket} = await started();
        const errors = [];
        client.subscribe('users', {onChange() {}, onError: (e) => errors.push(e.code)});
        socket.subscribed('s1');
        socket.drop();
        const next = await socketNumber(2);
        next.ack();
        await settle();
        next.say({type: 'error', requestId: next.last('subscribe').requestId, error: {code: 'NOT_FOUND', message: 'gone'}});
        assert.deepEqual(errors, ['NOT_FOUND']);
    });

    it('ignores what a dead connection still says', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('users', {onChange: (c) => seen.push(c.seq)});
        socket.subscribed('s1');
        socket.drop();
        socket.change(1);
        socket.ack({seq: 99});
        assert.deepEqual([client.state, client.seq], ['waiting', 0]);
        socket.drop();
        await socketNumber(2);
        await settle(10);
        assert.deepEqual([seen, FakeSocket.sockets.length], [[], 2]);
    });

    it('waits longer each time, up to the maximum, with jitter', async () => {
        const random = mock.method(Math, 'random', () => 1);
        try {
            const client = start({reconnect: {min: 4, max: 20}});
            const waits = [];
            client.on('close', (c) => waits.push(c.retryIn));
            for (let i = 1; i <= 5; i++) (await socketNumber(i)).drop();
            assert.deepEqual(waits, [4, 8, 16, 20, 20]);
            random.mock.mockImplementation(() => 0);
            (await socketNumber(6)).drop();
            assert.equal(waits[5], 10);
        } finally {
            random.mock.restore();
        }
    });

    it('does not start over for a connection that lasted only a moment', async () => {
        const {client, socket} = await started({reconnect: {min: 2, max: 1000}});
        const waits = [];
        client.on('close', (c) => waits.push(c.retryIn));
        socket.drop(1013);
        for (let i = 2; i <= 4; i++) {
            const next = await socketNumber(i);
            next.ack();
            await settle();
            next.drop(1013);
        }
        assert.ok(waits[3] >= 8, `waits: ${waits}`);
    });

    it('can be told not to', async () => {
        const {client, socket} = await started({reconnect: false});
        const errors = [];
        const closes = [];
        client.on('close', (c) => closes.push(c));
        client.subscribe('users', {onChange() {}, onError: (e) => errors.push(e.code)});
        socket.drop(1013, 'full');
        await settle(10);
        assert.deepEqual([client.state, errors, FakeSocket.sockets.length], ['closed', ['DISCONNECTED'], 1]);
        assert.deepEqual(closes, [{code: 1013, reason: 'full', retryIn: null}]);
        assert.throws(() => client.subscribe('users'), {code: 'DISCONNECTED'});
    });

    it('stays closed after close()', async () => {
        const {client, socket} = await started();
        const waiting = start();
        FakeSocket.sockets[1].drop();
        client.close();
        client.close();
        waiting.close();
        await settle(15);
        assert.deepEqual([socket.closedWith.code, client.state, FakeSocket.sockets.length], [1000, 'closed', 2]);
    });

    it('asks a silent server, and gives it up when it does not answer', async () => {
        const {socket} = await started({}, {heartbeatInterval: 20});
        await settle(35);
        assert.equal(socket.last('heartbeat').type, 'heartbeat');
        await socketNumber(2);
        assert.equal(socket.closedWith.code, 4001);
    });

    it('keeps a silent server that answers', async () => {
        const {client, socket} = await started({}, {heartbeatInterval: 20});
        for (let i = 0; i < 10; i++) {
            await settle(10);
            const asked = socket.last('heartbeat');
            if (asked) socket.say({type: 'heartbeat', requestId: asked.requestId});
        }
        assert.deepEqual([client.state, FakeSocket.sockets.length], ['open', 1]);
    });

    it('passes the server\'s resync on', async () => {
        const {client, socket} = await started();
        const seen = [];
        client.subscribe('users', {onChange() {}, onResync: (r) => seen.push(['a', r.reason])});
        socket.subscribed('s1');
        client.subscribe('orders', {onChange() {}, onResync: (r) => seen.push(['b', r.reason])});
        socket.subscribed('s2');
        client.on('resync', (r) => seen.push(['client', r.reason]));
        socket.say({type: 'resync', reason: 'slow_consumer'});
        socket.say({type: 'resync', data: {reason: 'rowids_renumbered', subscription: 's2'}});
        assert.deepEqual(seen, [['a', 'slow_consumer'], ['b', 'slow_consumer'], ['client', 'slow_consumer'],
            ['b', 'rowids_renumbered'], ['client', 'rowids_renumbered']]);
    });

    it('subscribes once for a subscription made while opening', async () => {
        const client = start();
        client.on('open', () => client.subscribe('users', {onChange() {}}));
        FakeSocket.sockets[0].ack();
        await settle();
        assert.equal(FakeSocket.sockets[0].sent.length, 1);
    });

    it('lets a listener subscribe anew when it is told of a loss', async () => {
        const {client, socket} = await started();
        let calls = 0;
        const again = () => {
            calls++;
            client.subscribe('users', {onChange() {}, onResync: again});
        };
        client.subscribe('users', {onChange() {}, onResync: again});
        socket.say({type: 'resync', reason: 'slow_consumer'});
        assert.equal(calls, 1);
    });

    it('goes on with a snapshot\'s changes, not with what its neighbours have seen', async () => {
        const {client, socket} = await started({}, {seq: 10});
        const pages = [];
        const plain = {onChange() {}};
        client.subscribe('users', {snapshot: true, onSnapshot: (rows, info) => pages.push([rows.length, info]), ...plain});
        socket.subscribed('s1', 10);
        client.subscribe('orders', plain);
        socket.subscribed('s2', 10);
        const page = (more) => socket.say({type: 'snapshot', subscription: 's1', table: 'users', seq: 10,
            data: {rows: [{key: {id: 1}, data: {id: 1}}]}, last: true, ...more});
        page({last: false});
        page();
        assert.deepEqual(pages, [[1, {seq: 10, first: true, last: false}], [1, {seq: 10, first: false, last: true}]]);
        socket.change(20, {tx: 5, subscriptions: ['s2']});
        socket.change(12, {tx: 2});
        socket.change(21, {tx: 6, subscriptions: ['s2']});
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 30});
        await settle();
        const [a, b] = next.sent.filter((m) => m.type === 'subscribe');
        assert.deepEqual([a.since, a.snapshot, b.since], [12, true, 21]);
    });

    it('takes an unfinished snapshot again from its beginning', async () => {
        const {client, socket} = await started();
        const resyncs = [];
        const firsts = [];
        client.subscribe('users', {snapshot: true, onSnapshot: (rows, {first}) => firsts.push(first), onChange() {},
            onResync: ({reason}) => resyncs.push(reason)});
        socket.subscribed('s1', 5);
        const page = (id) => ({type: 'snapshot', subscription: id, seq: 5, data: {rows: []}, last: false});
        socket.say(page('s1'));
        socket.say({type: 'resync', subscription: 's1', reason: 'snapshot_failed'});
        assert.equal(socket.last('unsubscribe').subscription, 's1');
        assert.equal(socket.sent.filter((m) => m.type === 'subscribe').length, 1, 'not at once');
        await settle(20);
        assert.equal(socket.sent.filter((m) => m.type === 'subscribe').length, 2);
        assert.equal(socket.last('subscribe').since, undefined);
        socket.say(page('s1'));
        socket.subscribed('s2', 6);
        socket.say(page('s2'));
        assert.deepEqual([firsts, resyncs], [[true, true], ['snapshot_failed']]);
        socket.drop();
        const next = await socketNumber(2);
        next.ack();
        await settle();
        assert.deepEqual([next.last('subscribe').since, next.last('subscribe').snapshot], [undefined, true]);
    });

    it('has what a server did not send to a slow client on another connection', async () => {
        const {client, socket} = await started();
        const resyncs = [];
        client.subscribe('users', {snapshot: true, onSnapshot() {}, onChange() {}, onResync: (r) => resyncs.push(r)});
        socket.subscribed('s1', 5);
        socket.say({type: 'snapshot', subscription: 's1', seq: 5, data: {rows: []}, last: true});
        socket.change(7, {tx: 2});
        socket.say({type: 'resync', reason: 'slow_consumer', seq: 90});
        assert.equal(socket.closedWith.code, 4002);
        const next = await socketNumber(2);
        next.ack({seq: 90});
        await settle();
        assert.deepEqual([next.last('subscribe').since, resyncs], [7, []]);
    });

    it('applies a transaction to a view when all its parts are there, and again from its beginning after a loss', async () => {
        const {client, socket} = await started({}, {seq: 5});
        const calls = [];
        const view = client.view('users', {onChange: (v, changes) => calls.push([[...v.rows.keys()], changes?.length])});
        const open = (s, seq, more) => {
            const [ddl, rows] = s.sent.filter((m) => m.type === 'subscribe');
            s.say({type: 'subscribed', requestId: ddl.requestId, channel: 'tables', data: {channel: 'tables', seq, ...more}});
            s.say({type: 'subscribed', requestId: rows.requestId, data: {subscription: 's1', seq, ...more}});
            return rows;
        };
        open(socket, 5);
        socket.say({type: 'snapshot', subscription: 's1', seq: 5, data: {rows: [{key: {id: 1}, data: {id: 1}}]}, last: true});
        const part = (s, tx, seqs, more) => s.say({type: 'changes', tx, seq: seqs.at(-1), ...more, changes: seqs.map((seq) => (
            {seq, event: 'INSERT', key: {id: seq}, data: {id: seq}, subscriptions: ['s1']}))});
        part(socket, 9, [6, 7], {more: true});
        assert.deepEqual([...view.rows.keys()], ['{"id":1}']);
        socket.say({type: 'changes', tx: 9, seq: 7, changes: []});
        part(socket, 10, [8], {more: true});
        socket.drop();
        const next = await socketNumber(2);
        next.ack({seq: 9});
        await settle();
        assert.equal(open(next, 7, {recovered: true}).since, 7);
        part(next, 10, [8], {more: true});
        part(next, 10, [9]);
        assert.deepEqual(calls, [[['{"id":1}'], undefined], [['{"id":1}', '{"id":6}', '{"id":7}'], 2],
            [['{"id":1}', '{"id":6}', '{"id":7}', '{"id":8}', '{"id":9}'], 2]]);
        assert.equal(view.seq, 9);
    });

    it('applies moved keys, and rows that enter and leave', async () => {
        const {client, socket} = await started();
        const view = client.view('users', {filter: 'a > 0'});
        const [ddl, rows] = socket.sent.filter((m) => m.type === 'subscribe');
        socket.say({type: 'subscribed', requestId: ddl.requestId, channel: 'tables', data: {channel: 'tables', seq: 0}});
        socket.say({type: 'subscribed', requestId: rows.requestId, data: {subscription: 's1', seq: 0}});
        socket.say({type: 'snapshot', subscription: 's1', seq: 0, last: true,
            data: {rows: [1, 2, 3].map((id) => ({key: {id}, data: {id}}))}});
        const steps = [{event: 'UPDATE', key: {id: 9}, oldKey: {id: 1}}, {event: 'UPDATE', key: {id: 2}, transition: 'leave'},
            {event: 'UPDATE', key: {id: 5}, oldKey: {id: 4}, transition: 'enter'}, {event: 'DELETE', key: {id: 3}},
            {event: 'UPDATE', key: {id: 8}, oldKey: {id: 5}, transition: 'leave'}, {event: 'INSERT', key: {id: 2n ** 60n}}];
        socket.say(stringify({type: 'changes', tx: 1, seq: steps.length, changes: steps.map((step, i) => (
            {...step, seq: i + 1, data: step.key, subscriptions: ['s1']}))}));
        assert.deepEqual([...view.rows.keys()], ['{"id":9}', '{"id":1152921504606846976}']);
        view.close();
        assert.ok(view.closed && !view.current);
    });

    it('gives up a connection that talks nonsense', async () => {
        const {socket} = await started();
        socket.say('{"type":');
        assert.equal(socket.closedWith.code, 4000);
        await socketNumber(2);
    });
});
