// Subscribers on Node that outlive their connections: node node_clients.mjs KIND URL. The first line says that
// it is subscribed (and what was negotiated); then comes the i of each row inserted into table t.
import {EventSource} from 'eventsource';
import WebSocket from 'ws';
import {connect} from '../../src/web/rowtap.js';

const [kind, url] = process.argv.slice(2);
const print = (text) => process.stdout.write(`${text}\n`);
let ready = false;

function begin(text) {
  if (!ready) print(`ready ${text}`);
  ready = true;
}

// As a user of `ws` writes it, with the place to go on from kept by hand.
function follow(place = {}) {
  const socket = new WebSocket(url.replace('http', 'ws') + '/ws', {perMessageDeflate: {threshold: 0}});
  socket.on('message', (text) => {
    const {type, data, seq} = JSON.parse(text);
    if (type === 'connection:ack') {
      place.epoch = data.epoch;
      const since = place.seq === undefined ? {} : {since: place.seq, epoch: place.epoch};
      socket.send(JSON.stringify({type: 'subscribe', table: 't', ...since}));
    } else if (type === 'subscribed') {
      if (data.recovered === false) throw new Error('not recovered');
      place.seq ??= data.seq;
      begin(socket.extensions);
    } else if (type === 'database_change') {
      place.seq = seq;
      print(data.i);
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => setTimeout(follow, 100, place));
}

const kinds = {
  ws: follow,
  rowtap() {
    const client = connect(url, {WebSocket, reconnect: {min: 50, max: 200}});
    client.subscribe('t', {onChange: ({data}) => print(data.i), onResync: (info) => { throw new Error(info.reason); }})
      .ready.then(() => begin(''));
  },
  view() {
    const client = connect(url, {WebSocket, reconnect: {min: 50, max: 200}});
    const printed = new Set();
    const view = client.view('t', {onChange: ({rows}) => {
      for (const {i} of rows.values()) if (!printed.has(i)) print(i);
      for (const {i} of rows.values()) printed.add(i);
    }});
    view.ready.then(() => begin(''));
  },
  eventsource() {
    const source = new EventSource(`${url}/api/changes?table=t`);
    source.addEventListener('subscribed', () => begin(''));
    source.addEventListener('resync', (event) => { throw new Error(event.data); });
    source.onmessage = (event) => print(JSON.parse(event.data).data.i);
  },
};
kinds[kind]();
