/*
 * The SQL box: runs queries over the socket, with their progress, and keeps a table's rows as they are.
 */
import {$, MAX_ROWS, errorPlace, plural, resultTable} from './page.js';
import {stringify} from './rowtap.js';

const MAX_LIVE = 10000;    /* rows of a table that are kept live */
const PROGRESS_AFTER = 250; /* milliseconds without a result */

/** `tables`: what is known of them, by name. @returns {{run: Function, cancel: Function, showLive: Function}} */
export function openSql(client, tables) {
    /* The view whose rows are shown, or null. */
    let live = null;
    /* The query under way, or null. */
    let running = null;

    function showRows(result, fresh) {
        $('rows').hidden = result.columns.length === 0;
        $('rows').replaceChildren(...(result.columns.length ? [resultTable(result, fresh)] : []));
    }

    function showStatus({columns, total, changes = 0, duration, seq}) {
        const parts = [columns.length ? plural(total, 'row') : `${plural(changes, 'row')} changed`];
        if (total > MAX_ROWS) parts.push(`the first ${MAX_ROWS} shown`);
        if (duration !== undefined) parts.push(time(duration));
        if (seq !== undefined) parts.push(`seq ${seq.toLocaleString()}`);
        if (live) parts.push('live');
        $('sql-status').textContent = parts.join(' · ');
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
        const result = {columns: columns.length ? columns : known, rows};
        showRows(result, fresh);
        showStatus({...result, total: view.rows.size, seq: view.seq});
        Object.assign($('rows'), {scrollTop, scrollLeft});
    }

    function showLive({name}) {
        const touched = new Set();
        let asked = 0;
        cancel();
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

    function begin() {
        const since = performance.now();
        const state = {rows: [], count: 0, percent: null, elapsed: () => performance.now() - since};
        state.show = () => {
            $('sql-status').textContent = `Running · ${plural(state.count, 'row')} · ${time(state.elapsed())}`;
            $('sql-progress').hidden = false;
            if (state.percent === null) $('sql-progress').removeAttribute('value');
            else $('sql-progress').value = state.percent;
        };
        state.timer = setTimeout(() => {
            state.show();
            state.timer = setInterval(state.show, 250);
        }, PROGRESS_AFTER);
        endLive();
        $('sql-error').hidden = true;
        $('sql-status').textContent = 'Running…';
        showRunning(true);
        return state;
    }

    function end(state) {
        clearTimeout(state.timer);
        clearInterval(state.timer);
        running = null;
        $('sql-progress').hidden = true;
        const focused = document.activeElement === $('cancel');
        showRunning(false);
        if (focused) $('run').focus();
    }

    function showRunning(on) {
        for (const id of ['run', 'run-keys']) $(id).hidden = on;
        for (const id of ['cancel', 'cancel-keys']) $(id).hidden = !on;
    }

    function take(state, rows, columns) {
        const room = MAX_ROWS - state.rows.length;
        state.count += rows.length;
        if (room <= 0) return;
        state.rows.push(...rows.slice(0, room));
        showRows({columns, rows: state.rows});
    }

    function showEnd(state, sql, error) {
        if (error.code !== 'QUERY_CANCELLED' || !state.cancelled) return showSqlError(sql, error);
        $('sql-status').textContent = `Cancelled after ${plural(state.count, 'row')} · ${time(state.elapsed())}`;
        if (!state.rows.length) $('rows').hidden = true;
    }

    async function run() {
        const sql = $('sql').value;
        if (!sql.trim() || running) return;
        const state = begin();
        try {
            running = client.query(sql, undefined, {
                onProgress: ({rowCount, progress}) => {
                    state.count = Math.max(state.count, rowCount);
                    state.percent = progress;
                },
                onRows: (rows, {columns}) => take(state, rows, columns),
            });
            running.state = state;
            const {columns, rowCount, changes, duration, seq} = await running;
            if (live) return;
            showRows({columns, rows: state.rows});
            showStatus({columns, total: rowCount, changes, duration, seq});
        } catch (error) {
            if (!live) showEnd(state, sql, error);
        } finally {
            end(state);
        }
    }

    function cancel() {
        if (!running) return;
        running.state.cancelled = true;
        running.cancel();
    }

    $('sql-form').addEventListener('submit', (event) => {
        event.preventDefault();
        run();
    });
    $('cancel').addEventListener('click', cancel);
    $('sql').addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        run();
    });
    return {run, cancel, showLive};
}

const time = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);
