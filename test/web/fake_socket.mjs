// A WebSocket class whose other end is the test: `sockets` holds each one made, in order.
export class FakeSocket {
    static sockets = [];

    constructor(url) {
        this.url = url;
        this.readyState = 0;
        this.sent = [];
        FakeSocket.sockets.push(this);
    }

    send(text) {
        if (this.readyState !== 1) throw new Error('not open');
        this.sent.push(JSON.parse(text));
    }

    close(code = 1000, reason = '') {
        this.readyState = 3;
        this.closedWith = {code, reason};
    }

    // What the server does.

    ack(data = {}) {
        this.readyState = 1;
        this.say({id: '1', type: 'connection:ack',
            data: {connectionId: 'c1', epoch: 'e1', seq: 0, heartbeatInterval: 30000, ...data}});
    }

    say(message) {
        this.onmessage?.({data: typeof message === 'string' ? message : JSON.stringify(message)});
    }

    drop(code = 1006, reason = '') {
        this.readyState = 3;
        this.onclose?.({code, reason});
    }

    // The last message of that type which the client sent.
    last(type) {
        return this.sent.filter((m) => m.type === type).at(-1);
    }

    // Answers the client's last `subscribe`.
    subscribed(subscription, seq = 0) {
        const {requestId, table, channel} = this.last('subscribe');
        this.say({type: 'subscribed', requestId, channel, data: {subscription, table, channel, seq}});
    }

    change(seq, more = {}) {
        this.say({type: 'database_change', channel: 'tables', seq, tx: seq, table: 'users', event: 'INSERT',
            key: {id: seq}, data: {id: seq}, subscriptions: ['s1'], ...more});
    }
}

// Lets promises and timers of at most `ms` run.
export const settle = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

// Waits until the nth socket was made (counting from 1); fails after two seconds.
export async function socketNumber(n) {
    for (let i = 0; i < 400; i++) {
        if (FakeSocket.sockets.length >= n) return FakeSocket.sockets[n - 1];
        await settle(5);
    }
    throw new Error(`socket ${n} was never made`);
}
