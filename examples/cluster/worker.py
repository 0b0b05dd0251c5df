#!/usr/bin/env python3
"""Handles the events of all shards of a ring: python3 worker.py redis://host:7000 ring group

One thread serves one shard, from whichever partition there has work. Start as many processes as
needed: a partition has one worker at a time. Slots may move and masters may be replaced meanwhile.
SIGTERM finishes the event in hand.
"""
import json
import signal
import sys
import threading

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.retry import Retry

BLOCK_MS = 2000
SHARDS_S = 0.5  # how often the slots are read again
stopping = threading.Event()


def handle(partition, epoch, id, event):
    """Your work. Raise, and the event is retried. It must bear seeing an event again, and must
    take less than the lease (evq.lease-ms); longer work sends EVQ.EXTEND now and then."""
    # One write, for several threads do so at the same time.
    text = (str(partition), id.decode(), event[b"key"].decode(), event[b"payload"].decode())
    sys.stdout.write(" ".join(text) + "\n")
    sys.stdout.flush()


class Worker:
    def __init__(self, url, ring, group):
        self.ring, self.group = ring, group
        self.seed = redis.Redis.from_url(url)
        self.login = {name: self.seed.connection_pool.connection_kwargs.get(name)
                      for name in ("username", "password")}
        described = RedisCluster.from_url(url).execute_command("EVQ.RING", ring, "JSON")
        self.streams = [self.stream(each["partition"])
                        for each in json.loads(described)["partitions"]]
        self.shards, self.threads = {}, {}

    def stream(self, partition):
        return f"evq:{{{self.ring}:{partition}}}"

    def client(self, address):
        # A lease belongs to its connection: one for each thread, and none made anew unseen.
        return redis.Redis(*address, max_connections=1, retry=Retry(NoBackoff(), 0),
                           socket_timeout=BLOCK_MS / 1000 + 5, **self.login)

    def read_shards(self):
        """One partition of each shard, by the address of its master."""
        for ask in [self.seed, *map(self.client, self.shards)]:
            try:
                # A name, so that no version of redis-py makes something else of the reply.
                ranges = ask.execute_command("CLUSTER", "SLOTS")
                break
            except redis.RedisError:
                continue  # this node is away; another one knows as well
        else:
            return
        shards = {}
        for stream in self.streams:
            slot = key_slot(stream.encode())
            for first, last, (host, port, *_), *_ in ranges:
                if first <= slot <= last:
                    shards.setdefault((host.decode(), port), stream)
        self.shards = shards

    def serve(self, address):
        """Works until this shard has no partition any more, or does not answer."""
        client, done = self.client(address), []
        while not stopping.is_set() and address in self.shards:
            stream = self.shards[address]
            try:
                reply = client.execute_command(
                    "EVQ.CONSUME", stream, "ANY", "GROUP", self.group, "COUNT", 10,
                    "BLOCK", BLOCK_MS, *done)
                done = []
                partition, epoch, events = reply or (None, None, [])
                held = set()
                for id, fields in events:
                    if id in held or stopping.is_set():
                        continue  # an earlier event of its key failed; it comes again behind that
                    try:
                        handle(partition, epoch, id, dict(zip(fields[::2], fields[1::2])))
                        done = ["ACK", partition, id]
                    except Exception as error:
                        held.update(client.execute_command(
                            "EVQ.NACK", self.stream(partition), id, "REASON", repr(error),
                            "GROUP", self.group))
            except redis.RedisError as error:
                # The slot has moved, the master is another one, or the lease is lost: what was
                # not acknowledged is handed out again, by whichever node has it.
                print(f"{address}: {error}", file=sys.stderr, flush=True)
                client.connection_pool.disconnect()
                done = []
                stopping.wait(SHARDS_S)
        if done:
            try:
                client.execute_command("EVQ.ACK", self.stream(done[1]), done[2], "GROUP", self.group)
            except redis.RedisError:
                pass  # it comes again
        client.connection_pool.disconnect()

    def work(self):
        while not stopping.is_set():
            self.read_shards()
            for address in self.shards:
                if address not in self.threads or not self.threads[address].is_alive():
                    self.threads[address] = threading.Thread(
                        target=self.serve, args=[address], name="{}:{}".format(*address))
                    self.threads[address].start()
            stopping.wait(SHARDS_S)
        for thread in self.threads.values():
            thread.join()


def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    Worker(*sys.argv[1:4]).work()


if __name__ == "__main__":
    main()
