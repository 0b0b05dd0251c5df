#!/usr/bin/env python3
"""Posts to the threads of a forum: python3 producer.py [posts]

REDIS_URL   where the server is, redis://localhost:6379
EVQ_RUN     names this run: its posts get tokens, so a second start appends none twice
EVQ_IN_MS   schedules each post so many milliseconds ahead
"""
import os
import sys
import time

import evq

queue = evq.Queue(os.environ.get("REDIS_URL", "redis://localhost:6379"))
run, in_ms = os.environ.get("EVQ_RUN"), int(os.environ.get("EVQ_IN_MS", 0))

for n in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10):
    key, post = f"thread:{n % 3}", {"post": n, "text": "Hello"}  # events of one key stay in order
    about = {"type": "PostCreated", "unique": run and f"{run}:{n}"}
    while True:
        try:
            if in_ms:
                partition, id = queue.schedule(key, post, delay=in_ms / 1000, **about)
            else:
                partition, id = queue.trigger(key, post, **about)
            break
        except evq.Full:
            print("full: waiting", file=sys.stderr, flush=True)
            time.sleep(0.1)  # the workers are behind; nothing was written
    print(partition, id, key, flush=True)
