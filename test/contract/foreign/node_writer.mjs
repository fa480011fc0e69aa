// A process that writes with better-sqlite3: node node_writer.mjs FILE. As python_writer.py, without BLOB I/O.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const Database = createRequire(new URL('../../e2e/package.json', import.meta.url))('better-sqlite3');
const db = new Database(process.argv[2], { timeout: 10000 });

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  const errors = [];
  const checkpoints = [];
  for (const item of job.items) {
    try {
      if (typeof item !== 'string') continue;
      if (item.includes('wal_checkpoint')) checkpoints.push(Object.values(db.prepare(item).get()));
      else db.exec(item);
    } catch (error) {
      errors.push(error.message);
    }
  }
  if (db.inTransaction && !job.keep) db.exec('ROLLBACK');
  console.log(JSON.stringify({ errors, checkpoints }));
}
db.close();
