// Starts the real server ($ROWTAP_BIN) on a database of its own.
import {spawn} from 'node:child_process';
import {createHmac, randomBytes} from 'node:crypto';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const READY_MS = 20000;
const STOP_MS = 10000;

const timeout = (ms, what) => new Promise((_, reject) => {
    setTimeout(() => reject(new Error(what)), ms).unref();
});

export class Server {
    // `listen`: where; a port of 0 is any free one
    static async start({listen = '127.0.0.1:0', options = []} = {}) {
        const server = new Server();
        server.folder = mkdtempSync(join(tmpdir(), 'rowtap-web-'));
        await server.run(listen, options);
        return server;
    }

    async run(listen, options = []) {
        this.errors = '';
        this.process = spawn(process.env.ROWTAP_BIN, ['serve', join(this.folder, 'test.db'), '--listen', listen, ...options],
            {stdio: ['ignore', 'ignore', 'pipe']});
        this.exited = new Promise((resolve) => this.process.on('exit', (code, signal) => resolve(signal ?? code)));
        const ready = new Promise((resolve, reject) => {
            this.process.on('error', reject);
            this.process.stderr.setEncoding('utf8').on('data', (text) => {
                this.errors += text;
                const line = /listening on (http:\/\/\S+)/.exec(this.errors);
                if (line) resolve(line[1]);
            });
            this.exited.then((code) => reject(new Error(`the server ended with ${code}: ${this.errors}`)));
        });
        this.url = await Promise.race([ready, timeout(READY_MS, 'the server did not get ready')]);
        this.listen = new URL(this.url).host;
    }

    // `token`: where the server wants one
    async sql(sql, params, token) {
        const headers = {'Content-Type': 'application/json', ...token && {Authorization: `Bearer ${token}`}};
        const response = await fetch(`${this.url}/api/sql`, {method: 'POST', headers,
            body: JSON.stringify({sql, params})});
        const result = await response.json();
        if (!response.ok) throw new Error(JSON.stringify(result));
        return result;
    }

    // SIGTERM; the server must end with 0 and have found nothing wrong with itself.
    async halt() {
        this.process.kill('SIGTERM');
        const code = await Promise.race([this.exited, timeout(STOP_MS, 'the server did not stop')]).finally(() => {
            if (this.process.exitCode === null) this.process.kill('SIGKILL');
        });
        if (code !== 0) throw new Error(`the server ended with ${code}: ${this.errors}`);
        if (/Sanitizer|runtime error/.test(this.errors)) throw new Error(this.errors);
    }

    async stop() {
        try {
            await this.halt();
        } finally {
            rmSync(this.folder, {recursive: true, force: true});
        }
    }
}

// A new secret: `options` for a server that wants tokens signed with it, token({sub, exp}) makes one.
export class Secret {
    constructor() {
        this.folder = mkdtempSync(join(tmpdir(), 'rowtap-secret-'));
        this.text = randomBytes(32).toString('hex');
        const path = join(this.folder, 'secret');
        writeFileSync(path, this.text, {mode: 0o600});
        this.options = ['--jwt-secret-file', path];
    }

    token(claims) {
        const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const text = `${part({alg: 'HS256', typ: 'JWT'})}.${part(claims)}`;
        return `${text}.${createHmac('sha256', this.text).update(text).digest('base64url')}`;
    }

    remove() {
        rmSync(this.folder, {recursive: true, force: true});
    }
}
