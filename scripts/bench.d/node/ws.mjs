// A realtime feed as ws's README would have it: node ws.mjs DATABASE
import { WebSocketServer } from 'ws';
import { serve } from './rows.mjs';

const subscribed = new Set();
const { server, run } = serve(process.argv[2], (message) => {
  const text = JSON.stringify(message);
  for (const client of subscribed) client.send(text);
});

new WebSocketServer({ server, path: '/ws' }).on('connection', (socket) => {
  socket.on('message', (data) => {
    const { type, requestId, payload } = JSON.parse(data);
    if (type === 'subscribe') {
      subscribed.add(socket);
      socket.send('{"type":"subscribed"}');
    } else if (type === 'request') {
      socket.send(JSON.stringify({ type: 'response', requestId, payload: { success: true, ...run(payload.sql, payload.params) } }));
    }
  });
  socket.on('close', () => subscribed.delete(socket));
  socket.on('error', () => {});
  socket.send('{"type":"connection:ack"}');
});
