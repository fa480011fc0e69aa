// Headless Chromium over the DevTools protocol on a pipe: no package is needed.
// https://chromedevtools.github.io/devtools-protocol/
import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-pipe'];
const TIMEOUT = 20000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Browser {
    // program: $CHROMIUM or "chromium" from the path
    static async start({width = 1280, height = 800, dark = false} = {}) {
        const browser = new Browser();
        browser.profile = mkdtempSync(join(tmpdir(), 'rowtap-browser-'));
        browser.process = spawn(process.env.CHROMIUM ?? 'chromium', [...FLAGS, `--user-data-dir=${browser.profile}`],
            {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
        browser.exited = new Promise((resolve) => browser.process.on('exit', resolve));
        browser.listen();
        await browser.openPage();
        await browser.resize(width, height);
        await browser.send('Emulation.setEmulatedMedia',
            {features: [{name: 'prefers-color-scheme', value: dark ? 'dark' : 'light'}]});
        return browser;
    }

    listen() {
        this.calls = new Map();
        this.count = 0;
        this.problems = []; // what the page logged as an error, threw, or was refused by its CSP
        let left = '';
        this.process.stdio[4].setEncoding('utf8').on('data', (text) => {
            const messages = (left + text).split('\0');
            left = messages.pop();
            for (const message of messages) this.receive(JSON.parse(message));
        });
        const failed = (error) => {
            for (const {reject} of this.calls.values()) reject(error);
        };
        this.process.on('error', failed);
        this.process.on('exit', () => failed(new Error('the browser exited')));
        this.process.stdio[3].on('error', failed);
    }

    receive({id, result, error, method, params}) {
        const call = this.calls.get(id);
        this.calls.delete(id);
        if (error) call?.reject(new Error(error.message));
        else call?.resolve(result);
        if (method === 'Runtime.exceptionThrown') {
            this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
        } else if (method === 'Runtime.consoleAPICalled' && ['error', 'warning'].includes(params.type)) {
            this.problems.push(params.args.map((a) => a.value ?? a.description).join(' '));
        } else if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) {
            this.problems.push(`${params.entry.text} ${params.entry.url ?? ''}`);
        }
    }

    send(method, params = {}) {
        const id = ++this.count;
        const answer = new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), TIMEOUT);
            const done = (settle) => (value) => {
                clearTimeout(timer);
                settle(value);
            };
            this.calls.set(id, {resolve: done(resolve), reject: done(reject)});
        });
        this.process.stdio[3].write(`${JSON.stringify({id, method, params, sessionId: this.session})}\0`);
        return answer;
    }

    async openPage() {
        const {targetId} = await this.send('Target.createTarget', {url: 'about:blank'});
        const {sessionId} = await this.send('Target.attachToTarget', {targetId, flatten: true});
        this.session = sessionId;
        for (const domain of ['Page', 'Runtime', 'Log']) await this.send(`${domain}.enable`);
    }

    resize(width, height) {
        return this.send('Emulation.setDeviceMetricsOverride', {width, height, deviceScaleFactor: 1, mobile: false});
    }

    open(url) {
        return this.send('Page.navigate', {url});
    }

    // The value of a JavaScript expression (or promise) in the page.
    async evaluate(expression) {
        const {result, exceptionDetails} = await this.send('Runtime.evaluate',
            {expression, returnByValue: true, awaitPromise: true});
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
    }

    // Waits until the expression is truthy and returns its value.
    async until(expression, what = expression) {
        const end = Date.now() + TIMEOUT;
        while (Date.now() < end) {
            const value = await this.evaluate(expression).catch(() => null);
            if (value) return value;
            await sleep(50);
        }
        throw new Error(`waited in vain for: ${what}`);
    }

    // Types as a user does, into what has the focus.
    type(text) {
        return this.send('Input.insertText', {text});
    }

    async press(key, {code = key, keyCode = 0, ctrl = false, text} = {}) {
        const event = {key, code, windowsVirtualKeyCode: keyCode, modifiers: ctrl ? 2 : 0, text};
        await this.send('Input.dispatchKeyEvent', {type: text ? 'keyDown' : 'rawKeyDown', ...event});
        await this.send('Input.dispatchKeyEvent', {type: 'keyUp', ...event});
    }

    async click(selector) {
        const box = await this.until(`(() => {
            const e = document.querySelector(${JSON.stringify(selector)});
            e?.scrollIntoView({block: 'nearest'});
            const r = e?.getBoundingClientRect();
            return r && r.width && {x: r.x + r.width / 2, y: r.y + r.height / 2};
        })()`, selector);
        for (const type of ['mousePressed', 'mouseReleased']) {
            await this.send('Input.dispatchMouseEvent', {type, ...box, button: 'left', clickCount: 1});
        }
    }

    async screenshot(path) {
        const {data} = await this.send('Page.captureScreenshot', {format: 'png'});
        writeFileSync(path, Buffer.from(data, 'base64'));
    }

    async stop() {
        await Promise.race([this.send('Browser.close').catch(() => {}), sleep(3000)]);
        await Promise.race([this.exited, sleep(3000)]);
        if (this.process.exitCode === null && this.process.pid) this.process.kill('SIGKILL');
        await Promise.race([this.exited, sleep(2000)]);
        rmSync(this.profile, {recursive: true, force: true, maxRetries: 5});
    }
}
