/*
 * The page at /: tables, a live feed of changes, channels, how the server is, and a box to run SQL in.
 * Whatever comes from the server is put into the page as text nodes only.
 */
import {openChannels} from './channels.js';
import {Feed, changeRow, schemaRow} from './feed.js';
import {$, el, plural} from './page.js';
import {connect} from './rowtap.js';
import {openServer} from './server.js';
import {openSignIn, token} from './signin.js';
import {openSql} from './sql.js';

const EVENTS = ['INSERT', 'UPDATE', 'DELETE'];

const client = connect(undefined, {token});
const tables = new Map();
const feed = new Feed($('feed'));
const sql = openSql(client, tables);
openSignIn(client);

let secondCount = 0;
let unannounced = 0;

function showPause() {
    const waiting = feed.paused && feed.waiting ? ` (${feed.waiting.toLocaleString()})` : '';
    $('pause').textContent = feed.paused ? `Resume${waiting}` : 'Pause';
    $('pause').setAttribute('aria-pressed', feed.paused);
}

function add(make, item) {
    feed.add(make, item);
    secondCount++;
    unannounced++;
}

$('pause').addEventListener('click', () => {
    feed.pause(!feed.paused);
    showPause();
});

$('clear').addEventListener('click', () => {
    feed.clear();
    showPause();
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
        feed.notice(description);
    }
    current = subscription;
    wanted = null;
    showFilterError('');
}

function refused(subscription, error) {
    if (subscription === wanted) wanted = null;
    else if (subscription === current) feed.notice(`No longer watching: ${error.message}`, true);
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
            if (subscription === current) feed.notice(`${lossText(reason)}: changes in between are not shown`, true);
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
        if (watchable(table)) sql.showLive(table);
        else sql.run();
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
            feed.notice(`The list of tables could not be read: ${error.message}`, true);
        }
    }
    loading = false;
}

/* Tabs and keys */

const tabs = [...document.querySelectorAll('[role="tab"]')];
const opened = new Map([['channels', openChannels(client)], ['server', openServer(client)]]);

function show(tab) {
    for (const each of tabs) {
        const panel = each.getAttribute('aria-controls');
        each.setAttribute('aria-selected', each === tab);
        each.tabIndex = each === tab ? 0 : -1;
        $(panel).hidden = each !== tab;
        opened.get(panel)?.shown(each === tab);
    }
}

for (const tab of tabs) {
    tab.addEventListener('click', () => show(tab));
    tab.addEventListener('keydown', ({key}) => {
        const to = tabs[(tabs.indexOf(tab) + ({ArrowRight: 1, ArrowLeft: -1}[key] ?? 0) + tabs.length) % tabs.length];
        if (to === tab) return;
        show(to);
        to.focus();
    });
}

const KEYS = {
    '/': () => { show(tabs[0]); $('filter').focus(); },
    p: () => $('pause').click(),
    s: () => $('sql').focus(),
    1: () => { show(tabs[0]); tabs[0].focus(); },
    2: () => { show(tabs[1]); tabs[1].focus(); },
    3: () => { show(tabs[2]); tabs[2].focus(); },
    '?': () => $('keys').showModal(),
};

document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input:not([type="checkbox"]), textarea, select, dialog');
    if (event.key === 'Escape' && !event.target.closest('dialog')) sql.cancel();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
});
$('help').addEventListener('click', () => $('keys').showModal());

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
    if (feed.paused) showPause();
}, 1000);
setInterval(() => {
    if (unannounced && !feed.paused) $('announce').textContent = plural(unannounced, 'new change');
    unannounced = 0;
}, 5000);
setInterval(loadHealth, 5000);
document.addEventListener('visibilitychange', loadHealth);

if (matchMedia('(max-width: 760px)').matches) $('schema').open = false;
client.channel('tables', {onChange: schemaChanged, onResync: loadTables});
watch();
