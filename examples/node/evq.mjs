/**
 * EVQ for Node 20 on ioredis: copy this file into your project.
 *
 *     const queue = new Queue('redis://localhost:6379', { group: 'mailer' });
 *     await queue.trigger('thread:42', { text: 'Hello' }, { type: 'PostCreated' });
 *
 *     await queue.work(async (event) => {
 *       await sendMail(event.key, event.json());  // throw, and it is retried; its key waits
 *     }, { workers: 4 });                         // until queue.stop()
 *
 * or with a loop of your own, one worker each:
 *
 *     for await (const event of queue.events()) {
 *       await sendMail(event.key, event.json());  // done when the loop asks for the next one;
 *     }                                           // event.fail(error) has it retried
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

/** An error of EVQ's. Its first word, `code`, is what programs may rely on. */
export class EvqError extends Error {
  constructor(message) {
    super(message);
    this.name = this.constructor.name;
    this.code = message.split(' ', 1)[0];
  }
}
/** The lease is lost: another worker has the partition, and what was not acknowledged. */
export class FencedError extends EvqError {}
/** The ring's MAXDEPTH is reached and nothing was written: wait, then try again. */
export class FullError extends EvqError {}
/** The ring has no such partition, or has it no more. */
export class NoPartitionError extends EvqError {}

const KINDS = { EVQFENCED: FencedError, EVQFULL: FullError, EVQNOPARTITION: NoPartitionError };
// What waiting does not mend ends a worker; anything else is tried again on a new connection.
const HOPELESS = /^(EVQNORING|EVQNAME|EVQNOGROUP|WRONGTYPE|NOPERM|NOAUTH|WRONGPASS) /;

/** One command, with typed errors. Replies are Buffers, for payloads are bytes. */
async function call(client, name, ...words) {
  try {
    return await client.callBuffer(name, ...words);
  } catch (error) {
    if (!error.message.startsWith('EVQ')) throw error;
    throw new (KINDS[error.message.split(' ', 1)[0]] ?? EvqError)(error.message);
  }
}

/** An event in hand. `signal` is aborted when its lease is lost: give it to what you await. */
class Event {
  constructor(lease, id, fields) {
    this.fields = new Map(); // as they were stored, in Buffers
    for (let n = 0; n < fields.length; n += 2) this.fields.set(`${fields[n]}`, fields[n + 1]);
    const text = (name) => this.fields.get(name)?.toString();
    const headers = [...this.fields.keys()].filter((name) => name.startsWith('h:'));
    ({ partition: this.partition, epoch: this.epoch } = lease);
    this.signal = lease.lost.signal;
    this.id = id;
    this.key = text('key');
    this.type = text('type');
    this.payload = this.fields.get('payload');
    this.headers = Object.fromEntries(headers.map((name) => [name.slice(2), text(name)]));
    this.attempt = Number(text('attempt') ?? 1);
  }

  json() {
    return JSON.parse(this.payload);
  }

  /** Has it handed out again after a delay; after its last attempt it is a dead letter. */
  fail(reason) {
    this.failure = String(reason);
  }
}

/** One ring and one group. */
export class Queue {
  #names;
  #options;
  #client;
  #waiting = new Set(); // connections in EVQ.CONSUME, by their ids
  #stopping = new AbortController();

  constructor(url, options = {}) {
    this.url = url;
    this.#options = {
      ring: 'default', group: 'default', count: 10, blockMs: 2000, leaseMs: 30000,
      onError: (error, event) => console.error(event ? `event ${event.id}:` : 'evq:', error),
      ...options,
    };
    this.#names = ['RING', this.#options.ring, 'GROUP', this.#options.group];
    this.#client = this.#connect(5000, {});
  }

  #connect(socketTimeout, settings) {
    const client = new Redis(this.url, {
      // By default ioredis sends commands again by itself after it has reconnected: an event whose
      // reply was lost would be appended twice, and a repeated pull would wait in vain.
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 5000,
      // By default it waits for a reply for ever, if the server's machine has vanished.
      socketTimeout,
      ...settings,
    });
    return client.on('error', () => {}); // the commands tell it, too
  }

  /**
   * Appends an event; its [partition, id]. With a token in `unique` it is sent again when a reply
   * is lost, and appended once; without one that is an error, and for you to decide.
   */
  async trigger(key, payload, about = {}) {
    return this.#produce(['EVQ.TRIGGER', key, encode(payload)], about);
  }

  /** As trigger(), `at` a Date or in `delayMs`; its [partition, ticket]. */
  async schedule(key, payload, { at, delayMs, ...about }) {
    const due = at ? ['AT', at.getTime()] : ['IN', delayMs];
    return this.#produce(['EVQ.SCHEDULE', key, encode(payload), ...due], about);
  }

  async #produce(words, { type, headers = {}, unique }) {
    words.push('RING', this.#options.ring);
    if (type) words.push('TYPE', type);
    for (const [name, value] of Object.entries(headers)) words.push('HEADER', name, value);
    if (unique) words.push('UNIQUE', unique);
    for (let pause = 50; ; pause *= 2) {
      try {
        const [partition, id] = await call(this.#client, ...words);
        return [partition, typeof id === 'number' ? id : `${id}`];
      } catch (error) {
        const answered = error instanceof EvqError || error.name === 'ReplyError';
        if (answered || !unique || pause > 5000) throw error;
        await sleep(pause);
      }
    }
  }

  /** How the group stands over all partitions: lag, retrying, dead-letters and more. */
  async stats() {
    const { ring, group } = this.#options;
    const groups = JSON.parse(await call(this.#client, 'EVQ.GROUPS', 'RING', ring, 'JSON'));
    return groups.find((each) => each.group === group);
  }

  /**
   * Handles events until stop(); what is in hand is finished first. Each worker pulls from any
   * partition, or from `source`. The handler may see an event again, after a crash.
   */
  async work(handler, { workers = 1, source = '*' } = {}) {
    const worker = async () => {
      for await (const event of this.events({ source })) {
        try {
          await handler(event);
        } catch (error) {
          this.#options.onError(error, event);
          event.fail(error);
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: workers }, worker));
    } finally {
      this.stop();
    }
  }

  /** Ends all workers: calls those that wait; the others finish the event in hand. */
  stop() {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    const callIn = async () => {
      for (; this.#waiting.size > 0; await sleep(20)) {
        for (const id of this.#waiting) {
          // If it is not permitted, the pull ends after BLOCK.
          await this.#client.call('CLIENT', 'UNBLOCK', id).catch(() => {});
        }
      }
    };
    callIn();
  }

  /** Closes the connection of trigger() and stats(), after the last of them. */
  close() {
    this.stop();
    this.#client.disconnect();
  }

  /** The events of one worker. Leave the loop, and the event in hand is handed out again. */
  async *events({ source = '*' } = {}) {
    const stopping = this.#stopping.signal;
    const state = { pause: 100, lease: null }; // the lease in hand, for the heartbeat
    const beat = setInterval(() => this.#beat(state.lease), this.#options.leaseMs / 3);
    try {
      while (!stopping.aborted) {
        // Without WORKER the connection is the worker: its lease ends when it closes, however the
        // process ended. So each worker has its own, and it does not reconnect by itself. A reply
        // may take as long as BLOCK.
        const settings = { lazyConnect: true, retryStrategy: () => null };
        const connection = this.#connect(this.#options.blockMs + 5000, settings);
        try {
          await connection.connect();
          yield* this.#pull(connection, source, state);
        } catch (error) {
          if (error instanceof NoPartitionError) return; // a resize has removed it, empty
          if (HOPELESS.test(error.message)) throw error;
          // Nobody knows what the server has done: forget the ACK and what is in hand, and start
          // over as a new worker. What was not acknowledged comes again.
          this.#options.onError(error);
          await sleep(state.pause, null, { signal: stopping }).catch(() => {});
          state.pause = Math.min(state.pause * 2, 5000);
        } finally {
          connection.disconnect();
        }
      }
    } finally {
      clearInterval(beat);
    }
  }

  async #beat(lease) {
    if (!lease) return;
    // EPOCH proves the lease from any connection.
    const { partition, epoch } = lease;
    const words = [partition, ...this.#names, 'EPOCH', epoch, 'LEASE', this.#options.leaseMs];
    try {
      await call(this.#client, 'EVQ.EXTEND', ...words);
    } catch (error) {
      if (error instanceof FencedError) lease.lost.abort(error);
      this.#options.onError(error);
    }
  }

  async *#pull(connection, source, state) {
    const { count, blockMs, leaseMs } = this.#options;
    const me = Number(await connection.call('CLIENT', 'ID'));
    const pull = [source, ...this.#names, 'COUNT', count, 'BLOCK', blockMs, 'LEASE', leaseMs];
    let partition = null;
    let ack = [];
    try {
      for (;;) {
        this.#waiting.add(me);
        if (this.#stopping.signal.aborted) break; // else stop() comes later, and finds the id
        const reply = await call(connection, 'EVQ.CONSUME', ...pull, ...ack);
        this.#waiting.delete(me);
        ack = [];
        state.pause = 100;
        if (!reply) continue; // nothing to do in time, or other workers have it
        const lease = { partition: reply[0], epoch: reply[1], lost: new AbortController() };
        ({ partition } = lease);
        state.lease = lease;
        const held = new Set();
        for (const [id, fields] of reply[2].map(([id, fields]) => [`${id}`, fields])) {
          if (held.has(id)) continue; // it comes again, after the one of its key that failed
          const event = new Event(lease, id, fields);
          yield event;
          if (lease.lost.signal.aborted) throw new FencedError('EVQFENCED the lease was lost');
          if (event.failure === undefined) {
            ack = source === '*' ? ['ACK', partition, id] : ['ACK', id]; // with the next pull
          } else {
            const nack = [partition, id, ...this.#names, 'REASON', event.failure];
            for (const other of await call(connection, 'EVQ.NACK', ...nack)) held.add(`${other}`);
          }
          if (this.#stopping.signal.aborted) break;
        }
        state.lease = null;
      }
    } catch (error) {
      [partition, ack] = [null, []];
      throw error;
    } finally {
      state.lease = null;
      this.#waiting.delete(me);
      try {
        if (ack.length) await call(connection, 'EVQ.ACK', partition, ack.at(-1), ...this.#names);
        if (partition !== null) await call(connection, 'EVQ.RELEASE', partition, ...this.#names);
      } catch {
        // Not ours any more; or it ends with the connection.
      }
    }
  }
}

function encode(payload) {
  const raw = typeof payload === 'string' || Buffer.isBuffer(payload);
  return raw ? payload : JSON.stringify(payload);
}
