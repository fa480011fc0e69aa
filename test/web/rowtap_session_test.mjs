// Queries, requests, channels and presence of the client library against a WebSocket that the test plays.
//     node --test --test-reporter=tap test/web/rowtap_session_test.mjs
import assert from 'node:assert/strict';
import {afterEach, mock, test} from 'node:test';
import {connect} from '../../src/web/rowtap.js';
import {FakeSocket, settle, socketNumber} from './fake_socket.mjs';

const open = [];

function start(options = {}) {
    const client = connect('http://db.test:8080', {WebSocket: FakeSocket, reconnect: {min: 2, max: 4}, ...options});
    open.push(client);
    return client;
}

async function started(options, ack) {
    const client = start(options);
    const socket = FakeSocket.sockets.at(-1);
    socket.ack(ack);
    await settle();
    return {client, socket};
}

// What a client's query hears; it is the last one started.
function server(socket) {
    const {requestId, data: {queryId}} = socket.last('query:start');
    const say = (type, data) => socket.say({type, data: {queryId, ...data}});
    return {
        queryId,
        started: () => socket.say({type: 'query:started', requestId, data: {queryId}}),
        progress: (data) => say('query:progress', data),
        rows: (page, rows, more) => say('query:rows', {page, rows, ...more}),
        complete: (data) => say('query:complete', data),
        error: (code, message) => say('query:error', {code, message}),
    };
}

afterEach(() => {
    for (const client of open.splice(0)) client.close();
    FakeSocket.sockets.length = 0;
});

// Queries

test('a query resolves with its rows', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT ?', [9223372036854775807n]);
    assert.deepEqual(socket.last('query:start').data, {queryId: query.queryId, sql: 'SELECT ?', params: [9223372036854775807]});
    const run = server(socket);
    run.started();
    run.complete({rowCount: 1, duration: 2.5, results: {columns: ['?'], rows: [[1]]}});
    assert.deepEqual(await query, {queryId: query.queryId, rowCount: 1, duration: 2.5, columns: ['?'], rows: [[1]]});
});

test('a query puts its pages together, in order', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1');
    const run = server(socket);
    run.started();
    run.rows(1, [[1], [2]], {columns: ['n']});
    run.rows(2, [[3]]);
    run.complete({rowCount: 3, duration: 1});
    const {columns, rows} = await query;
    assert.deepEqual([columns, rows], [['n'], [[1], [2], [3]]]);
});

test('pages can be iterated over as they come', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1');
    const run = server(socket);
    const pages = [];
    const loop = (async () => { for await (const page of query) pages.push(page); })();
    run.started();
    run.rows(1, [[1], [2]]);
    await settle();
    assert.deepEqual(pages, [[[1], [2]]]);
    run.rows(2, [[3]]);
    run.complete({rowCount: 3, duration: 1});
    await loop;
    assert.deepEqual(pages, [[[1], [2]], [[3]]]);
    assert.equal((await query).rows, undefined);
    assert.equal(socket.last('query:cancel'), undefined);
});

test('leaving the loop cancels, an error ends it', async () => {
    const {client, socket} = await started();
    const left = client.query('SELECT 1');
    const first = server(socket);
    first.rows(1, [[1]]);
    for await (const page of left) { assert.deepEqual(page, [[1]]); break; }
    assert.deepEqual(socket.last('query:cancel').data, {queryId: left.queryId});
    const failing = client.query('SELECT 2');
    const second = server(socket);
    second.rows(1, [[1]]);
    second.error('SQL_ERROR', 'overflow');
    const pages = [];
    await assert.rejects((async () => { for await (const page of failing) pages.push(page); })(),
        {code: 'SQL_ERROR', message: 'overflow'});
    assert.deepEqual(pages, [[[1]]]);
});

test('progress and rows go to callbacks, and nothing is kept', async () => {
    const {client, socket} = await started();
    const seen = [];
    const query = client.query('SELECT 1', [], {
        onStart: () => seen.push('started'),
        onProgress: ({rowCount, progress}) => seen.push([rowCount, progress]),
        onRows: (rows, {columns}) => seen.push({columns, rows}),
        maxRows: 1,
    });
    const run = server(socket);
    run.started();
    run.progress({rowCount: 10, elapsed: 500, progress: null});
    run.rows(1, [[1], [2]], {columns: ['n']});
    run.complete({rowCount: 2, duration: 1});
    const result = await query;
    assert.deepEqual(seen, ['started', [10, null], {columns: ['n'], rows: [[1], [2]]}]);
    assert.deepEqual([result.rowCount, result.rows], [2, undefined]);
});

test('what the server says of a query rejects it, also when it was refused at once', async () => {
    const {client, socket} = await started();
    const failed = client.query('nonsense');
    socket.say({type: 'query:error', data: {queryId: failed.queryId,
        error: {code: 'SQL_ERROR', message: 'near "nonsense"', sqliteCode: 1, offset: 0}}});
    await assert.rejects(failed, {code: 'SQL_ERROR', message: 'near "nonsense"', sqliteCode: 1, offset: 0});
    const refused = client.query('SELECT 1');
    socket.say({type: 'error', requestId: socket.last('query:start').requestId, error: {code: 'LIMIT_EXCEEDED', message: 'too many'}});
    await assert.rejects(refused, {code: 'LIMIT_EXCEEDED', message: 'too many'});
});

test('cancel asks the server and rejects when it has ended', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1');
    const run = server(socket);
    run.started();
    query.cancel();
    assert.deepEqual(socket.last('query:cancel').data, {queryId: query.queryId});
    let ended = false;
    query.catch(() => { ended = true; });
    await settle();
    assert.equal(ended, false);
    run.error('QUERY_CANCELLED', 'cancelled');
    await assert.rejects(query, {code: 'QUERY_CANCELLED'});
});

test('the end of a query may come as the answer to its cancellation', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1');
    server(socket).started();
    query.cancel();
    socket.say({type: 'query:error', requestId: socket.last('query:cancel').requestId,
        data: {queryId: query.queryId, error: {code: 'QUERY_CANCELLED', message: 'cancelled'}}});
    await assert.rejects(query, {code: 'QUERY_CANCELLED'});
});

test('a signal cancels, and rejects with its own reason', async () => {
    const {client, socket} = await started();
    const controller = new AbortController();
    const query = client.query('SELECT 1', [], {signal: controller.signal});
    const run = server(socket);
    run.started();
    controller.abort(new Error('the user left'));
    assert.equal(socket.last('query:cancel').data.queryId, run.queryId);
    run.error('QUERY_CANCELLED', 'cancelled');
    await assert.rejects(query, /the user left/);
    const never = client.query('SELECT 2', [], {signal: controller.signal});
    await assert.rejects(never, /the user left/);
    assert.equal(socket.sent.filter((m) => m.type === 'query:start').length, 1);
});

test('a query that was done before its cancellation arrived is done', async () => {
    const {client, socket} = await started();
    const controller = new AbortController();
    const query = client.query('DELETE FROM t', [], {signal: controller.signal});
    const run = server(socket);
    controller.abort();
    run.complete({rowCount: 0, duration: 1, results: {columns: [], rows: []}});
    assert.equal((await query).rowCount, 0);
});

test('rows that nobody takes are bounded', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1', [], {maxRows: 3});
    const run = server(socket);
    run.rows(1, [[1], [2]]);
    run.rows(2, [[3], [4]]);
    await assert.rejects(query, {code: 'LIMIT_EXCEEDED', message: /maxRows/});
    assert.equal(socket.last('query:cancel').data.queryId, run.queryId);
    run.rows(3, [[5]]);
});

test('a loop that keeps up is not bounded by maxRows', async () => {
    const {client, socket} = await started();
    const query = client.query('SELECT 1', [], {maxRows: 2});
    const run = server(socket);
    let count = 0;
    const loop = (async () => { for await (const page of query) count += page.length; })();
    for (let i = 0; i < 5; i++) {
        run.rows(i + 1, [[1], [2]]);
        await settle();
    }
    run.complete({rowCount: 10, duration: 1});
    await loop;
    assert.equal(count, 10);
});

test('queries that are under way do not take each other\'s rows', async () => {
    const {client, socket} = await started();
    const one = client.query('SELECT 1');
    const first = server(socket);
    const two = client.query('SELECT 2');
    const second = server(socket);
    assert.notEqual(one.queryId, two.queryId);
    second.rows(1, [['b']]);
    first.rows(1, [['a']]);
    first.complete({rowCount: 1, duration: 1});
    second.complete({rowCount: 1, duration: 1});
    assert.deepEqual([(await one).rows, (await two).rows], [[['a']], [['b']]]);
});

test('a query fails with its connection; one that was not sent yet waits for the next', async () => {
    const {client, socket} = await started();
    const lost = client.query('SELECT 1');
    socket.drop(1012, 'restart');
    await assert.rejects(lost, {code: 'DISCONNECTED', message: 'the connection ended (1012 restart)'});
    const waiting = client.query('SELECT 2');
    const request = client.request('health');
    const dropped = client.query('SELECT 3');
    dropped.cancel();
    await assert.rejects(dropped, {code: 'QUERY_CANCELLED'});
    const again = await socketNumber(2);
    again.ack();
    await settle();
    assert.deepEqual(again.sent.map((m) => m.type), ['query:start', 'request']);
    server(again).complete({rowCount: 1, duration: 1, results: {columns: ['2'], rows: [[2]]}});
    assert.deepEqual((await waiting).rows, [[2]]);
    again.say({type: 'response', requestId: again.last('request').requestId, payload: {status: 'ok'}});
    assert.deepEqual(await request, {status: 'ok'});
});

test('calls that wait for the first connection are bounded and end with close', async () => {
    const client = start();
    const calls = Array.from({length: 1001}, () => client.request('health'));
    await assert.rejects(calls.pop(), {code: 'LIMIT_EXCEEDED'});
    const query = client.query('SELECT 1');
    await assert.rejects(query, {code: 'LIMIT_EXCEEDED'});
    client.close();
    for (const call of calls) await assert.rejects(call, {code: 'DISCONNECTED'});
    await assert.rejects(client.query('SELECT 1'), {code: 'DISCONNECTED'});
});

test('what everybody\'s queries do comes on the channel, not to an own query', async () => {
    const {client, socket} = await started();
    const heard = [];
    client.channel('queries').on('query:progress', (data) => heard.push(data.rowCount));
    socket.subscribed(undefined, 0);
    const seen = [];
    const query = client.query('SELECT 1', [], {onProgress: ({rowCount}) => seen.push(rowCount)});
    socket.say({type: 'query:progress', channel: 'queries', data: {queryId: query.queryId, rowCount: 5}});
    socket.say({type: 'query:progress', data: {queryId: query.queryId, rowCount: 6}});
    assert.deepEqual([heard, seen], [[5], [6]]);
    query.catch(() => {});
});

// Requests

test('many requests are under way at once and each gets its own answer', async () => {
    const {client, socket} = await started();
    const [a, b, c] = [client.request('sql', {sql: 'SELECT 1'}), client.request('tables'), client.request('health')];
    const sent = socket.sent.filter((m) => m.type === 'request');
    assert.deepEqual(sent.map((m) => m.payload), [{action: 'sql', sql: 'SELECT 1'}, {action: 'tables'}, {action: 'health'}]);
    const answer = (i, payload) => socket.say({type: 'response', requestId: sent[i].requestId, payload});
    answer(2, {status: 'ok'});
    answer(0, {rows: [[1]]});
    socket.say({type: 'error', requestId: sent[1].requestId, error: {code: 'FORBIDDEN', message: 'no'}});
    assert.deepEqual(await a, {rows: [[1]]});
    assert.deepEqual(await c, {status: 'ok'});
    await assert.rejects(b, {code: 'FORBIDDEN'});
});

test('a request is given up after its timeout or by its signal; a late answer is nobody\'s', async () => {
    const {client, socket} = await started();
    const slow = client.request('sql', {}, {timeout: 5});
    await assert.rejects(slow, {code: 'TIMEOUT', message: 'request "sql": no answer within 5 ms'});
    socket.say({type: 'response', requestId: socket.last('request').requestId, payload: {}});
    const controller = new AbortController();
    const aborted = client.request('sql', {}, {signal: controller.signal});
    controller.abort(new Error('enough'));
    await assert.rejects(aborted, /enough/);
    const other = client.request('health');
    socket.say({type: 'response', requestId: socket.last('request').requestId, payload: {status: 'ok'}});
    assert.equal((await other).status, 'ok');
});

// Channels

test('a channel\'s messages go to the listeners of their event', async () => {
    const {client, socket} = await started();
    const heard = [];
    const room = client.channel('room:1')
        .on('said', (data, message) => heard.push(['said', data, message.userId]))
        .on('*', (data) => heard.push(['*', data]));
    assert.deepEqual(socket.last('subscribe').channel, 'room:1');
    socket.subscribed(undefined, 0);
    await room.ready;
    socket.say({type: 'broadcast', channel: 'room:1', event: 'said', userId: 'ada', data: {text: 'hi'}});
    socket.say({type: 'broadcast', channel: 'room:2', event: 'said', data: 'not here'});
    socket.say({type: 'deploy', channel: 'room:1', event: 'deploy', data: 2});
    assert.deepEqual(heard, [['said', {text: 'hi'}, 'ada'], ['*', {text: 'hi'}], ['*', 2]]);
    room.leave();
    assert.equal(socket.last('unsubscribe').channel, 'room:1');
    socket.say({type: 'broadcast', channel: 'room:1', event: 'said', data: 'late'});
    assert.equal(heard.length, 3);
});

test('off stops a listener, and one that throws does not stop the others', async () => {
    const {client, socket} = await started();
    const heard = [];
    const uncaught = [];
    const room = client.channel('room').on('a', () => { throw new Error('mine'); }).on('a', (data) => heard.push(data));
    const first = () => heard.push('first');
    room.on('b', first).off('b', first);
    mock.method(globalThis, 'queueMicrotask', (report) => { try { report(); } catch (error) { uncaught.push(error.message); } });
    socket.say({type: 'broadcast', channel: 'room', event: 'a', data: 1});
    socket.say({type: 'broadcast', channel: 'room', event: 'b', data: 1});
    await settle();
    mock.restoreAll();
    assert.deepEqual([heard, uncaught], [[1], ['mine']]);
});

test('with listeners nothing waits for a loop that is not there', async () => {
    const {client, socket} = await started();
    let count = 0;
    const room = client.channel('room', {maxQueue: 2}).on('n', () => count++);
    for (let i = 0; i < 10; i++) socket.say({type: 'broadcast', channel: 'room', event: 'n', data: i});
    assert.deepEqual([count, room.closed], [10, false]);
});

test('broadcast resolves with the number delivered, or what was wrong', async () => {
    const {client, socket} = await started();
    const room = client.channel('room');
    const sent = room.broadcast('said', {n: 2n ** 60n}, {self: false});
    const {requestId, type, ...message} = socket.last('broadcast');
    assert.deepEqual(message, {channel: 'room', event: 'said', data: {n: 2 ** 60}, self: false});
    socket.say({type: 'broadcast:ack', requestId, channel: 'room', delivered: 3, data: {channel: 'room', delivered: 3}});
    assert.equal(await sent, 3);
    const bad = client.broadcast('no such', 'x');
    assert.equal(socket.last('broadcast').data, null);
    socket.say({type: 'error', requestId: socket.last('broadcast').requestId, error: {code: 'INVALID_FORMAT', message: 'a name'}});
    await assert.rejects(bad, {code: 'INVALID_FORMAT'});
});

test('channels are joined again after a reconnect', async () => {
    const {client, socket} = await started();
    const heard = [];
    client.channel('room').on('n', (data) => heard.push(data));
    socket.subscribed(undefined, 0);
    socket.drop();
    const again = await socketNumber(2);
    again.ack({connectionId: 'c2'});
    await settle();
    assert.equal(again.last('subscribe').channel, 'room');
    again.subscribed(undefined, 0);
    again.say({type: 'broadcast', channel: 'room', event: 'n', data: 7});
    assert.deepEqual(heard, [7]);
});

// Presence

function present(socket, data) {
    const {requestId, channel} = socket.last('subscribe');
    socket.say({type: 'subscribed', requestId, channel, data: {channel, seq: 0, userId: 'ada', connectionId: 'c1', ...data}});
}

const user = (userId, ...ids) => ({userId, connectionIds: ids, cursors: []});
const names = ({users}) => [...users.keys()];

test('presence knows who is there from the start, and who comes and goes', async () => {
    const {client, socket} = await started();
    const heard = [];
    const team = client.presence()
        .on('joined', ({userId}) => heard.push(`+${userId}`)).on('left', ({userId}) => heard.push(`-${userId}`));
    assert.equal(socket.last('subscribe').channel, 'collaboration');
    present(socket, {userCount: 2, connectedUsers: [user('ada', 'c1'),
        {...user('bob', 'c2', 'c3'), cursors: [{connectionId: 'c3', table: 't', row: 1, column: 'a'}]}]});
    await team.ready;
    assert.deepEqual([names(team), team.userId, team.userCount], [['ada', 'bob'], 'ada', 2]);
    assert.deepEqual([...team.users.get('bob').cursors.values()], [{connectionId: 'c3', table: 't', row: 1, column: 'a'}]);
    const say = (type, data) => socket.say({type, channel: 'collaboration', data});
    say('user:joined', {userId: 'eve', connectionId: 'c4', userCount: 3, connectedUsers: [user('ada', 'c1'), user('bob', 'c2', 'c3'), user('eve', 'c4')]});
    say('user:left', {userId: 'bob', connectionId: 'c2', userCount: 3, connectedUsers: [user('ada', 'c1'), user('bob', 'c3'), user('eve', 'c4')]});
    say('user:left', {userId: 'bob', connectionId: 'c3', userCount: 2, connectedUsers: [user('ada', 'c1'), user('eve', 'c4')]});
    assert.deepEqual([names(team), heard], [['ada', 'eve'], ['+ada', '+bob', '+eve', '-bob']]);
});

test('presence without lists, where there are too many users to tell', async () => {
    const {client, socket} = await started();
    const team = client.presence();
    present(socket, {userCount: 5000});
    const say = (type, userId, connectionId, userCount) =>
        socket.say({type, channel: 'collaboration', data: {userId, connectionId, userCount}});
    say('user:joined', 'bob', 'c2', 5001);
    say('user:joined', 'bob', 'c3', 5001);
    say('user:left', 'bob', 'c2', 5001);
    assert.deepEqual([names(team), team.userCount], [['bob'], 5001]);
    say('user:left', 'bob', 'c3', 5000);
    say('user:left', 'bob', 'c3', 5000);
    assert.deepEqual([names(team), team.userCount], [[], 5000]);
});

test('cursors of others move, and vanish', async () => {
    const {client, socket} = await started();
    const heard = [];
    const team = client.presence().on('cursor', ({connectionId, row}, {userId}) => heard.push([userId, connectionId, row]));
    present(socket, {userCount: 1, connectedUsers: [user('bob', 'c2')]});
    const move = (row, table = 't') => socket.say({type: 'user:cursor', channel: 'collaboration', userId: 'bob',
        data: {userId: 'bob', connectionId: 'c2', table, row, column: null}});
    move(1);
    move(2);
    assert.deepEqual([...team.users.get('bob').cursors.values()], [{connectionId: 'c2', table: 't', row: 2, column: null}]);
    move(null, null);
    assert.deepEqual([team.users.get('bob').cursors.size, heard.length], [0, 3]);
});

test('moveCursor sends the first position at once and of the others the newest', async () => {
    const {client, socket} = await started();
    const team = client.presence('collaboration', {interval: 20});
    const sent = () => socket.sent.filter((m) => m.type === 'user:cursor').map((m) => m.data.row);
    team.moveCursor({table: 't', row: 0});
    assert.deepEqual(sent(), []);
    present(socket, {userCount: 1, connectedUsers: [user('ada', 'c1')]});
    assert.deepEqual(sent(), [0]);
    for (let row = 1; row <= 100; row++) team.moveCursor({table: 't', row});
    assert.deepEqual(sent(), [0]);
    await settle(60);
    assert.deepEqual(sent(), [0, 100]);
    team.moveCursor(null);
    assert.deepEqual(socket.last('user:cursor').data, {table: null, row: null, column: null});
    team.moveCursor({table: 't', row: 101});
    team.leave();
    await settle(60);
    assert.equal(sent().length, 3);
});

test('after a reconnect presence is what it is now, and the own cursor is shown again', async () => {
    const {client, socket} = await started();
    const heard = [];
    const team = client.presence().on('joined', ({userId}) => heard.push(`+${userId}`)).on('left', ({userId}) => heard.push(`-${userId}`));
    present(socket, {userCount: 2, connectedUsers: [user('ada', 'c1'), user('bob', 'c2')]});
    team.moveCursor({table: 't', row: 5});
    socket.drop();
    const again = await socketNumber(2);
    again.ack({connectionId: 'c9'});
    await settle();
    present(again, {userCount: 2, connectedUsers: [user('ada', 'c9'), user('eve', 'c4')]});
    assert.deepEqual([names(team), heard], [['ada', 'eve'], ['+ada', '+bob', '-bob', '+eve']]);
    assert.deepEqual(again.last('user:cursor').data, {table: 't', row: 5, column: null});
});

// DDL

const ddl = (seq, type, tableName, more = {}) => ({id: `e1:${seq}`, type, channel: 'tables', seq, tx: seq,
    data: {tableName, userId: null, timestamp: 0, changes: {columns: []}}, ...more});

test('a subscription is told what becomes of its table, not as a change', async () => {
    const {client, socket} = await started();
    const [schema, changes] = [[], []];
    const users = client.subscribe('users', {onChange: (c) => changes.push(c.seq), onTable: ({type}) => schema.push(type)});
    socket.subscribed('s1', 0);
    socket.change(1);
    socket.say(ddl(2, 'table:dropped', 'users', {subscriptions: ['s1']}));
    socket.say(ddl(3, 'table:created', 'users', {subscriptions: ['s1']}));
    socket.change(4);
    assert.deepEqual([schema, changes, users.seq], [['table:dropped', 'table:created'], [1, 4], 4]);
});

test('with the channel tables joined, subscriptions hear of their table by way of it', async () => {
    const {client, socket} = await started();
    const [schema, all] = [[], []];
    client.subscribe('users', {onChange: () => {}, onTable: ({seq}) => schema.push(seq)});
    socket.subscribed('s1', 0);
    client.channel('tables').on('*', (data) => all.push(data.tableName));
    socket.subscribed(undefined, 0);
    socket.say(ddl(1, 'table:altered', 'USERS'));
    socket.say(ddl(2, 'table:created', 'other'));
    socket.say(ddl(3, 'table:altered', 'people', {data: {tableName: 'people', changes: {renamedFrom: 'users'}}}));
    assert.deepEqual([schema, all], [[1, 3], ['USERS', 'other', 'people']]);
});

// Liveness

test('each heartbeat measures the latency', async () => {
    const {client, socket} = await started({}, {heartbeatInterval: 100});
    assert.equal(client.latency, null);
    for (let i = 0; i < 400 && !socket.last('heartbeat'); i++) await settle(5);
    const {requestId} = socket.last('heartbeat');
    socket.say({type: 'heartbeat', requestId});
    assert.ok(client.latency >= 0 && client.latency < 1000, String(client.latency));
    socket.drop();
    assert.equal(client.latency, null);
});

test('the server\'s own heartbeats keep a connection, silence ends it', async () => {
    const {client, socket} = await started({}, {heartbeatInterval: 20});
    for (let i = 0; i < 8; i++) {
        await settle(10);
        socket.say({type: 'heartbeat'});
    }
    assert.equal(client.state, 'open');
    await settle(100);
    assert.deepEqual(socket.closedWith, {code: 4001, reason: 'the server does not answer'});
});
