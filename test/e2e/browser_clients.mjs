// A page in headless Chromium with its own WebSocket, its own EventSource and rowtap.js side by side:
//   node browser_clients.mjs URL COUNT
// Prints a line when all are subscribed, and one of JSON when all have seen COUNT rows: what they saw.
import {Browser} from '../web/browser.mjs';

const [url, count] = process.argv.slice(2);

function page(url_, rows) {
  const saw = window.saw = {socket: [], source: [], view: [], big: [], extensions: null, ready: 0};
  const place = {};
  const once = (done) => () => { if (done) [done, saw.ready] = [false, saw.ready + 1]; };
  const [socketReady, sourceReady] = [once(true), once(true)];
  const noise = Array.from({length: rows}, (_, i) => i * i).join();

  const follow = () => {
    const socket = new WebSocket(`${url_.replace('http', 'ws')}/ws`);
    socket.onmessage = ({data: text}) => {
      const {type, data, seq} = JSON.parse(text);
      if (type === 'connection:ack') {
        const since = place.seq === undefined ? {} : {since: place.seq, epoch: place.epoch};
        place.epoch = data.epoch;
        saw.extensions = socket.extensions;
        socket.send(JSON.stringify({type: 'subscribe', table: 't', ...since, padding: noise}));
      } else if (type === 'subscribed') {
        place.seq ??= data.seq;
        socketReady();
      } else if (type === 'database_change') {
        place.seq = seq;
        saw.socket.push(data.i);
      }
    };
    socket.onclose = () => setTimeout(follow, 100);
  };
  follow();

  const source = new EventSource('/api/changes?table=t');
  source.addEventListener('subscribed', sourceReady);
  source.onmessage = ({data}) => saw.source.push(JSON.parse(data).data.i);

  return import('/rowtap.js').then(async ({connect}) => {
    const client = connect(undefined, {reconnect: {min: 50, max: 200}});
    const shown = new Set();
    const view = client.view('t', {onChange: ({rows: map}) => {
      for (const {i} of map.values()) if (!shown.has(i)) saw.view.push(i);
      for (const {i} of map.values()) shown.add(i);
    }});
    await view.ready;
    // A large message each way.
    const text = 'x'.repeat(100000);
    const answer = await client.request('sql', {sql: 'SELECT ? AS x, length(?) AS n', params: [text, text]});
    saw.big = [answer.rows[0][0].length, answer.rows[0][1]];
    saw.ready++;
  });
}

const browser = await Browser.start();
try {
  let header = null;
  const receive = browser.receive.bind(browser);
  browser.receive = (message) => {
    if (message.method === 'Network.webSocketHandshakeResponseReceived') {
      const {headers} = message.params.response;
      header = Object.entries(headers).find(([name]) => name.toLowerCase() === 'sec-websocket-extensions')?.[1] ?? null;
    }
    receive(message);
  };
  await browser.send('Network.enable');
  await browser.open(url);
  await browser.until('document.readyState === "complete" && location.protocol === "http:"');
  await browser.evaluate(`(${page})(location.origin, 2000)`);
  await browser.until('saw.ready === 3');
  console.log('ready');
  const end = Date.now() + 60000;
  const all = `['socket', 'source', 'view'].every((name) => saw[name].length >= ${count})`;
  while (!await browser.evaluate(all) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 100));
  await new Promise((resolve) => setTimeout(resolve, 300));
  console.log(JSON.stringify({...await browser.evaluate('saw'), header}));
} finally {
  await browser.stop();
}
