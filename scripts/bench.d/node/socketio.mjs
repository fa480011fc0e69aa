// A realtime feed as socket.io's documentation would have it: node socketio.mjs DATABASE
import { Server } from 'socket.io';
import { serve } from './rows.mjs';

const { server } = serve(process.argv[2], (message) => io.to('bench').emit('change', message));
const io = new Server(server, { serveClient: false });

io.on('connection', (socket) => {
  socket.on('subscribe', () => {
    socket.join('bench');
    socket.emit('reply', { type: 'subscribed' });
  });
});
