// What both servers have in common: SQLite by better-sqlite3, and HTTP for the writers and readers.
//
// `publish(message)` is called after a row was committed, with what subscribers get. `run` is for those
// who write over their WebSocket.
import http from 'node:http';
import Database from 'better-sqlite3';

export function serve(path, publish) {
  const db = new Database(path);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  const statements = new Map();
  let seq = 0;

  function prepare(sql) {
    let statement = statements.get(sql);
    if (!statement) {
      statement = db.prepare(sql);
      statements.set(sql, statement);
    }
    return statement;
  }

  // Rows of (k, payload, at): how the benchmark's writers insert them.
  function insertRows(sql, params) {
    const { changes, lastInsertRowid } = prepare(sql).run(params);
    const width = params.length / changes;
    for (let i = 0; i < changes; i++) {
      const id = Number(lastInsertRowid) - changes + 1 + i;
      const [k, payload, at] = params.slice(i * width);
      seq++;
      publish({
        id: `node:${seq}`, timestamp: Date.now(), type: 'database_change', channel: 'tables', seq, tx: seq,
        table: 'bench', event: 'INSERT', key: { id }, data: { id, k, payload, at },
      });
    }
    return { columns: [], rows: [], changes, lastInsertRowid: Number(lastInsertRowid), seq };
  }

  function run(sql, params) {
    if (params && /^insert/i.test(sql)) return insertRows(sql, params);
    if (/^select/i.test(sql)) {
      const statement = prepare(sql);
      const rows = statement.raw().all(params ?? []);
      return { columns: statement.columns().map((c) => c.name), rows, changes: 0, seq };
    }
    statements.clear();
    const before = db.prepare('SELECT total_changes()').pluck().get();
    db.exec(sql);
    const changes = db.prepare('SELECT total_changes()').pluck().get() - before;
    if (/^insert/i.test(sql) && changes === 1) {
      const row = db.prepare('SELECT id, k, payload, at FROM bench ORDER BY id DESC LIMIT 1').get();
      seq++;
      publish({ type: 'database_change', seq, tx: seq, table: 'bench', event: 'INSERT', key: { id: row.id }, data: row });
    }
    return { columns: [], rows: [], changes, seq };
  }

  function metrics() {
    const cpu = process.cpuUsage();
    return `process_cpu_seconds_total ${(cpu.user + cpu.system) / 1e6}\n` +
      `process_resident_memory_bytes ${process.memoryUsage.rss()}\n`;
  }

  const server = http.createServer((request, response) => {
    if (request.method !== 'POST') {
      response.end(request.url === '/metrics' ? metrics() : '{"status":"ok"}');
      return;
    }
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      try {
        const { sql, params } = JSON.parse(Buffer.concat(chunks).toString());
        const body = JSON.stringify(run(sql, params));
        response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
        response.end(body);
      } catch (error) {
        response.writeHead(400, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify({ error: { message: error.message } }));
      }
    });
  });
  server.listen(0, '127.0.0.1', () => console.error(`listening on http://127.0.0.1:${server.address().port}`));
  return { server, run };
}
