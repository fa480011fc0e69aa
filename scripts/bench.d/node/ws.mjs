// A realtime feed as ws's README would have it: node ws.mjs DATABASE
import { WebSocketServer } from 'ws';
import { serve } from './rows.mjs';

const subscribed = new Set();
const server = serve(process.argv[2], (message) => {
  const text = JSON.stringify(message);
  for (const client of subscribed) client.send(text);
});

new WebSocketServer({ server, path: '/ws' }).on('connection', (socket) => {
  socket.on('message', (data) => {
    if (JSON.parse(data).type !== 'subscribe') return;
    subscribed.add(socket);
    socket.send('{"type":"subscribed"}');
  });
  socket.on('close', () => subscribed.delete(socket));
  socket.on('error', () => {});
  socket.send('{"type":"connection:ack"}');
});
