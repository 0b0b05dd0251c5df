#!/usr/bin/env python3
"""As producer.py, with asyncio; the same settings."""
import asyncio
import os
import sys

import evq_asyncio as evq


async def main():
    queue = evq.Queue(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    run, in_ms = os.environ.get("EVQ_RUN"), int(os.environ.get("EVQ_IN_MS", 0))
    for n in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10):
        key, post = f"thread:{n % 3}", {"post": n, "text": "Hello"}
        about = {"type": "PostCreated", "unique": run and f"{run}:{n}"}
        while True:
            try:
                if in_ms:
                    partition, id = await queue.schedule(key, post, delay=in_ms / 1000, **about)
                else:
                    partition, id = await queue.trigger(key, post, **about)
                break
            except evq.Full:
                print("full: waiting", file=sys.stderr, flush=True)
                await asyncio.sleep(0.1)  # the workers are behind; nothing was written
        print(partition, id, key, flush=True)


asyncio.run(main())
