#!/usr/bin/env python3
"""Posts to the threads of a forum: python3 producer.py redis://localhost:6379 [posts]"""
import json
import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# A connection that breaks leaves open whether the event was appended. Repeating the command then
# may append it twice, so that is for you to decide, not for redis-py.
client = redis.Redis.from_url(sys.argv[1], retry=Retry(NoBackoff(), 0), socket_timeout=5)

for n in range(int(sys.argv[2]) if len(sys.argv) > 2 else 10):
    key = f"thread:{n % 3}"  # events of one key stay in order
    payload = json.dumps({"post": n, "text": "Hello"})
    partition, id = client.execute_command("EVQ.TRIGGER", key, payload, "TYPE", "PostCreated")
    print(f"{partition} {id.decode()} PostCreated {key} {payload}", flush=True)
