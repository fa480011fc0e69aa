/**
 * Client of a rowtap server: subscribe to the changes of SQLite tables and run SQL. For browsers and
 * Node (before version 22 pass the WebSocket class of the npm package `ws`). No dependencies.
 *
 *     import {connect} from 'http://127.0.0.1:8080/rowtap.js';
 *     const client = connect();
 *     client.subscribe('users', {filter: 'age >= 18', onChange: (c) => console.log(c.event, c.data)});
 *     for await (const change of client.subscribe('orders')) console.log(change.key);
 *     const adults = client.view('users', {filter: 'age >= 18', onChange: () => draw(adults.rows.values())});
 *     const {rows} = await client.sql('SELECT * FROM users WHERE id = ?', [7]);
 *     for await (const page of client.query('SELECT * FROM log')) console.log(page.length);
 *     await client.channel('room:1').on('said', (data) => console.log(data)).broadcast('said', {text: 'hello'});
 *
 * INTEGERs past 2^53 are BigInts, BLOBs are Uint8Arrays, both ways.
 *
 * @typedef {object} Change One INSERT, UPDATE or DELETE; they come in commit order.
 * @property {'INSERT'|'UPDATE'|'DELETE'} event
 * @property {string} table
 * @property {object} key the primary key, or {rowid}; `oldKey` is there when an UPDATE changed it
 * @property {object} data the new row; for DELETE the old one
 * @property {object} [old] the old row of an UPDATE or DELETE
 * @property {'enter'|'leave'} [transition] an UPDATE after which the filter matches, or no longer does
 * @property {number} seq rises by one per change over the whole database; `tx` per transaction
 * @property {number} timestamp wall clock at the commit, in milliseconds
 *
 * @typedef {object} Resync Changes may be missing: read the data again if you keep a copy.
 * @property {string} reason the server's, such as 'history_lost', or 'reconnected'
 * @property {number} [lastSeq] what follows this change, up to `seq`, may be missing
 *
 * @typedef {object} QueryResult
 * @property {string} queryId
 * @property {string[]} columns
 * @property {Array[]} [rows] not there when they went to onRows or to a loop
 * @property {number} rowCount
 * @property {number} duration in milliseconds
 *
 * @typedef {object} Progress
 * @property {number} rowCount rows so far
 * @property {number} elapsed in milliseconds
 * @property {number|null} progress percent, where it can be known
 *
 * @typedef {object} Cursor
 * @property {string} connectionId
 * @property {string|null} table null: nowhere
 * @property {any} row its key
 * @property {string|null} column
 *
 * @typedef {object} User one may have several connections (tabs, devices), each with a cursor
 * @property {string} userId
 * @property {Set<string>} connectionIds
 * @property {Map<string, Cursor>} cursors by connection
 */

/* Milliseconds to wait before trying again. */
const BACKOFF = {min: 500, max: 30000};
/* Milliseconds to wait for an answer. */
const TIMEOUT = 30000;
/* Calls that wait for the connection. */
const MAX_PENDING = 1000;

let queries = 0;

/* No text of another client can contain this: it is made here and never sent. */
const BIG = `big-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}:`;

/** Writes integers that a Number cannot hold as marked strings, which `revive` turns into BigInts. */
function markBigIntegers(text) {
    const token = /"|-?\d[\d.eE+-]*/g;
    let out = '';
    let from = 0;
    for (let m = token.exec(text); m; m = token.exec(text)) {
        if (m[0] === '"') {
            let end = m.index;
            let slashes;
            do {
                end = text.indexOf('"', end + 1);
                if (end < 0) return text;
                for (slashes = 0; text[end - 1 - slashes] === '\\';) slashes++;
            } while (slashes % 2);
            token.lastIndex = end + 1;
        } else if (/^-?\d{16,}$/.test(m[0]) && !Number.isSafeInteger(Number(m[0]))) {
            out += `${text.slice(from, m.index)}"${BIG}${m[0]}"`;
            from = token.lastIndex;
        }
    }
    return out + text.slice(from);
}

function revive(name, value) {
    if (typeof value === 'string' && value.startsWith(BIG)) return BigInt(value.slice(BIG.length));
    const base64 = value?.$base64;
    if (typeof base64 !== 'string' || Object.keys(value).length !== 1) return value;
    try {
        return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    } catch {
        return value;
    }
}

/** JSON.parse for the server's JSON: big integers become BigInts, `{"$base64"}` a Uint8Array. */
export function parse(text) {
    return /\d{16}|\$base64/.test(text) ? JSON.parse(markBigIntegers(text), revive) : JSON.parse(text);
}

function base64Of(bytes) {
    let text = '';
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
}

/** JSON.stringify for the server: takes BigInts, Uint8Arrays (any view or ArrayBuffer) and infinities. */
export function stringify(value) {
    if (typeof value === 'bigint') return String(value);
    if (value === Infinity || value === -Infinity) return value > 0 ? '9e999' : '-9e999';
    if (value instanceof ArrayBuffer) return stringify(new Uint8Array(value));
    if (ArrayBuffer.isView(value)) {
        return `{"$base64":"${base64Of(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}"}`;
    }
    if (Array.isArray(value)) return `[${value.map(stringify).join(',')}]`;
    if (value === null || typeof value !== 'object' || typeof value.toJSON === 'function') {
        return JSON.stringify(value) ?? 'null';
    }
    const members = Object.entries(value).filter(([, v]) => v !== undefined && typeof v !== 'function');
    return `{${members.map(([k, v]) => `${JSON.stringify(k)}:${stringify(v)}`).join(',')}}`;
}

/** An error that the server reported, or the end of the connection (`code` is then 'DISCONNECTED'). */
export class RowtapError extends Error {
    /** @param {{code?: string, message?: string}} detail its other members are copied, such as `offset` */
    constructor(detail) {
        super(detail?.message ?? 'the server gave no reason');
        this.name = 'RowtapError';
        this.code = 'UNKNOWN';
        for (const [k, v] of Object.entries(detail ?? {})) if (k !== 'message') this[k] = v;
    }
}

/** Runs user code; what it throws is reported as uncaught and stops nothing here. */
function call(fn, ...args) {
    try {
        fn?.(...args);
    } catch (error) {
        queueMicrotask(() => { throw error; });
    }
}

/**
 * What `client.subscribe` and `client.channel` return. Without `onChange`, what arrives waits here for
 * one `for await` loop (at most `maxQueue` items); leaving that loop unsubscribes.
 */
class Subscription {
    constructor(client, request, options) {
        this._client = client;
        this._request = request;
        this._options = options;
        this._waiting = [];
        this._wake = () => {};
        this._iterated = false;
        this._live = false;
        /* Its rows are on their way, and cannot be gone on with on another connection. */
        this._copying = false;
        /* Snapshots without an end, one after the other. */
        this._failures = 0;
        /* Where to go on, when that is before `seq`. */
        this._kept = null;
        /* The past cannot be had: a resync that says why is on its way, and then the rows. */
        this._inVain = false;
        /** The server's name for it on this connection ("s1"), or null. */
        this.id = null;
        /** The last change it saw or can know of, in the numbering of `epoch`: where to resume. */
        this.seq = null;
        this.epoch = null;
        this.closed = false;
        /** Settles when the server first answered: from then on no commit is missed. */
        this.ready = new Promise((resolve, reject) => Object.assign(this, {_resolve: resolve, _reject: reject}));
        this.ready.catch(() => {});
    }

    /** Ends it; nothing is delivered afterwards. */
    unsubscribe() {
        if (this.closed) return;
        this._client._forget(this);
        this._end(null);
    }

    async *[Symbol.asyncIterator]() {
        if (this._options.onChange || this._iterated) throw new TypeError('iterate once, and without onChange');
        this._iterated = true;
        try {
            while (this._waiting.length || !this.closed) {
                if (this._waiting.length) yield this._waiting.shift();
                else await new Promise((resolve) => { this._wake = resolve; });
            }
            if (this._error) throw this._error;
        } finally {
            this.unsubscribe();
        }
    }

    _deliver(item, seq) {
        if (this.closed || (seq !== undefined && this._request.channel && seq <= this.seq)) return;
        if (seq !== undefined) this.seq = seq;
        if (this._options.onChange) {
            call(this._options.onChange, item);
        } else if (this._waiting.length < (this._options.maxQueue ?? 10000)) {
            this._waiting.push(item);
            this._wake();
        } else {
            this._client._forget(this);
            this._end(new RowtapError({code: 'LIMIT_EXCEEDED', message:
                `${this._waiting.length} changes wait unread: iterate faster, raise maxQueue or use onChange`}));
        }
    }

    _subscribed(data) {
        this.id = data?.subscription ?? null;
        const again = this.epoch !== null;
        const here = this.epoch === this._client.epoch && this.seq === data?.seq;
        const missed = again && !data?.recovered && !(this._keepsPlace() && here);
        const resync = {reason: 'reconnected', lastSeq: this.seq, seq: data?.seq};
        if (!data?.recovered || !again) this.seq = data?.seq ?? this._client.seq;
        this.epoch = this._client.epoch;
        /* With recovered:false the server's resync follows and says why. */
        const {snapshot} = this._request;
        if (missed && data?.recovered === undefined && !snapshot) call(this._options.onResync, resync);
        /* What changed since a snapshot was taken may come later than what its neighbours are sent. */
        this._live = !data?.recovered && !snapshot;
        this._copying = this._first = Boolean(snapshot) && !data?.recovered;
        this._inVain = data?.recovered === false;
        this._resolve(this);
        return missed;
    }

    _rows({data, seq, last}) {
        if (this.closed) return;
        const info = {seq, first: this._first, last};
        this._first = false;
        this._copying = !last;
        if (last) this._failures = 0;
        call(this._options.onSnapshot, data.rows, info);
    }

    /* DDL about its table. The channel may be ahead of the subscription, or repeat what that has brought. */
    _schema(message, own) {
        const {seq} = message;
        const {epoch} = this._client;
        if (this.closed || (this._ddl?.epoch === epoch && seq <= this._ddl.seq)) return;
        this._ddl = {epoch, seq};
        if (own && seq > this.seq) this.seq = seq;
        call(this._options.onTable, message);
    }

    _isOf({tableName, changes}) {
        const name = this._request.table?.toLowerCase();
        return name !== undefined && (name === tableName?.toLowerCase() || name === changes?.renamedFrom?.toLowerCase());
    }

    /* Channels other than the tables' have no past. */
    _keepsPlace() {
        return !this._request.channel || this._request.channel === 'tables';
    }

    /* Where to go on: what it saw, or, where it began in the present, what was sent to its neighbours. */
    _settle(done) {
        if (this._live && this._keepsPlace() && this.seq !== null && done > this.seq) this.seq = done;
        this._live = false;
    }

    _end(error) {
        this.closed = true;
        this._error = error;
        if (error && this._options.onError) call(this._options.onError, error);
        else if (error && !this._iterated) this._client._emit('error', error);
        this._reject(error ?? new RowtapError({code: 'UNSUBSCRIBED', message: 'unsubscribed'}));
        this._wake();
    }
}

/**
 * What `client.channel` returns: messages go to the listeners by their event (or type), to `onChange`,
 * or, where there are neither, wait for `for await`.
 */
class Channel extends Subscription {
    constructor(client, name, options) {
        super(client, {channel: name}, options);
        this._listeners = new Map();
        this.name = name;
    }

    /**
     * @param {string} event such as 'table:created' or what is given to `broadcast`; '*' is every one
     * @param {(data: any, message: object) => void} listener
     * @returns {this} so that calls can be chained
     */
    on(event, listener) {
        if (!this._listeners.has(event)) this._listeners.set(event, new Set());
        this._listeners.get(event).add(listener);
        return this;
    }

    /** Undoes `on`. @returns {this} */
    off(event, listener) {
        this._listeners.get(event)?.delete(listener);
        return this;
    }

    /**
     * Sends to all that are subscribed to the channel.
     * @param {string} event
     * @param {any} [data]
     * @param {{self?: boolean, timeout?: number}} [options] self: false leaves this connection out
     * @returns {Promise<number>} how many connections it was delivered to
     */
    broadcast(event, data, options) {
        return this._client.broadcast(this.name, event, data, options);
    }

    /** The same as `unsubscribe`. */
    leave() {
        this.unsubscribe();
    }

    _deliver(message, seq) {
        const before = this.seq;
        if (this._options.onChange || !this._listeners.size) super._deliver(message, seq);
        else if (seq > before) this.seq = seq;
        if (!this.closed && !(seq <= before)) this._tell(message);
    }

    _tell(message) {
        for (const event of [message.event ?? message.type, '*']) this._call(event, message.data, message);
    }

    _call(event, ...args) {
        for (const listener of [...this._listeners.get(event) ?? []]) call(listener, ...args);
    }
}

/**
 * What `client.presence` returns: who is on the channel now, and where their cursors are. `on` also takes
 * 'joined' and 'left' (the User), 'cursor' (the Cursor, its User) and 'change' (the map of users).
 */
class Presence extends Channel {
    constructor(client, name, {interval = 50, ...options} = {}) {
        super(client, name, options);
        /** By their userId. @type {Map<string, User>} */
        this.users = new Map();
        /** How many there are; `users` has fewer where there are too many to tell. */
        this.userCount = 0;
        /** This connection's user. @type {string|null} */
        this.userId = null;
        this._interval = interval;
        this._sentAt = -Infinity;
    }

    /**
     * Shows the others where this connection's cursor is; the newest position of each `interval` (50 ms) is sent.
     * @param {{table: string, row?: any, column?: string}|null} position null: nowhere
     */
    moveCursor(position) {
        this._position = {table: position?.table ?? null, row: position?.row ?? null, column: position?.column ?? null};
        this._moved = true;
        const wait = this._sentAt + this._interval - performance.now();
        if (wait <= 0) this._sendCursor();
        else this._timer ??= setTimeout(() => this._sendCursor(), wait);
    }

    _sendCursor() {
        clearTimeout(this._timer);
        this._timer = null;
        /* Others see it when this connection is on the channel. */
        if (this.closed || !this._moved || !this._joined) return;
        [this._moved, this._sentAt] = [false, performance.now()];
        this._client._send({type: 'user:cursor', data: this._position});
    }

    _subscribed(data) {
        const missed = super._subscribed(data);
        this._joined = true;
        this.userId = data?.userId ?? null;
        if (data?.connectedUsers) this._replace(data.connectedUsers);
        this._count(data);
        this._call('change', this.users);
        if (this._position?.table) this._moved = true;
        this._sendCursor();
        return missed;
    }

    _settle(done) {
        super._settle(done);
        this._joined = false;
    }

    _end(error) {
        clearTimeout(this._timer);
        super._end(error);
    }

    _deliver(message, seq) {
        if (this.closed) return;
        const {type, data} = message;
        if (type === 'user:cursor') this._cursor(data);
        else if (type === 'user:joined' || type === 'user:left') this._news(type, data);
        call(this._options.onChange, message);
        this._tell(message);
    }

    _count(data) {
        this.userCount = data?.userCount ?? this.users.size;
    }

    _news(type, {connectedUsers, ...data}) {
        if (connectedUsers) this._replace(connectedUsers);
        else if (type === 'user:joined') this._user(data.userId).connectionIds.add(data.connectionId);
        else this._remove(data);
        this._count(data);
        this._call('change', this.users);
    }

    _user(userId) {
        let user = this.users.get(userId);
        if (!user) {
            user = {userId, connectionIds: new Set(), cursors: new Map()};
            this.users.set(userId, user);
            this._call('joined', user);
        }
        return user;
    }

    _remove({userId, connectionId}) {
        const user = this.users.get(userId);
        user?.connectionIds.delete(connectionId);
        user?.cursors.delete(connectionId);
        if (user && !user.connectionIds.size) this._gone(user);
    }

    _gone(user) {
        this.users.delete(user.userId);
        this._call('left', user);
    }

    _replace(list) {
        const there = new Set(list.map(({userId}) => userId));
        for (const user of [...this.users.values()]) if (!there.has(user.userId)) this._gone(user);
        for (const {userId, connectionIds, cursors} of list) {
            const user = this._user(userId);
            user.connectionIds = new Set(connectionIds);
            user.cursors = new Map(cursors?.map((cursor) => [cursor.connectionId, cursor]));
        }
    }

    _cursor({userId, ...cursor}) {
        const user = this._user(userId);
        user.connectionIds.add(cursor.connectionId);
        if (cursor.table === null) user.cursors.delete(cursor.connectionId);
        else user.cursors.set(cursor.connectionId, cursor);
        this._call('cursor', cursor, user);
    }
}

/**
 * What `client.query` returns. Await it for the result with all rows, or take the rows page by page with
 * `for await`; leaving that loop cancels it.
 */
class Query {
    constructor(client, sql, params, {onStart, onProgress, onRows, signal, maxRows = 1000000} = {}) {
        this.queryId = `q${++queries}-${BIG.slice(4, 12)}`;
        /** Known when the first rows come. @type {string[]} */
        this.columns = [];
        this.closed = false;
        this._client = client;
        this._message = {type: 'query:start', data: {queryId: this.queryId, sql, params}};
        this._options = {onStart, onProgress, onRows, signal, maxRows};
        this._pages = [];
        this._held = 0;
        this._iterated = this._sent = false;
        this._wake = () => {};
        /** @type {Promise<QueryResult>} */
        this.done = new Promise((resolve, reject) => Object.assign(this, {_resolve: resolve, _reject: reject}));
        this.done.catch(() => {});
        if (signal?.aborted) return void this._end(signal.reason);
        this._abort = () => this.cancel();
        signal?.addEventListener('abort', this._abort);
        client._whenOpen(this, () => this._start(), (error) => this._end(error));
    }

    /**
     * @template [A=QueryResult], [B=never]
     * @param {((result: QueryResult) => A|PromiseLike<A>)|null} [ok]
     * @param {((reason: any) => B|PromiseLike<B>)|null} [failed]
     * @returns {Promise<A|B>}
     */
    then(ok, failed) {
        return this.done.then(ok, failed);
    }

    catch(failed) {
        return this.done.catch(failed);
    }

    finally(settled) {
        return this.done.finally(settled);
    }

    /** Interrupts it; it then rejects with QUERY_CANCELLED, or, where a signal asked for it, with its reason. */
    cancel() {
        if (this.closed) return;
        this._cancelled = true;
        if (!this._sent) return void this._end(this._cancellation());
        this._client._request({type: 'query:cancel', data: {queryId: this.queryId}}, (message) => this._receive(message));
    }

    async *[Symbol.asyncIterator]() {
        if (this._options.onRows || this._iterated) throw new TypeError('iterate once, and without onRows');
        this._iterated = true;
        try {
            while (this._pages.length || !this.closed) {
                if (this._pages.length) {
                    const page = this._pages.shift();
                    this._held -= page.length;
                    yield page;
                } else {
                    await new Promise((resolve) => { this._wake = resolve; });
                }
            }
            await this.done;
        } finally {
            this._pages.length = 0;
            this.cancel();
        }
    }

    _cancellation() {
        const {signal} = this._options;
        if (signal?.aborted) return signal.reason;
        return new RowtapError({code: 'QUERY_CANCELLED', message: 'the query was cancelled'});
    }

    _start() {
        this._sent = true;
        this._client._queries.set(this.queryId, this);
        this._client._request(this._message, (message) => this._receive(message), (error) => this._end(error));
    }

    _receive({type, data = {}, error}) {
        if (this.closed) return;
        this.columns = data.columns ?? data.results?.columns ?? this.columns;
        if (type === 'query:started') call(this._options.onStart, data);
        else if (type === 'query:progress') call(this._options.onProgress, data);
        else if (type === 'query:rows') this._take(data.rows);
        else if (type === 'query:complete') this._complete(data);
        else if (type === 'query:error') this._fail(error ?? data.error ?? data);
    }

    _take(rows) {
        const {onRows, maxRows} = this._options;
        if (!rows?.length) return;
        if (onRows) return void call(onRows, rows, this);
        this._held += rows.length;
        this._pages.push(rows);
        this._wake();
        if (this._held <= maxRows) return;
        const message = `${this._held} rows are held: use onRows, iterate faster, or raise maxRows`;
        this.cancel();
        this._end(new RowtapError({code: 'LIMIT_EXCEEDED', message}));
    }

    _complete({results, ...data}) {
        this._take(results?.rows);
        if (this.closed) return;
        const rows = this._options.onRows || this._iterated ? undefined : this._pages.flat();
        this._end(null, {...data, columns: this.columns, rows});
    }

    _fail(detail) {
        const error = new RowtapError(typeof detail === 'string' ? {code: 'SQL_ERROR', message: detail} : detail);
        this._end(this._cancelled && error.code === 'QUERY_CANCELLED' ? this._cancellation() : error);
    }

    _end(error, result) {
        if (this.closed) return;
        this.closed = true;
        this._client._queries.delete(this.queryId);
        this._client._pending.delete(this);
        this._options.signal?.removeEventListener('abort', this._abort);
        if (error) this._reject(error);
        else this._resolve(result);
        this._wake();
    }
}

/** What `client.view` returns. */
class View {
    constructor(client, table, {filter, columns, maxRows = 1000000, onChange, onError}) {
        /** The rows by their keys: the key's members as JSON, such as '{"id":1}'. */
        this.rows = new Map();
        /** Up to which change the rows are those of the database. */
        this.seq = null;
        /** False while the rows are read for the first time, or anew because changes were lost. */
        this.current = false;
        this.closed = false;
        this._client = client;
        this._table = table;
        this._options = {filter, columns};
        this._maxRows = maxRows;
        this._changed = (changes) => call(onChange, this, changes);
        this._failed = (error) => (onError ? call(onError, error) : client._emit('error', error));
        /** Settles when all rows were there for the first time. */
        this.ready = new Promise((resolve, reject) => Object.assign(this, {_resolve: resolve, _reject: reject}));
        this.ready.catch(() => {});
        /* Subscribed first, so that no DDL is between it and the snapshot. Who may not see it does without. */
        this._ddl = client.channel('tables', {
            onChange: (message) => this._altered(message),
            /* In another epoch the rows are read anew in any case. */
            onResync: ({reason}) => { if (!this._subscription || reason !== 'epoch_changed') this._open(); },
            onError: () => {},
        });
        this._open();
        this._off = client.on('message', (message) => this._ended(message));
    }

    /** Ends it; the rows stay as they are. */
    close() {
        this._end(new RowtapError({code: 'UNSUBSCRIBED', message: 'the view was closed'}));
    }

    _end(error) {
        if (this.closed) return;
        [this.closed, this.current] = [true, false];
        this._subscription?.unsubscribe();
        this._ddl?.unsubscribe();
        this._off?.();
        this._reject(error);
    }

    /* Reads the rows, for the first time or anew. */
    _open() {
        if (this.closed || this._client.state === 'closed') return;
        this._subscription?.unsubscribe();
        this._stale();
        /* Changes of a transaction that is not complete. */
        [this._waiting, this._tx] = [[], null];
        const subscription = this._client.subscribe(this._table, {
            ...this._options, snapshot: true, batch: true,
            onSnapshot: (rows, info) => this._copy(rows, info),
            onChange: (changes) => this._collect(changes),
            onResync: () => this._stale(),
            onError: (error) => this._refused(subscription, error),
        });
        this._subscription = subscription;
        subscription.ready.catch(() => { if (this._client.state === 'closed') this.close(); });
    }

    /* A snapshot will come; until then nobody knows which DDL it includes. */
    _stale() {
        [this.current, this._from] = [false, -1];
    }

    _refused(subscription, error) {
        if (subscription !== this._subscription) return;
        /* The table has been dropped, and may be created again. */
        if (error.code === 'NOT_FOUND' && this.seq !== null) {
            this._empty();
        } else {
            this._end(error);
            this._failed(error);
        }
    }

    _empty() {
        this._subscription?.unsubscribe();
        this._subscription = null;
        [this.rows, this.current] = [new Map(), true];
        this._changed();
    }

    /* Changes of a table's rows by DDL are not reported one by one. */
    _altered({type, seq, data}) {
        const named = (name) => name?.toLowerCase() === this._table.toLowerCase();
        const {tableName, changes} = data ?? {};
        if (type === 'table:dropped' ? !named(tableName) : !named(tableName) && !named(changes?.renamedFrom)) return;
        if (this._subscription && seq <= this._from) return;
        if (named(tableName) && type !== 'table:dropped') this._open();
        else this._empty();
    }

    _full(count) {
        if (count <= this._maxRows) return false;
        const message = `${this._table} has more rows than the view's maxRows, ${this._maxRows}: give it a filter`;
        const error = new RowtapError({code: 'LIMIT_EXCEEDED', message});
        this._end(error);
        this._failed(error);
        return true;
    }

    /* The rows of before stay until the new ones are complete. */
    _copy(rows, {seq, first, last}) {
        if (first) [this._fresh, this._waiting, this._tx, this._from] = [new Map(), [], null, seq];
        for (const {key, data} of rows) this._fresh.set(stringify(key), data);
        if (this._full(this._fresh.size) || !last) return;
        this._subscription._kept = null;
        [this.rows, this._fresh, this.seq, this.current] = [this._fresh, null, seq, true];
        this._resolve(this);
        this._changed();
    }

    /* A long transaction comes in parts. After a loss of the connection it comes again, from its beginning. */
    _collect(changes) {
        if (changes[0].seq <= this._waiting.at(-1)?.seq) [this._waiting, this._tx] = [[], null];
        this._subscription._kept = this.seq;
        this._waiting.push(...changes);
    }

    /* After each message: whether it has ended the transaction. */
    _ended({type, tx, more}) {
        if (type !== 'changes' || !this._waiting.length) return;
        this._tx ??= tx;
        if (more || tx !== this._tx) return;
        const changes = this._waiting;
        for (const change of changes) this._apply(change);
        [this._waiting, this._tx, this.seq, this._subscription._kept] = [[], null, changes.at(-1).seq, null];
        if (!this._full(this.rows.size)) this._changed(changes);
    }

    _apply({event, key, oldKey, transition, data}) {
        if (oldKey || event === 'DELETE' || transition === 'leave') this.rows.delete(stringify(oldKey ?? key));
        if (event !== 'DELETE' && transition !== 'leave') this.rows.set(stringify(key), data);
    }
}

class Client {
    constructor(url, options) {
        const here = import.meta.url.startsWith('http') ? import.meta.url : 'http://127.0.0.1:8080';
        const socketUrl = new URL(url ?? new URL('ws', here), globalThis.location?.href);
        socketUrl.protocol = socketUrl.protocol.replace('http', 'ws');
        if (socketUrl.pathname === '/') socketUrl.pathname = '/ws';
        /** The WebSocket's address. */
        this.url = socketUrl.href;
        this._base = new URL('.', this.url.replace(/^ws/, 'http')).href;
        this._WebSocket = options.WebSocket ?? globalThis.WebSocket;
        if (!this._WebSocket) throw new TypeError('no WebSocket here: pass {WebSocket} from the npm package "ws"');
        this._token = options.token;
        this._backoff = options.reconnect === false ? null : {...BACKOFF, ...options.reconnect};
        this._listeners = new Map();
        this._subscriptions = new Set();
        this._byId = new Map();
        this._requests = new Map();
        this._queries = new Map();
        this._pending = new Map();
        this._requestCount = 0;
        this._attempts = 0;
        /** @type {'connecting'|'open'|'waiting'|'closed'} */
        this.state = 'connecting';
        /** The last change seen on this connection or told at its start, and the numbering it belongs to. */
        this.seq = null;
        this.epoch = null;
        this.connectionId = null;
        /** The last round trip, in milliseconds, measured with every heartbeat and by `ping`, or null. */
        this.latency = null;
        this._connect();
    }

    /**
     * Listens: 'open' (the acknowledgement's data), 'close' ({code, reason, retryIn}; retryIn in ms or
     * null), 'reconnected' ({seq, epoch, mayHaveMissed}), 'resync', 'error' (RowtapError that belongs to
     * no call), 'notification' (each message on channel notifications), 'message' (every message).
     * @returns {() => void} stops listening
     */
    on(event, listener) {
        if (!this._listeners.has(event)) this._listeners.set(event, new Set());
        this._listeners.get(event).add(listener);
        return () => this._listeners.get(event).delete(listener);
    }

    /**
     * Subscribes to a table's changes, or to all tables' ('*'). It survives reconnects, and goes on where
     * it was; when the server no longer has the changes in between, `onResync` is called.
     * @param {string} table
     * @param {object} [options]
     * @param {string|string[]} [options.filter] "age >= 18"; a list is an AND
     * @param {string[]} [options.events] of INSERT, UPDATE, DELETE
     * @param {string[]} [options.columns] what to send of each row
     * @param {boolean} [options.batch] one array per transaction instead of single changes
     * @param {boolean} [options.self] false: without what this connection writes
     * @param {boolean} [options.snapshot] first the rows that are there, then what changes after them;
     *     again whenever changes were lost
     * @param {(rows: {key: object, data: object}[], info: {seq: number, first: boolean, last: boolean}) => void}
     *     [options.onSnapshot] some of the rows; `first` begins and `last` ends a snapshot
     * @param {number} [options.maxQueue] changes waiting for `for await`; 10,000
     * @param {(change: Change|Change[]) => void} [options.onChange]
     * @param {(error: RowtapError) => void} [options.onError] it did not come about, or has ended
     * @param {(info: Resync) => void} [options.onResync]
     * @param {(message: object) => void} [options.onTable] table:created, table:altered or table:dropped; the
     *     subscription sleeps while there is no such table
     * @returns {Subscription}
     */
    subscribe(table, options = {}) {
        const {filter, events, columns, batch, self, snapshot} = options;
        if (snapshot && !options.onSnapshot) throw new TypeError('snapshot needs onSnapshot, which gets the rows');
        return this._add({table, filter, events, columns, batch, self, snapshot: snapshot || undefined}, options);
    }

    /**
     * Keeps a copy of a table's rows, or of those that match: a snapshot and then every transaction, across
     * reconnects and changes of the table's definition, so that it always is what the table was at some
     * commit. A dropped table has no rows.
     * @param {string} table
     * @param {object} [options] filter and columns as for `subscribe`
     * @param {number} [options.maxRows] it ends with LIMIT_EXCEEDED past that; 1,000,000
     * @param {(view: View, changes?: Change[]) => void} [options.onChange] after each transaction, and without
     *     `changes` when the rows were read anew
     * @param {(error: RowtapError) => void} [options.onError] it did not come about, or has ended
     * @returns {View}
     */
    view(table, options = {}) {
        return new View(this, table, options);
    }

    /**
     * Receives a channel's messages: 'tables' has DDL, 'queries' what everybody's queries do.
     * @param {string} channel
     * @param {object} [options] onChange (the message), onError, onResync and maxQueue as above
     * @returns {Channel}
     */
    channel(channel, options = {}) {
        return this._subscribe(new Channel(this, channel, options));
    }

    /**
     * Joins a channel on which it is told who is there and where their cursors are.
     * @param {string} [channel]
     * @param {object} [options] as for `channel`
     * @param {number} [options.interval] milliseconds between positions of the cursor that are sent; 50
     * @returns {Presence}
     */
    presence(channel = 'collaboration', options = {}) {
        return this._subscribe(new Presence(this, channel, options));
    }

    /**
     * Sends to all that are subscribed to a channel.
     * @returns {Promise<number>} how many connections it was delivered to
     */
    broadcast(channel, event, data, {self, timeout} = {}) {
        return this._ask({type: 'broadcast', channel, event, data: data ?? null, self}, {timeout, what: `broadcast to ${channel}`})
            .then((message) => message.delivered ?? message.data?.delivered);
    }

    /**
     * Asks for what the HTTP endpoints do, over the socket; any number at once.
     * @param {string} action such as 'sql', 'tables' or 'health'
     * @param {object} [payload] its arguments
     * @param {{timeout?: number, signal?: AbortSignal}} [options] timeout in milliseconds, from the call on; 30,000
     * @returns {Promise<any>} the answer's payload
     */
    request(action, payload = {}, {timeout, signal} = {}) {
        return this._ask({type: 'request', payload: {...payload, action}}, {timeout, signal, what: `request "${action}"`})
            .then((message) => message.payload ?? message.data);
    }

    /**
     * Runs SQL over the socket: with progress, rows in pages as they come, and a way to cancel it.
     * @param {string} sql
     * @param {Array|object} [params] for ?, or by name
     * @param {object} [options]
     * @param {(data: object) => void} [options.onStart]
     * @param {(progress: Progress) => void} [options.onProgress] at least twice a second
     * @param {(rows: Array[], query: Query) => void} [options.onRows] gets all rows, in parts
     * @param {AbortSignal} [options.signal] cancels it
     * @param {number} [options.maxRows] held here; it ends with LIMIT_EXCEEDED past that; 1,000,000
     * @returns {Query}
     */
    query(sql, params, options) {
        return new Query(this, sql, params, options);
    }

    /** @returns {Promise<number>} the round trip in milliseconds */
    ping() {
        const start = performance.now();
        return new Promise((resolve, reject) => this._request({type: 'ping', sentAt: Date.now()}, () => {
            this.latency = performance.now() - start;
            resolve(this.latency);
        }, reject));
    }

    /**
     * Runs SQL (a statement, or a script).
     * @param {string} sql
     * @param {Array|object} [params] for ?, or by name
     * @returns {Promise<{columns: string[], rows: Array[], changes: number, seq: number, durationMs: number}>}
     * @throws {RowtapError} with code, status, and for SQL errors sqliteCode and offset (bytes)
     */
    sql(sql, params) {
        return this.fetch('api/sql', {sql, params});
    }

    /** Runs statements as one transaction, all or nothing. @param {{sql: string, params?: any}[]} statements */
    transaction(statements) {
        return this.fetch('api/sql', {statements});
    }

    /** An HTTP endpoint of the same server, such as 'api/tables'; with a body it is a POST. */
    async fetch(path, body) {
        const token = await this._findToken();
        const headers = {Accept: 'application/json'};
        if (token) headers.Authorization = `Bearer ${token}`;
        if (body !== undefined) headers['Content-Type'] = 'application/json';
        const init = body === undefined ? {headers} : {method: 'POST', headers, body: stringify(body)};
        const response = await fetch(new URL(path, this._base), init);
        const {ok, status} = response;
        let result;
        try {
            result = parse(await response.text());
        } catch {
            result = {error: {code: 'INVALID_FORMAT', message: `${path}: the answer (HTTP ${status}) is not JSON`}};
        }
        if (!ok || result?.error) throw new RowtapError({...result?.error, status});
        return result;
    }

    /**
     * Shows the server a newer token, so that the connection outlives the one before. It is done without
     * being asked when the server says that the token ends.
     * @returns {Promise<{userId?: string, role?: string, expiresAt?: number}>}
     * @throws {RowtapError} UNAUTHORIZED, or FORBIDDEN when it is another user's
     */
    async renew() {
        const token = await this._findToken();
        const {data} = await this._ask({type: 'auth', token: token ?? ''}, {what: 'auth'});
        if (!data.success) throw new RowtapError(data.error);
        return data;
    }

    /** Ends the connection and all subscriptions, for good. */
    close() {
        if (this.state === 'closed') return;
        this._lose(1000, '', true);
    }

    _emit(event, value) {
        const listeners = this._listeners.get(event);
        if (event === 'error' && !listeners?.size) console.error(value);
        for (const listener of [...listeners ?? []]) call(listener, value);
    }

    _add(request, options) {
        return this._subscribe(new Subscription(this, request, options));
    }

    _subscribe(subscription) {
        if (this.state === 'closed') throw new RowtapError({code: 'DISCONNECTED', message: 'the client was closed'});
        this._subscriptions.add(subscription);
        if (this.state === 'open') this._establish(subscription);
        return subscription;
    }

    /* Resolves to true when changes may be missing since an earlier connection. */
    _establish(subscription) {
        const request = {type: 'subscribe', ...subscription._request, ...this._place(subscription)};
        return new Promise((done) => this._request(request, ({data}) => {
            if (subscription.closed) {
                if (data?.subscription) this._request({type: 'unsubscribe', subscription: data.subscription});
                return done(false);
            }
            if (data?.subscription) this._byId.set(data.subscription, subscription);
            done(subscription._subscribed(data));
        }, (error) => {
            done(true);
            if (error.code !== 'DISCONNECTED') this._drop(subscription, error);
        }));
    }

    /* What to ask for so that nothing is missed since an earlier connection. */
    _place(subscription) {
        const {epoch, _request: {channel}} = subscription;
        if (epoch === null || subscription._copying || !subscription._keepsPlace()) return {};
        const all = channel ? this._onChannel(channel).filter((s) => s.epoch === epoch) : [subscription];
        return {since: Math.min(...all.map((s) => s._kept ?? s.seq)), epoch};
    }

    /* The rows have to be read anew; not at once where that did not come to an end. */
    _begin(subscription) {
        const socket = this._socket;
        const pause = subscription._copying ? this._delay(++subscription._failures) : 0;
        this._byId.delete(subscription.id);
        this._request({type: 'unsubscribe', subscription: subscription.id});
        Object.assign(subscription, {id: null, _copying: true});
        if (!pause) return this._establish(subscription);
        return setTimeout(() => {
            if (socket === this._socket && !subscription.closed) this._establish(subscription);
        }, pause);
    }

    _drop(subscription, error) {
        this._subscriptions.delete(subscription);
        this._byId.delete(subscription.id);
        if (!subscription.closed) subscription._end(error);
    }

    _forget(subscription) {
        const {id, _request: {channel}} = subscription;
        this._subscriptions.delete(subscription);
        this._byId.delete(id);
        if (this.state !== 'open') return;
        if (id) this._request({type: 'unsubscribe', subscription: id});
        else if (channel && !this._onChannel(channel).length) this._request({type: 'unsubscribe', channel});
    }

    _onChannel(channel) {
        return [...this._subscriptions].filter((s) => s._request.channel === channel);
    }

    /*
     * The callbacks run at once, not as promises do, so that what the server sends next finds the answer
     * already handled.
     */
    _request(message, ok = () => {}, failed = () => {}) {
        if (this._socket?.readyState !== 1) {
            failed(new RowtapError({code: 'DISCONNECTED', message: 'not connected'}));
            return null;
        }
        const requestId = `r${++this._requestCount}`;
        this._requests.set(requestId, {ok, failed});
        this._send({...message, requestId});
        return requestId;
    }

    _send(message) {
        if (this._socket?.readyState === 1) this._socket.send(stringify(message));
    }

    /* Sends when there is a connection, and waits for the answer. */
    _ask(message, {timeout = TIMEOUT, signal, what}) {
        return new Promise((resolve, reject) => {
            const call = {};
            const settle = (fn) => (value) => {
                clearTimeout(timer);
                signal?.removeEventListener('abort', abort);
                this._pending.delete(call);
                this._requests.delete(call.id);
                fn(value);
            };
            const [ok, failed] = [settle(resolve), settle(reject)];
            const abort = () => failed(signal.reason);
            const timer = setTimeout(() => failed(new RowtapError({code: 'TIMEOUT',
                message: `${what}: no answer within ${timeout} ms`})), timeout);
            if (signal?.aborted) return abort();
            signal?.addEventListener('abort', abort);
            return this._whenOpen(call, () => { call.id = this._request(message, ok, failed); }, failed);
        });
    }

    /* Now, or when there is a connection; in the order of the calls. */
    _whenOpen(key, start, failed) {
        if (this.state === 'open') {
            start();
        } else if (this.state === 'closed') {
            failed(new RowtapError({code: 'DISCONNECTED', message: 'the client was closed'}));
        } else if (this._pending.size >= MAX_PENDING) {
            failed(new RowtapError({code: 'LIMIT_EXCEEDED', message: `${MAX_PENDING} calls wait for a connection`}));
        } else {
            this._pending.set(key, {start, failed});
        }
    }

    _connect() {
        this.state = 'connecting';
        this._openedAt = 0;
        if (!this._token) return this._open(this.url);
        const turn = this._turn = {};
        return this._findToken().then((token) => {
            if (turn !== this._turn || this.state !== 'connecting') return;
            const url = new URL(this.url);
            if (token) url.searchParams.set('token', token);
            this._open(url.href);
        }, (error) => {
            if (turn !== this._turn || this.state !== 'connecting') return;
            this._emit('error', error);
            this._lose(4003, 'there is no token', false);
        });
    }

    async _findToken() {
        return typeof this._token === 'function' ? this._token() : this._token;
    }

    _open(url) {
        const socket = new this._WebSocket(url);
        this._socket = socket;
        socket.onmessage = ({data}) => socket === this._socket && this._read(data);
        socket.onclose = ({code, reason}) => socket === this._socket && this._lose(code, reason, false);
        socket.onerror = () => {};
        this._watch(30000);
    }

    _read(text) {
        let message;
        try {
            message = parse(text);
        } catch {
            return this._lose(4000, 'a message is not JSON', false);
        }
        this._quiet = 0;
        call(() => this._receive(message));
        this._emit('message', message);
    }

    _receive(message) {
        const {type, requestId, data, seq, channel} = message;
        const request = this._requests.get(requestId);
        this._requests.delete(requestId);
        if (typeof seq === 'number' && seq > this.seq) this.seq = seq;
        if (message.tx > this._tx) [this._done, this._tx] = [this._before, message.tx];
        if (message.tx && seq > this._before) this._before = seq;
        if (type === 'error') {
            this._fault(new RowtapError(message.error ?? data), request);
        } else if (request) {
            request.ok(message);
        } else if (type.startsWith('query:') && !channel) {
            this._queries.get(data?.queryId)?._receive(message);
        } else if (type === 'connection:ack') {
            this._start(data);
        } else if (type === 'token_expiring') {
            this.renew().catch((error) => this._emit('error', error));
        } else if (type === 'resync') {
            this._resync(message);
        } else if (type === 'snapshot') {
            this._byId.get(message.subscription)?._rows(message);
        } else if (type === 'changes') {
            this._batch(message);
        } else if (type.startsWith('table:') && channel === 'tables') {
            this._schema(message);
        } else if (message.subscriptions) {
            for (const id of message.subscriptions) this._byId.get(id)?._deliver(message, seq);
        } else if (channel) {
            for (const s of this._onChannel(channel)) s._deliver(message, seq);
            if (channel === 'notifications') this._emit('notification', message);
        }
    }

    /* To a connection that is not on the channel the server tells what its subscriptions are to. */
    _schema(message) {
        const {subscriptions, data, seq} = message;
        for (const id of subscriptions ?? []) this._byId.get(id)?._schema(message, true);
        if (subscriptions) return;
        for (const s of this._byId.values()) if (s._isOf(data)) s._schema(message, false);
        for (const s of this._onChannel('tables')) s._deliver(message, seq);
    }

    /* An error that answers no request and names a subscription has ended it. */
    _fault(error, request) {
        const ended = this._byId.get(error.subscription);
        if (request) request.failed(error);
        else if (ended) this._drop(ended, error);
        else this._emit('error', error);
    }

    _resync(message) {
        const info = {...message.data, ...message};
        /* What the server did not send can be had on another connection, so that nothing is read anew. */
        const snapshots = [...this._subscriptions].some((s) => s._request.snapshot);
        if (this._backoff && snapshots && info.reason === 'slow_consumer') {
            this._lose(4002, 'reads too slowly', false);
            return;
        }
        const named = this._byId.get(info.subscription);
        const concerned = named ? [named] : info.channel ? this._onChannel(info.channel) : [...this._subscriptions];
        for (const s of concerned) {
            call(s._options.onResync, {...info, lastSeq: s.seq});
            /* What was lost is not asked for again. */
            if (s.id && !s._copying && info.seq > s.seq) s.seq = info.seq;
            if (s._request.snapshot && s.id && !s._inVain) this._begin(s);
            s._inVain = false;
        }
        this._emit('resync', info);
    }

    _batch(message) {
        const groups = new Map();
        for (const change of message.changes) {
            for (const id of change.subscriptions ?? message.subscriptions ?? []) {
                if (!groups.has(id)) groups.set(id, []);
                groups.get(id).push(change);
            }
        }
        for (const [id, changes] of groups) this._byId.get(id)?._deliver(changes, changes.at(-1).seq);
    }

    async _start(ack) {
        const socket = this._socket;
        const again = this.epoch !== null;
        /* Of this connection: the last transaction, the last change, the last one before that transaction. */
        [this._tx, this._before, this._done] = [0, 0, 0];
        const {connectionId, epoch, seq} = ack;
        Object.assign(this, {connectionId, epoch, seq, _openedAt: Date.now()});
        this._watch(ack.heartbeatInterval || 30000);
        const wanted = [...this._subscriptions];
        this.state = 'open';
        this._emit('open', ack);
        const established = wanted.map((s) => this._establish(s));
        const pending = [...this._pending];
        this._pending.clear();
        for (const [, {start}] of pending) start();
        const missed = await Promise.all(established);
        const mayHaveMissed = missed.includes(true);
        if (again && socket === this._socket) this._emit('reconnected', {seq, epoch, mayHaveMissed});
    }

    /* A browser hides the server's pings, so it is asked, and a connection that stays silent given up. */
    _watch(interval) {
        let ticks = 0;
        clearInterval(this._timer);
        this._quiet = 0;
        this._timer = setInterval(() => {
            this._quiet++;
            if (++ticks % 2 === 0) this._heartbeat();
            if (this._quiet > 3) this._lose(4001, 'the server does not answer', false);
        }, interval / 2);
    }

    _heartbeat() {
        const start = performance.now();
        this._request({type: 'heartbeat'}, () => { this.latency = performance.now() - start; });
    }

    _lose(code, reason, final) {
        const socket = this._socket;
        const requests = [...this._requests.values()];
        const queries = [...this._queries.values()];
        const message = `the connection ended (${code}${reason && ` ${reason}`})`;
        const error = new RowtapError({code: 'DISCONNECTED', message});
        this._socket = null;
        clearInterval(this._timer);
        clearTimeout(this._retry);
        this._requests.clear();
        this._byId.clear();
        for (const s of this._subscriptions) {
            s._settle(this._done ?? 0);
            s.id = null;
        }
        if (socket?.readyState < 2) socket.close(code >= 4000 ? code : 1000, reason);
        const lasted = this._openedAt && Date.now() - this._openedAt > 10000;
        this._attempts = lasted ? 1 : this._attempts + 1;
        const retryIn = this._backoff && !final ? this._delay(this._attempts) : null;
        this.state = retryIn === null ? 'closed' : 'waiting';
        if (retryIn !== null) this._retry = setTimeout(() => this._connect(), retryIn);
        this.latency = null;
        const pending = retryIn === null ? [...this._pending.values()] : [];
        for (const {failed} of [...requests, ...pending]) call(failed, error);
        for (const query of queries) query._end(error);
        this._emit('close', {code, reason, retryIn});
        if (socket && !this._openedAt && !final) this._explain();
        if (retryIn === null) for (const s of [...this._subscriptions]) this._drop(s, final ? null : error);
    }

    /* Why a handshake failed no WebSocket tells, so the server is asked whether it was for want of a token. */
    async _explain() {
        try {
            await this.fetch('api/ws/status');
        } catch (error) {
            if (error.code === 'UNAUTHORIZED') this._emit('error', error);
        }
    }

    /* Doubles from min to max; the half of it is random, so that many clients do not come back at once. */
    _delay(attempts) {
        const {min, max} = this._backoff ?? BACKOFF;
        return Math.min(max, min * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2);
    }
}

/**
 * Connects, and stays connected until `close()`.
 * @param {string} [url] the server ("http://…" or "ws://…"); default: where this module came from
 * @param {object} [options]
 * @param {string|(() => string|Promise<string>)} [options.token] a JWT; a function is asked again on every
 *     connect, for every `fetch`, and when the server says that the token ends
 * @param {Function} [options.WebSocket] the class to use; default: the global one
 * @param {false|{min?: number, max?: number}} [options.reconnect] pause in ms; default 500 to 30000
 * @returns {Client}
 */
export function connect(url, options = {}) {
    return new Client(url, options);
}
