// Posts to the threads of a forum: node producer.mjs [posts]
//
// REDIS_URL   where the server is, redis://localhost:6379
// EVQ_RUN     names this run: its posts get tokens, so a second start appends none twice
// EVQ_IN_MS   schedules each post so many milliseconds ahead
import { setTimeout as sleep } from 'node:timers/promises';
import { FullError, Queue } from './evq.mjs';

const { REDIS_URL = 'redis://localhost:6379', EVQ_RUN: run, EVQ_IN_MS: delayMs } = process.env;
const queue = new Queue(REDIS_URL);

for (let n = 0; n < Number(process.argv[2] ?? 10); n += 1) {
  const key = `thread:${n % 3}`; // events of one key stay in order
  const post = { post: n, text: 'Hello' };
  const about = { type: 'PostCreated', unique: run && `${run}:${n}` };
  for (;;) {
    try {
      const [partition, id] = await (delayMs
        ? queue.schedule(key, post, { delayMs, ...about })
        : queue.trigger(key, post, about));
      console.log(partition, id, key);
      break;
    } catch (error) {
      if (!(error instanceof FullError)) throw error;
      console.error('full: waiting');
      await sleep(100); // the workers are behind; nothing was written
    }
  }
}
queue.close();
