/*
 * How the server is: figures, connections, and the queries that run.
 */
import {$, el, plural} from './page.js';

const EVERY = 2000; /* milliseconds between readings, while they are shown */
const MAX_QUERIES = 50;

const number = (n) => (typeof n === 'number' ? n.toLocaleString() : n);
const ms = (n) => (typeof n === 'number' ? `${n < 10 ? n.toFixed(2) : Math.round(n).toLocaleString()} ms` : undefined);

function bytes(n) {
    if (typeof n !== 'number') return undefined;
    const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
    return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

function duration(seconds) {
    if (typeof seconds !== 'number') return undefined;
    const [d, h, m, s] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map(Math.floor);
    return [d && `${d} d`, (d || h) && `${h} h`, (d || h || m) && `${m} min`, !d && !h && `${s} s`].filter(Boolean).join(' ');
}

/* Title, and lines of name and value; what the server does not tell is left out. */
function figures(client, h) {
    const {database: db = {}, compression: c = {}, averageFrameSize: size = {}} = h;
    return [
        ['This page', [['round trip', ms(client.latency)], ['connection', client.connectionId], ['last change', number(client.seq)]]],
        ['Server', [['version', h.version], ['up for', duration(h.uptime)], ['journal mode', db.journalMode],
            ['others\u2019 writes', db.externalWrites ? 'seen' : 'not seen'],
            ['history', h.history && `${bytes(h.history.bytes)}, from ${number(h.history.firstSeq)}`],
            ['journal', h.journal && `from ${number(h.journal.firstSeq)}`]]],
        ['Connections', [['open', number(h.activeConnections)], ['not answering', number(h.unhealthyConnections)],
            ['average latency', ms(h.averageLatency || undefined)], ['subscriptions', number(h.subscriptions)],
            ['waiting to be read', bytes(h.queuedBytes)], ['too slow, closed', number(h.slowConsumersClosed)]]],
        ['Messages', [['received', number(h.messagesReceived)], ['sent', number(h.messagesSent)],
            ['bytes received', bytes(h.bytesReceived)], ['bytes sent', bytes(h.bytesSent)],
            ['average size sent', size.sent && bytes(Math.round(size.sent))]]],
        ['Compression', c.enabled ? [['connections', number(c.connections)], ['messages', number(c.messages)],
            ['left of their size', c.messages ? `${(100 * c.ratio).toFixed(0)} %` : '\u2013'], ['saved', bytes(c.bytesSaved)]]
            : [['', 'off']]],
    ];
}

function card([title, lines]) {
    const line = ([name, value]) => [el('dt', {}, name), el('dd', {className: 'mono'}, String(value))];
    return el('section', {className: 'card'}, el('h3', {}, title),
        el('dl', {}, ...lines.filter(([, value]) => value !== undefined && value !== null).flatMap(line)));
}

const lines = (head, rows) => el('table', {},
    el('thead', {}, el('tr', {}, ...head.map((h) => el('th', {scope: 'col'}, h)))),
    el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell) => el('td', {}, cell))))));

/** The panel; it asks the server only while it is shown. */
export function openServer(client) {
    let timer = 0;
    let channel = null;
    const queries = new Map();

    async function read() {
        if (document.hidden || client.state !== 'open') return;
        try {
            await client.ping();
            const health = await client.fetch('api/websocket/health');
            $('figures').replaceChildren(...figures(client, health).map(card));
            const {clientCount, clients} = await client.fetch('api/realtime/stats?limit=100');
            $('client-count').textContent = clientCount.toLocaleString();
            const row = (c) => [c.id, c.userId ?? '\u2013', new Date(c.connectedAt).toLocaleString(), number(c.messageCount),
                c.isAlive ? 'yes' : 'no'];
            $('client-list').replaceChildren(lines(['Connection', 'User', 'Since', 'Messages', 'Answers'], clients.map(row)));
            $('server-error').textContent = '';
        } catch (error) {
            $('server-error').textContent = `The figures could not be read: ${error.message}`;
        }
    }

    function queryRow({data, type, percent, done}) {
        const bar = el('progress', {max: 100});
        if (done || typeof percent === 'number') bar.value = done ? 100 : percent;
        const state = {'query:complete': 'done', 'query:error': data.error?.code ?? 'failed'}[type] ?? bar;
        return [el('span', {className: 'mono sql', title: data.sql ?? ''}, data.sql ?? data.queryId), data.userId ?? data.connectionId,
            number(data.rowCount ?? 0), ms(data.duration ?? data.elapsed) ?? '', state];
    }

    function heard(message) {
        const {queryId, connectionId} = message.data;
        const key = `${connectionId} ${queryId}`;
        const known = queries.get(key);
        queries.delete(key);
        const done = ['query:complete', 'query:error'].includes(message.type);
        queries.set(key, {type: message.type, done, percent: message.data.progress, data: {...known?.data, ...message.data}});
        if (queries.size > MAX_QUERIES) queries.delete(queries.keys().next().value);
        const all = [...queries.values()].reverse();
        $('query-count').textContent = plural(all.filter((q) => !q.done).length, 'query').replace('querys', 'queries') + ' running';
        $('query-list').replaceChildren(lines(['SQL', 'Who', 'Rows', 'Time', 'State'], all.map(queryRow)));
    }

    function shown(on) {
        clearInterval(timer);
        channel?.leave();
        channel = null;
        if (!on) return;
        timer = setInterval(read, EVERY);
        queries.clear();
        $('query-list').replaceChildren();
        $('query-count').textContent = 'none since this was opened';
        channel = client.channel('queries', {onChange: heard, onError: (error) => { $('server-error').textContent = error.message; }});
        read();
    }
    return {shown};
}
