// A subscriber on npm `ws`: node ws_client.mjs URL TABLE FILTER COUNT [PADDING]. Prints each change as a line of JSON.
// So many bytes of padding make `ws` compress what it sends.
import WebSocket from 'ws';

const [url, table, filter, count, padding] = process.argv.slice(2);
const socket = new WebSocket(url);
let seen = 0;

socket.on('message', (text) => {
  const message = JSON.parse(text);
  if (message.type === 'connection:ack') {
    socket.send(JSON.stringify({ type: 'subscribe', requestId: 1, data: { table, filter }, padding: ' '.repeat(Number(padding ?? 0)) }));
  } else if (message.type === 'subscribed') {
    console.log(JSON.stringify({ ready: true, extensions: socket.extensions }));
  } else {
    console.log(JSON.stringify(message));
    if (++seen === Number(count)) socket.close(1000);
  }
});
socket.on('ping', () => console.log(JSON.stringify({ ping: true })));
socket.on('close', (code) => console.log(JSON.stringify({ closed: code })));
socket.on('error', (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
