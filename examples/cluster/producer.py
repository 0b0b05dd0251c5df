#!/usr/bin/env python3
"""Appends events at the shard of their partition: python3 producer.py redis://host:7000 ring [events]"""
import bisect
import sys
import uuid

from redis.cluster import RedisCluster
from redis.exceptions import ResponseError

try:
    from mmh3 import hash
except ImportError:
    from murmur3 import hash


class Producer:
    def __init__(self, url, ring):
        self.client, self.ring = RedisCluster.from_url(url), ring
        self.read_points()

    def read_points(self):
        # Any node replies: the command has no key. All other commands the client routes itself.
        node = self.client.get_redis_connection(self.client.get_random_node())
        points = node.execute_command("EVQ.POINTS", "RING", self.ring)
        self.points, self.partitions = zip(*points)

    def append(self, key, payload, *options, token=None):
        # redis-py repeats a command whose reply is lost: with a token it is appended once.
        options = ("UNIQUE", token or uuid.uuid4().hex, *options)
        for last in (False, True):
            # The first point above the hash, or the first of all.
            at = bisect.bisect(self.points, hash(key)) % len(self.points)
            stream = f"evq:{{{self.ring}:{self.partitions[at]}}}"
            try:
                return self.client.execute_command("EVQ.APPEND", stream, key, payload, *options)
            except ResponseError as error:
                if last or not str(error).startswith("EVQMOVED"):
                    raise
                self.read_points()  # the ring was dropped and made with another shape


if __name__ == "__main__":
    producer = Producer(sys.argv[1], sys.argv[2])
    for n in range(int(sys.argv[3]) if len(sys.argv) > 3 else 10):
        partition, id = producer.append(f"thread:{n % 3}", f"post {n}", "TYPE", "PostCreated")
        print(partition, id.decode(), flush=True)
