// The job with BullMQ: a queue for each partition, chosen by the producer from the key's hash. Each
// has a global concurrency of 1: that is what keeps the order.

import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { Work, given, produce, waitForTheWord } from "./job.mjs";

// Events of a bulk.
const BULK = 100;
const [task, address, ...words] = process.argv.slice(2);
const values = given(words);
const [host, port] = address.split(":");

function connect() {
  return new Redis({ host, port: Number(port), maxRetriesPerRequest: null });
}

function queue(partition, connection) {
  return new Queue(`p${partition}`, {
    connection,
    defaultJobOptions: {
      attempts: 3,
      backoff: { type: "fixed", delay: values.number("delay_ms", 500) },
      removeOnComplete: true,
    },
  });
}

function fnv1a(key) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(key)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash;
}

async function add(from, to) {
  for (let partition = from; partition < to; partition += 1) {
    await queue(partition, connect()).setGlobalConcurrency(1);
  }
}

class Sender {
  constructor() {
    this.connection = connect();
    this.queues = [];
    this.bulks = [];
    this.underWay = new Set();
    this.partitions(8);
  }

  partitions(count) {
    for (let n = this.queues.length; n < count; n += 1) {
      this.queues.push(queue(n, this.connection));
      this.bulks.push([]);
    }
  }

  async send(key, payload, paced) {
    const partition = fnv1a(key) % this.queues.length;
    if (paced) {
      this.keep(this.queues[partition].add("e", payload));
      return;
    }
    const bulk = this.bulks[partition];
    bulk.push({ name: "e", data: payload });
    if (bulk.length === BULK) {
      this.leave(partition);
      if (this.underWay.size > 2) {
        await Promise.race(this.underWay);
      }
    }
  }

  leave(partition) {
    const bulk = this.bulks[partition];
    if (bulk.length > 0) {
      this.bulks[partition] = [];
      this.keep(this.queues[partition].addBulk(bulk));
    }
  }

  keep(promise) {
    const kept = promise.then(() => this.underWay.delete(kept));
    this.underWay.add(kept);
  }

  async finish() {
    this.bulks.forEach((_, partition) => this.leave(partition));
    await Promise.all(this.underWay);
  }
}

async function receive(partition, journal) {
  const lease = values.number("lease_ms", 30_000);
  const handle = async (job) => {
    if (!(await journal.handle(job.data, partition))) {
      throw new Error("fails twice");
    }
  };
  const worker = new Worker(`p${partition}`, handle, {
    connection: connect(),
    lockDuration: lease,
    stalledInterval: lease,
    removeOnComplete: { count: 0 },
  });
  await worker.waitUntilReady();
  return worker;
}

switch (task) {
  case "setup":
    await connect().flushall("SYNC");
    await add(0, 8);
    break;
  case "resize":
    await connect().ping();
    await waitForTheWord();
    await add(8, values.number("partitions", 9));
    break;
  case "produce":
    await produce(values, () => new Sender());
    break;
  case "work":
    await new Work(values).run(8, receive);
    break;
  default:
    throw new Error(`no task ${task}`);
}
process.exit(0);
