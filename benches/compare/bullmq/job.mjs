// The job that every peer does, as benches/compare/README.md has it.

import { openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const PRODUCERS = 4;
const PAYLOAD_BYTES = 200;
// Key, number and time, with which a payload begins and a journal's line too.
const HEAD_BYTES = 34;
const JOURNAL_BYTES = 64 * 1024;
// Timers have no finer steps.
const STEP_US = 2000;

export function nowUs() {
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}

// What the command line says after task and address.
export function given(words) {
  const values = new Map(words.map((word) => word.split("=", 2)));
  return {
    text: (name) => values.get(name) ?? "",
    number: (name, otherwise) => Number(values.get(name) ?? otherwise),
  };
}

function lines() {
  return createInterface({ input: process.stdin });
}

// Says that all is prepared, and waits until standard input ends.
export async function waitForTheWord() {
  console.log("ready");
  for await (const _ of lines());
}

// Obeys lines of standard input: EVENTS RATE sends so many at so many a second, or at once.
// A producer has send(key, payload, paced), finish() and partitions(count).
export async function produce(values, connect) {
  const keys = values.number("keys", 10_000) / PRODUCERS;
  const share = (_, nth) => ({ to: connect(), nth, next: 0, keys });
  const shares = Array.from({ length: PRODUCERS }, share);
  console.log("ready");
  for await (const line of lines()) {
    const [first, second] = line.split(" ");
    if (first === "partitions") {
      shares.forEach((share) => share.to.partitions(Number(second)));
      continue;
    }
    const gap = second === "0" ? 0 : (PRODUCERS * 1_000_000) / Number(second);
    const start = nowUs();
    await Promise.all(shares.map((share) => send(share, Number(first) / PRODUCERS, gap)));
    console.log(`sent ${start} ${nowUs()}`);
  }
}

async function send(share, events, gap) {
  const start = nowUs();
  for (let n = 0; n < events; n += 1, share.next += 1) {
    const due = start + n * gap;
    if (gap > 0 && nowUs() < due) {
      await sleep(Math.ceil((due - nowUs()) / 1000));
    }
    // A producer that is late was held up: its event counts from when it was due.
    const now = nowUs();
    const sent = gap > 0 && now - due > STEP_US ? Math.round(due) : now;
    const key = padded(share.nth + (share.next % share.keys) * PRODUCERS, 6);
    const head = `${key} ${padded(Math.floor(share.next / share.keys), 10)} ${padded(sent, 16)} `;
    await share.to.send(key, head.padEnd(PAYLOAD_BYTES, "."), gap > 0);
  }
  await share.to.finish();
}

function padded(number, width) {
  return String(number).padStart(width, "0");
}

// What all workers of a process share.
export class Work {
  constructor(values) {
    this.journals = values.text("journals");
    this.atOnce = values.number("at_once", 0) > 0;
    this.busyMs = values.number("busy_us", 0) / 1000;
    this.failing = values.text("failing").replace("-", " ");
    this.failures = 0;
    this.handled = 0;
    this.milestone = 0;
  }

  // Makes workers, and closes them when standard input ends. A line of it is the next milestone, or
  // partitions N: then there are as many workers.
  async run(count, make) {
    const workers = [];
    const journals = [];
    const grow = async (to) => {
      while (workers.length < to) {
        const journal = new Journal(this, workers.length);
        journals.push(journal);
        workers.push(await make(workers.length, journal));
      }
    };
    await grow(count);
    console.log("ready");
    for await (const line of lines()) {
      if (line.startsWith("partitions ")) {
        await grow(Number(line.split(" ")[1]));
      } else {
        this.milestone = Number(line);
      }
    }
    await Promise.all(workers.map((worker) => worker.close()));
    journals.forEach((journal) => journal.writeOut());
  }
}

// What one worker has handled: a line for each event.
class Journal {
  constructor(work, nth) {
    this.work = work;
    this.file = openSync(`${work.journals}.${nth}`, "w");
    this.lines = "";
  }

  // Handles an event; false if that failed, and has to be tried again after the delay.
  async handle(payload, partition) {
    const { work } = this;
    if (work.failing && payload.startsWith(work.failing) && work.failures < 2) {
      work.failures += 1;
      return false;
    }
    if (work.busyMs > 0) {
      await sleep(work.busyMs);
    }
    const head = payload.slice(0, HEAD_BYTES);
    this.lines += `${head} ${padded(nowUs(), 16)} ${padded(partition, 2)}\n`;
    if (work.atOnce || this.lines.length >= JOURNAL_BYTES) {
      this.writeOut();
    }
    work.handled += 1;
    if (work.handled === work.milestone) {
      console.log(`handled ${work.handled}`);
    }
    return true;
  }

  writeOut() {
    writeSync(this.file, this.lines);
    this.lines = "";
  }
}
