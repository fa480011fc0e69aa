/*
 * Elements and values for the page. Texts go into it as text nodes only.
 */

/** Rows of a result that are shown. */
export const MAX_ROWS = 200;
const MAX_TEXT = 80; /* characters of a value in the feed */

export const $ = (id) => document.getElementById(id);
export const el = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
};
export const plural = (n, noun) => `${n.toLocaleString()} ${noun}${Number(n) === 1 ? '' : 's'}`;

function blobText(bytes) {
    const hex = Array.from(bytes.subarray(0, 16), (b) => b.toString(16).padStart(2, '0')).join('');
    return bytes.length > 16 ? `x'${hex}…' (${plural(bytes.length, 'byte')})` : `x'${hex}'`;
}

export function valueText(value) {
    if (value === null || value === undefined) return 'NULL';
    if (value instanceof Uint8Array) return blobText(value);
    return value === '' ? "''" : String(value);
}

export function valueNode(value, tag = 'span', max = MAX_TEXT) {
    const text = valueText(value);
    const node = el(tag, {}, text.length > max ? `${text.slice(0, max)}…` : text);
    if (value === null) node.classList.add('null');
    return node;
}

export function same(a, b) {
    const blobs = a instanceof Uint8Array && b instanceof Uint8Array;
    return a === b || (blobs && a.length === b.length && a.every((byte, i) => byte === b[i]));
}

const isNumber = (value) => typeof value === 'number' || typeof value === 'bigint';

/** The first rows of a result; those in `fresh` are marked. */
export function resultTable({columns, rows}, fresh = new Set()) {
    const shown = rows.slice(0, MAX_ROWS);
    const numeric = columns.map((_, i) => {
        const values = shown.map((row) => row[i]).filter((value) => value !== null);
        return values.length > 0 && values.every(isNumber);
    });
    const cell = (value, i) => {
        const node = valueNode(value, 'td', 2000);
        if (numeric[i]) node.classList.add('number');
        return node;
    };
    const head = columns.map((c, i) => el('th', {scope: 'col', className: numeric[i] ? 'number' : ''}, c));
    return el('table', {}, el('thead', {}, el('tr', {}, ...head)),
        el('tbody', {}, ...shown.map((row) => el('tr', {className: fresh.has(row) ? 'fresh' : ''}, ...row.map(cell)))));
}

/** The line of an error in a statement and a caret below it; SQLite counts bytes. */
export function errorPlace(sql, offset) {
    if (typeof offset !== 'number' || offset < 0) return '';
    const before = new TextDecoder().decode(new TextEncoder().encode(sql).subarray(0, offset));
    const line = sql.split('\n')[before.split('\n').length - 1];
    const column = before.length - before.lastIndexOf('\n') - 1;
    const from = column > 60 ? column - 50 : 0;
    const head = from ? '…' : '';
    const tail = line.length > column + 50 ? '…' : '';
    return `\n\n${head}${line.slice(from, column + 50)}${tail}\n${' '.repeat(head.length + column - from)}^`;
}
