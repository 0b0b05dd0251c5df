#!/usr/bin/env python3
"""Handles the posts of a forum until SIGTERM or SIGINT.

REDIS_URL     where the server is, redis://localhost:6379
EVQ_GROUP     the group to work for, default
EVQ_WORKERS   workers in this process, 1
EVQ_PARALLEL  keys of a pull that a worker handles side by side, 1
EVQ_LEASE_MS  how long a worker may be silent, 30000
EVQ_SOURCE    a partition, instead of any

A post like {"ms": 500, "fails": 1} takes half a second and fails once.
"""
import logging
import os
import sys
import time

import evq

logging.basicConfig(level=logging.WARNING)  # to standard error
setting = os.environ.get
queue = evq.Queue(
    setting("REDIS_URL", "redis://localhost:6379"),
    group=setting("EVQ_GROUP", "default"),
    lease_ms=int(setting("EVQ_LEASE_MS", 30000)))


@queue.on("PostCreated")
def work(event):
    """May see an event again, after a crash: it must bear that."""
    post = event.json()
    until = time.monotonic() + post.get("ms", 0) / 1000
    while time.monotonic() < until:
        time.sleep(0.02)
        if event.lease.lost:
            raise RuntimeError("another worker has it by now")
    if event.attempt <= post.get("fails", 0):
        raise RuntimeError("not yet")


@queue.on("PostCreated")  # the second handler of this type: runs after the first
def tell(event):
    lease = event.lease
    head = f"{lease.partition} {lease.epoch} {event.id} {event.attempt} {event.key} "
    sys.stdout.buffer.write(head.encode() + event.payload + b"\n")
    sys.stdout.flush()


queue.work(
    workers=int(setting("EVQ_WORKERS", 1)),
    parallel=int(setting("EVQ_PARALLEL", 1)),
    source=setting("EVQ_SOURCE", "*"))
