/*
 * The page at /: tables, a live feed of changes, and a box to run SQL in. Whatever comes from the
 * server is put into the page as text nodes only.
 */
import {$, MAX_ROWS, el, errorPlace, plural, resultTable, same, valueNode, valueText} from './page.js';
import {connect, stringify} from './rowtap.js';

const MAX_CHANGES = 500; /* kept in the page */
const MAX_LIVE = 10000;  /* rows of a table that are kept live */
const EVENTS = ['INSERT', 'UPDATE', 'DELETE'];

const client = connect();
const tables = new Map();

function changedColumns({data, old}) {
    return Object.keys(data).filter((c) => !Object.hasOwn(old, c) || !same(data[c], old[c]));
}

/* One change, as a row of the feed that opens to the whole row */

function timeNode(timestamp) {
    const date = new Date(timestamp);
    const pad = (n, width = 2) => String(n).padStart(width, '0');
    const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => pad(n)).join(':');
    return el('time', {dateTime: date.toISOString(), title: date.toLocaleString()},
        `${clock}.${pad(date.getMilliseconds(), 3)}`);
}

function plainValue(column, value, className = 'value') {
    return el('span', {className}, el('b', {}, `${column} `), valueNode(value));
}

function changedValue(column, before, after) {
    return el('span', {className: 'value changed'}, el('b', {}, `${column} `), valueNode(before, 'del'), ' → ',
        valueNode(after, 'ins'));
}

function rowValues(change) {
    const {event, data, old, key, transition} = change;
    const rest = Object.keys(data).filter((c) => !Object.hasOwn(key ?? {}, c));
    if (event !== 'UPDATE' || !old) return rest.map((c) => plainValue(c, data[c]));
    const changed = changedColumns(change);
    const nodes = changed.map((c) => changedValue(c, old[c], data[c]));
    if (transition) nodes.unshift(el('span', {className: 'value rest'}, `${transition}s the filter`));
    return nodes.concat(rest.filter((c) => !changed.includes(c)).map((c) => plainValue(c, data[c], 'value rest')));
}

function wholeRow(change) {
    const {event, data, old} = change;
    const compare = event === 'UPDATE' && old;
    const changed = compare ? changedColumns(change) : [];
    const head = ['Column', ...(compare ? ['Before', 'After'] : ['Value'])];
    const cell = (value) => valueNode(value, 'td', 4000);
    const lines = Object.keys(data).map((c) => el('tr', {className: changed.includes(c) ? 'changed' : ''},
        el('th', {scope: 'row'}, c), ...(compare ? [cell(old[c])] : []), cell(data[c])));
    return el('div', {className: 'whole'},
        el('p', {className: 'muted'}, `seq ${change.seq}, transaction ${change.tx}`),
        el('table', {}, el('thead', {}, el('tr', {}, ...head.map((h) => el('th', {scope: 'col'}, h)))),
            el('tbody', {}, ...lines)));
}

function feedRow(message, kind, label, table, key, values, whole) {
    const summary = el('summary', {tabIndex: -1}, timeNode(message.timestamp),
        el('span', {className: `badge ${kind}`}, label), el('span', {className: 'table', title: table}, table),
        el('span', {className: 'key', title: key}, key),
        el('span', {className: 'values'}, ...values.flatMap((v) => [v, ' '])));
    const details = el('details', {className: kind === 'DELETE' ? 'DELETED' : ''}, summary);
    details.addEventListener('toggle', () => {
        if (details.open && details.children.length === 1) details.append(whole());
    });
    return el('li', {className: 'fresh'}, details);
}

function changeRow(change) {
    const key = Object.values(change.key ?? {}).map(valueText).join(', ');
    return feedRow(change, change.event, change.event, change.table, key, rowValues(change), () => wholeRow(change));
}

const columnText = (c) => [c.name, c.type].filter(Boolean).join(' ');

function schemaRow(message) {
    const {tableName, changes} = message.data;
    const label = {'table:created': 'CREATE', 'table:altered': 'ALTER', 'table:dropped': 'DROP'}[message.type];
    const values = (changes?.renamed ?? []).map(({from, to}) => changedValue('column', from, to));
    if (changes?.renamedFrom) values.unshift(changedValue('table', changes.renamedFrom, tableName));
    if (!values.length && label !== 'DROP') {
        values.push(...(changes?.columns ?? []).map((c) => plainValue(c.name, c.type)));
    }
    const whole = () => el('div', {className: 'whole mono'}, (changes?.columns ?? []).map(columnText).join(', '));
    return feedRow(message, 'SCHEMA', label, tableName, '', values, whole);
}

function noticeRow({text, warning}) {
    return el('li', {className: warning ? 'notice warning' : 'notice'}, text);
}

/* The feed: what arrives is drawn once per frame, newest first */

const feed = $('feed');
let pending = [];
let pendingChanges = 0;
let frame = 0;
let paused = false;
let secondCount = 0;
let unannounced = 0;

function draw() {
    frame = 0;
    if (paused) return;
    const items = pending.slice(-MAX_CHANGES);
    pending = [];
    pendingChanges = 0;
    feed.prepend(...items.map(({make, item}) => make(item)).reverse());
    while (feed.children.length > MAX_CHANGES) {
        if (feed.lastChild.contains(document.activeElement)) feed.focus();
        feed.lastChild.remove();
    }
}

function showPause() {
    const waiting = pendingChanges ? ` (${pendingChanges.toLocaleString()})` : '';
    $('pause').textContent = paused ? `Resume${waiting}` : 'Pause';
    $('pause').setAttribute('aria-pressed', paused);
}

function add(make, item) {
    pending.push({make, item});
    if (pending.length > 2 * MAX_CHANGES) pending = pending.slice(-MAX_CHANGES);
    if (make !== noticeRow) {
        pendingChanges++;
        secondCount++;
        unannounced++;
    }
    if (!paused && !frame) frame = requestAnimationFrame(draw);
}

function notice(text, warning = false) {
    add(noticeRow, {text, warning});
}

$('pause').addEventListener('click', () => {
    paused = !paused;
    if (!paused) draw();
    showPause();
});

$('clear').addEventListener('click', () => {
    pending = [];
    pendingChanges = 0;
    feed.replaceChildren();
    showPause();
});

feed.addEventListener('keydown', (event) => {
    const rows = [...feed.querySelectorAll('summary')];
    const at = rows.indexOf(document.activeElement);
    const to = {ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1}[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    rows[to].focus();
});

/* What is watched: a new choice replaces the old one only when the server has accepted it */

let current = null;
let wanted = null;
let typing = 0;

function chosenEvents() {
    return [...document.querySelectorAll('input[name="event"]:checked')].map((box) => box.value);
}

function showFilterError(text) {
    $('filter-error').textContent = text;
    $('filter').setAttribute('aria-invalid', text !== '');
}

function describe(table, filter, events) {
    const what = table === '*' ? 'all tables' : table;
    const kinds = events.length === EVENTS.length ? '' : `, ${events.join(' and ')} only`;
    return `Watching ${what}${filter && ` where ${filter}`}${kinds}`;
}

function accepted(subscription, description) {
    if (subscription !== wanted) return;
    if (current) {
        current.unsubscribe();
        notice(description);
    }
    current = subscription;
    wanted = null;
    showFilterError('');
}

function refused(subscription, error) {
    if (subscription === wanted) wanted = null;
    else if (subscription === current) notice(`No longer watching: ${error.message}`, true);
    else return;
    if (subscription === current && subscription.closed) current = null;
    showFilterError(error.message);
}

function watch() {
    clearTimeout(typing);
    const table = $('table').value;
    const filter = $('filter').value.trim();
    const events = EVENTS.filter((e) => chosenEvents().includes(e));
    for (const node of document.querySelectorAll('#tables details')) {
        node.toggleAttribute('data-watched', node.dataset.name === table);
    }
    wanted?.unsubscribe();
    wanted = null;
    if (!events.length) {
        current?.unsubscribe();
        current = null;
        showFilterError('');
        return;
    }
    const subscription = client.subscribe(table, {
        filter: filter || undefined,
        events: events.length < EVENTS.length ? events : undefined,
        onChange: (change) => { if (subscription === current) add(changeRow, change); },
        onError: (error) => refused(subscription, error),
        onResync: ({reason}) => {
            if (subscription === current) notice(`${lossText(reason)}: changes in between are not shown`, true);
        },
    });
    wanted = subscription;
    subscription.ready.then(() => accepted(subscription, describe(table, filter, events)), () => {});
}

function lossText(reason) {
    return {
        reconnected: 'The connection was lost and came back',
        slow_consumer: 'This page was too slow for the stream',
        capture_gap: 'The server could not read what another program wrote',
        rowids_renumbered: 'VACUUM renumbered rowids',
    }[reason] ?? `The stream was interrupted (${reason})`;
}

$('watch').addEventListener('submit', (event) => {
    event.preventDefault();
    watch();
});
$('filter').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(watch, 400);
});
$('table').addEventListener('change', watch);
for (const box of document.querySelectorAll('input[name="event"]')) {
    box.addEventListener('change', () => { if (box.value !== 'SCHEMA') watch(); });
}

function schemaChanged(message) {
    if (!message.type.startsWith('table:')) return;
    loadTables();
    const {tableName, changes} = message.data;
    const table = $('table').value;
    const concerned = table === '*' || table === tableName || table === changes?.renamedFrom;
    if (concerned && chosenEvents().includes('SCHEMA')) add(schemaRow, message);
}

/* Tables */

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

function columnNodes(column) {
    const {type, primaryKey, notNull, generated} = column;
    const marks = [type, primaryKey && 'key', notNull && 'not null', generated && 'generated'];
    const text = marks.filter(Boolean).join(' ');
    return [el('dt', {className: 'mono'}, column.name), el('dd', {className: 'mono'}, text)];
}

/* Only tables have rows whose changes are reported; a view or virtual table can still be browsed. */
const watchable = ({kind}) => kind === undefined || kind === 'table';

function tableNode(table, open) {
    const columns = el('dl', {}, ...table.columns.flatMap(columnNodes));
    const watchIt = el('button', {type: 'button', onclick: () => {
        $('table').value = table.name;
        $('filter').value = '';
        watch();
    }}, 'Watch');
    const browse = el('button', {type: 'button', onclick: () => {
        $('sql').value = `SELECT * FROM ${quoted(table.name)} LIMIT 100`;
        if (watchable(table)) showLive(table);
        else run();
    }}, 'Browse');
    const kind = watchable(table) ? [] : [' ', el('span', {className: 'muted'}, table.kind)];
    const details = el('details', {open}, el('summary', {}, table.name, ...kind), columns,
        el('p', {className: 'actions'}, ...(watchable(table) ? [watchIt] : []), browse));
    details.dataset.name = table.name;
    details.toggleAttribute('data-watched', $('table').value === table.name);
    return el('li', {}, details);
}

function showTables() {
    const open = new Set([...document.querySelectorAll('#tables details[open]')].map((d) => d.dataset.name));
    const select = $('table');
    const chosen = select.value;
    $('tables').replaceChildren(...[...tables.values()].map((t) => tableNode(t, open.has(t.name))));
    $('tables-empty').hidden = tables.size > 0;
    $('table-count').textContent = tables.size || '';
    const names = [...tables.values()].filter(watchable).map(({name}) => name);
    const gone = chosen !== '*' && !names.includes(chosen) ? [el('option', {value: chosen}, `${chosen} (gone)`)] : [];
    select.replaceChildren(el('option', {value: '*'}, 'all tables'),
        ...names.map((name) => el('option', {value: name}, name)), ...gone);
    select.value = chosen;
}

let loading = false;
let loadAgain = false;

async function loadTables() {
    loadAgain = true;
    if (loading) return;
    loading = true;
    while (loadAgain) {
        loadAgain = false;
        try {
            const answer = await client.fetch('api/tables');
            tables.clear();
            for (const table of answer.tables ?? answer) tables.set(table.name, table);
            showTables();
        } catch (error) {
            notice(`The list of tables could not be read: ${error.message}`, true);
        }
    }
    loading = false;
}

/* SQL */

/* The view whose rows are shown, or null. */
let live = null;

function showResult(result, fresh) {
    const {columns = [], rows = [], changes = 0, durationMs, seq, total = rows.length} = result;
    const count = columns.length ? plural(total, 'row') : `${plural(changes, 'row')} changed`;
    const parts = [count];
    if (total > MAX_ROWS) parts.push(`the first ${MAX_ROWS} shown`);
    if (durationMs !== undefined) parts.push(`${durationMs.toFixed(1)} ms`);
    if (seq !== undefined) parts.push(`seq ${seq}`);
    if (live) parts.push('live');
    $('sql-status').textContent = parts.join(' · ');
    $('rows').hidden = columns.length === 0;
    $('rows').replaceChildren(...(columns.length ? [resultTable(result, fresh)] : []));
}

/* A table's rows, kept as they are in the database until something else is shown in their place */

function endLive() {
    live?.close();
    live = null;
}

function drawLive(view, name, touched) {
    const entries = [...view.rows].slice(0, MAX_ROWS);
    const columns = Object.keys(entries[0]?.[1] ?? {});
    const known = tables.get(name)?.columns.map((c) => c.name) ?? [];
    const lines = entries.map(([key, row]) => [key, columns.map((c) => row[c])]);
    const fresh = new Set(lines.filter(([key]) => touched.has(key)).map(([, line]) => line));
    const {scrollTop, scrollLeft} = $('rows');
    const rows = lines.map(([, line]) => line);
    showResult({columns: columns.length ? columns : known, rows, total: view.rows.size, seq: view.seq}, fresh);
    Object.assign($('rows'), {scrollTop, scrollLeft});
}

function showLive({name}) {
    const touched = new Set();
    let asked = 0;
    endLive();
    $('sql-error').hidden = true;
    $('sql-status').textContent = 'Reading…';
    const drawView = () => {
        asked = 0;
        if (live === view) drawLive(view, name, touched);
        touched.clear();
    };
    const view = client.view(name, {
        maxRows: MAX_LIVE,
        onChange: (_, changes = []) => {
            /* A hidden page is not drawn. */
            if (!document.hidden) for (const {key} of changes) touched.add(stringify(key));
            asked ||= requestAnimationFrame(drawView);
        },
        onError: (error) => {
            if (live !== view) return;
            live = null;
            if (error.code === 'LIMIT_EXCEEDED') run();
            else showSqlError('', error);
        },
    });
    live = view;
}

function showSqlError(sql, error) {
    $('sql-status').textContent = error.code === 'SQL_ERROR' ? 'The statement failed.' : 'The request failed.';
    $('rows').hidden = true;
    $('sql-error').hidden = false;
    $('sql-error').textContent = error.message + errorPlace(sql, error.offset);
}

async function run() {
    const sql = $('sql').value;
    if (!sql.trim() || $('run').disabled) return;
    endLive();
    $('run').disabled = true;
    $('sql-error').hidden = true;
    $('sql-status').textContent = 'Running…';
    try {
        const result = await client.sql(sql);
        if (!live) showResult(result);
    } catch (error) {
        if (!live) showSqlError(sql, error);
    }
    $('run').disabled = false;
}

$('sql-form').addEventListener('submit', (event) => {
    event.preventDefault();
    run();
});
$('sql').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    run();
});
document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target.closest('input, textarea, select')) return;
    event.preventDefault();
    $('filter').focus();
});

/* Header */

function showState(state, text) {
    $('state').dataset.state = state;
    $('state').textContent = text;
}

let shownSeq = null;

function showSeq(seq) {
    if (seq === null || seq < shownSeq) return;
    shownSeq = seq;
    $('seq').textContent = seq.toLocaleString();
}

async function loadHealth() {
    if (document.hidden || client.state !== 'open') return;
    try {
        const {connectedClients, database} = await client.fetch('health');
        $('clients').textContent = connectedClients.toLocaleString();
        $('database').textContent = $('database').title = database.path;
        document.title = `${database.path.split('/').at(-1)} – rowtap`;
        showSeq(database.seq);
        showState('open', 'Connected');
    } catch {
        if (client.state === 'open') showState('closed', 'The database cannot be read');
    }
}

client.on('open', ({seq}) => {
    shownSeq = null;
    showSeq(seq);
    showState('open', 'Connected');
    loadTables();
    loadHealth();
});
client.on('close', () => {
    showState('waiting', 'Disconnected, trying again');
    $('clients').textContent = '–';
});

setInterval(() => {
    $('rate').textContent = secondCount.toLocaleString();
    secondCount = 0;
    showSeq(client.seq);
    if (paused) showPause();
}, 1000);
setInterval(() => {
    if (unannounced && !paused) $('announce').textContent = plural(unannounced, 'new change');
    unannounced = 0;
}, 5000);
setInterval(loadHealth, 5000);
document.addEventListener('visibilitychange', loadHealth);

if (matchMedia('(max-width: 760px)').matches) $('schema').open = false;
client.channel('tables', {onChange: schemaChanged, onResync: loadTables});
watch();
