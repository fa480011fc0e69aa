// A page in headless Chromium opens `new WebSocket`, subscribes and writes with fetch:
//   node browser.mjs CHROMIUM PROFILE_DIRECTORY BASE_URL FOREIGN_URL
// Driven over the DevTools protocol. Prints one line of JSON: what the page saw.
import { spawn } from 'node:child_process';
import WebSocket from 'ws';

const [program, profile, base, foreign] = process.argv.slice(2);
const browser = spawn(program, [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server', `--user-data-dir=${profile}`,
  ...(base.startsWith('https:') ? ['--ignore-certificate-errors'] : []), // of a CA that only the test knows
  '--remote-debugging-port=0', 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });

const timer = setTimeout(() => finish(1, 'the browser took too long'), 60000);

function finish(status, words) {
  clearTimeout(timer);
  (status ? console.error : console.log)(words);
  browser.once('exit', () => process.exit(status));
  process.kill(-browser.pid, 'SIGKILL'); // its process group
}

function devtools() {
  return new Promise((resolve, reject) => {
    let text = '';
    browser.stderr.on('data', (data) => {
      text += data;
      const found = /DevTools listening on (ws:\S+)/.exec(text);
      if (found) resolve(found[1]);
    });
    browser.once('exit', () => reject(new Error(`no browser: ${text.slice(-500)}`)));
  });
}

class Page {
  static async open(url) {
    const page = new Page();
    page.next = 0;
    page.waiting = new Map();
    page.socket = new WebSocket(url);
    await new Promise((resolve, reject) => page.socket.once('open', resolve).once('error', reject));
    page.socket.on('message', (text) => {
      const message = JSON.parse(text);
      page.waiting.get(message.id)?.(message);
    });
    const { targetId } = await page.call('Target.createTarget', { url: 'about:blank' });
    page.session = (await page.call('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    return page;
  }

  call(method, params = {}) {
    const id = ++this.next;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, (m) => (m.error ? reject(new Error(JSON.stringify(m.error))) : resolve(m.result)));
      this.socket.send(JSON.stringify({ id, method, params, sessionId: this.session }));
    });
  }

  async visit(url) {
    await this.call('Page.navigate', { url });
    for (let i = 0; i < 100; i++) {
      if (await this.evaluate(`location.href.startsWith(${JSON.stringify(url)}) && document.readyState === 'complete'`)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`${url} did not load`);
  }

  async evaluate(expression) {
    const answer = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  }
}

const subscribe = `new Promise((resolve, reject) => {
  const seen = [];
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws');
  socket.onerror = () => reject(new Error('WebSocket error'));
  socket.onmessage = async (event) => {
    const message = JSON.parse(event.data);
    seen.push(message);
    if (message.type === 'connection:ack') socket.send(JSON.stringify({ type: 'subscribe', table: 'users', filter: 'age>=18' }));
    if (message.type === 'subscribed') {
      const answer = await fetch('/api/sql', { method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ sql: "INSERT INTO users(name, age) VALUES ('Kid', 3), ('Zoë', 20)" }) });
      seen.push({ type: 'fetch', status: answer.status });
    }
    if (message.type === 'database_change') socket.close(1000);
  };
  socket.onclose = (event) => resolve({ seen, code: event.code, clean: event.wasClean });
})`;

const intrude = `new Promise((resolve) => {
  const socket = new WebSocket(${JSON.stringify(base.replace('http', 'ws') + '/ws')});
  socket.onopen = () => resolve('connected');
  socket.onerror = () => fetch(${JSON.stringify(base + '/api/sql')}, { method: 'POST', mode: 'no-cors', body: '{"sql":"DELETE FROM users"}' })
    .then(() => resolve('refused'), () => resolve('refused'));
})`;

try {
  const page = await Page.open(await devtools());
  await page.visit(base + '/health');
  const own = await page.evaluate(subscribe);
  await page.visit(foreign);
  finish(0, JSON.stringify({ ...own, foreign: await page.evaluate(intrude) }));
} catch (error) {
  finish(1, String(error.stack));
}
