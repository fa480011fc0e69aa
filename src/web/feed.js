/*
 * Lists of what arrives, newest first, and their rows: changes, DDL, notices.
 */
import {el, same, valueNode, valueText} from './page.js';

const MAX_ITEMS = 500; /* kept in the page */

/** Draws what was added once per frame; holds it back while paused. */
export class Feed {
    constructor(list) {
        this.list = list;
        this.paused = false;
        this.waiting = 0; /* of those that count */
        this._pending = [];
        this._frame = 0;
        list.addEventListener('keydown', (event) => this._move(event));
    }

    /** `make(item)` gives the row, when it is drawn. */
    add(make, item, counts = true) {
        this._pending.push({make, item});
        if (this._pending.length > 2 * MAX_ITEMS) this._pending = this._pending.slice(-MAX_ITEMS);
        if (counts) this.waiting++;
        if (!this.paused && !this._frame) this._frame = requestAnimationFrame(() => this._draw());
    }

    notice(text, warning = false) {
        this.add(noticeRow, {text, warning}, false);
    }

    pause(on) {
        this.paused = on;
        if (!on) this._draw();
    }

    clear() {
        this._pending = [];
        this.waiting = 0;
        this.list.replaceChildren();
    }

    _draw() {
        this._frame = 0;
        if (this.paused) return;
        const items = this._pending.slice(-MAX_ITEMS);
        this._pending = [];
        this.waiting = 0;
        this.list.prepend(...items.map(({make, item}) => make(item)).reverse());
        while (this.list.children.length > MAX_ITEMS) {
            if (this.list.lastChild.contains(document.activeElement)) this.list.focus();
            this.list.lastChild.remove();
        }
    }

    _move(event) {
        const rows = [...this.list.querySelectorAll('summary')];
        const at = rows.indexOf(document.activeElement);
        const to = {ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1}[event.key];
        if (to === undefined || !rows[to]) return;
        event.preventDefault();
        rows[to].focus();
    }
}

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

export function plainValue(column, value, className = 'value') {
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

/** A line of a feed; `whole` makes what is below it once it is opened. */
export function feedRow(message, kind, label, table, key, values, whole) {
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

export function changeRow(change) {
    const key = Object.values(change.key ?? {}).map(valueText).join(', ');
    return feedRow(change, change.event, change.event, change.table, key, rowValues(change), () => wholeRow(change));
}

const columnText = (c) => [c.name, c.type].filter(Boolean).join(' ');

export function schemaRow(message) {
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

export function noticeRow({text, warning}) {
    return el('li', {className: warning ? 'notice warning' : 'notice'}, text);
}
