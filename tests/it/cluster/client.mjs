// ioredis on a ring over a cluster: `port events`. Events are produced by EVQ.TRIGGER and, for each
// other one, straight to their partition, found by EVQ.POINTS. They are consumed with ANY on each
// shard. Prints a line `key payload` for each in the order of its handling.
import Redis from 'ioredis';

const [port, events] = process.argv.slice(1).map(Number);
const KEYS = 12;
const cluster = new Redis.Cluster([{ host: '127.0.0.1', port }]);
const stream = (p) => `evq:{r:${p}}`;

// murmur3_x86_32 with seed 0.
function hash(text) {
    const key = Buffer.from(text);
    const turn = (n, bits) => (n << bits) | (n >>> (32 - bits));
    const mix = (k) => Math.imul(turn(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593);
    let h = 0, at = 0;
    for (; at + 4 <= key.length; at += 4) {
        h = (Math.imul(turn(h ^ mix(key.readInt32LE(at)), 13), 5) + 0xe6546b64) | 0;
    }
    let last = 0;
    for (let n = key.length - 1; n >= at; n--) last = (last << 8) | key[n];
    h ^= mix(last) ^ key.length;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
}

const points = await cluster.call('EVQ.POINTS', 'RING', 'r');
const partitions = [...new Set(points.map(([, p]) => p))];
const partition = (key) => (points.find(([point]) => point > hash(key)) ?? points[0])[1];

// One after another for each key: the order of a key is that of the replies.
async function produce(key, numbers) {
    for (const [turn, n] of numbers.entries()) {
        const [p] = turn % 2 === 0
            ? await cluster.call('EVQ.TRIGGER', key, n, 'RING', 'r')
            : await cluster.call('EVQ.APPEND', stream(partition(key)), key, n);
        if (p !== partition(key)) throw new Error(`${key} is in ${p}`);
    }
}

// A connection of its own for each shard: EVQ.CONSUME blocks it, and the lease is the connection's.
let handled = 0;
async function work(node) {
    const own = node.duplicate();
    const pull = (p, ...more) =>
        own.call('EVQ.CONSUME', stream(p), 'ANY', 'GROUP', 'g', 'COUNT', 7, ...more);
    let here, reply, done = [];
    for (const p of partitions) {
        try {
            reply = await pull(p, 'NOBLOCK');
            here = p;
            break;
        } catch (error) {
            if (!error.message.startsWith('MOVED')) throw error;
        }
    }
    while (handled < events || done.length > 0) {
        const [p, , entries] = reply ?? [here, 0, []];
        for (const [id, fields] of entries) {
            const field = (name) => fields[fields.indexOf(name) + 1];
            console.log(field('key'), field('payload'));
            handled += 1;
            done = ['ACK', stream(p), id];
        }
        const acknowledged = done;
        done = [];
        reply = await pull(here, 'BLOCK', 100, ...acknowledged);
    }
    own.disconnect();
}

const numbers = [...Array(events).keys()];
const keys = [...Array(KEYS).keys()].map((n) => [`node:${n}`, numbers.filter((i) => i % KEYS === n)]);
await Promise.all([
    ...keys.map(([key, own]) => produce(key, own)),
    ...cluster.nodes('master').map(work),
]);
cluster.disconnect();
