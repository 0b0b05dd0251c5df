// Handles the posts of a forum until SIGTERM or SIGINT: node worker.mjs
//
// REDIS_URL     where the server is, redis://localhost:6379
// EVQ_GROUP     the group to work for, default
// EVQ_WORKERS   workers in this process, 1
// EVQ_LEASE_MS  how long a worker may be silent, 30000
// EVQ_SOURCE    a partition, instead of any
//
// A post like {"ms": 500, "fails": 1} takes half a second and fails once.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from './evq.mjs';

const {
  REDIS_URL = 'redis://localhost:6379', EVQ_GROUP: group = 'default',
  EVQ_WORKERS: workers = 1, EVQ_LEASE_MS: leaseMs = 30000, EVQ_SOURCE: source = '*',
} = process.env;
const queue = new Queue(REDIS_URL, { group, leaseMs: Number(leaseMs) });
for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => queue.stop());

/** May see an event again, after a crash: it must bear that. */
async function handle(event) {
  const post = event.json();
  await sleep(post.ms ?? 0, null, { signal: event.signal });
  if (event.attempt <= (post.fails ?? 0)) throw new Error('not yet');
  const { partition, epoch, id, attempt, key, payload } = event;
  process.stdout.write(`${partition} ${epoch} ${id} ${attempt} ${key} ${payload}\n`);
}

await queue.work(handle, { workers: Number(workers), source });
queue.close();
