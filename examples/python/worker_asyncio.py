#!/usr/bin/env python3
"""As worker.py, with asyncio; the same settings."""
import asyncio
import logging
import os
import sys

import evq_asyncio as evq

setting = os.environ.get


async def work(event):
    """May see an event again, after a crash: it must bear that."""
    post = event.json()
    await asyncio.sleep(post.get("ms", 0) / 1000)
    if event.attempt <= post.get("fails", 0):
        raise RuntimeError("not yet")


async def tell(event):
    head = f"{event.partition} {event.epoch} {event.id} {event.attempt} {event.key} "
    sys.stdout.buffer.write(head.encode() + event.payload + b"\n")
    sys.stdout.flush()


async def main():
    queue = evq.Queue(
        setting("REDIS_URL", "redis://localhost:6379"),
        group=setting("EVQ_GROUP", "default"),
        lease_ms=int(setting("EVQ_LEASE_MS", 30000)))
    queue.on("PostCreated")(work)
    queue.on("PostCreated")(tell)  # the second handler of this type: runs after the first
    await queue.work(
        workers=int(setting("EVQ_WORKERS", 1)),
        parallel=int(setting("EVQ_PARALLEL", 1)),
        source=setting("EVQ_SOURCE", "*"))


logging.basicConfig(level=logging.WARNING)  # to standard error
asyncio.run(main())
