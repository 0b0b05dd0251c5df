"""A worker of the forum: the loop of ../worker.py, with a handler that takes its time.

    python3 handler.py unix:///path/of/socket group [partition ...]

To handle an event is to append it to the list HANDLED. The server puts what all workers append in
one order, and a killed worker cannot take back what it has done, so the list can be judged.
"""
import json
import os
import sys
import time
from pathlib import Path

import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import worker  # noqa: E402

HANDLED = "forum:handled"
SPEED = float(os.environ.get("EVQ_DEMO_SPEED") or 1)
WORK_S = 0.1 / SPEED

log = redis.Redis.from_url(sys.argv[1]) if len(sys.argv) > 1 else None


def handle(partition, epoch, id, event):
    started = time.time()
    time.sleep(WORK_S)
    number = json.loads(event[b"payload"])["n"]
    record = [int(partition), epoch, id.decode(), event[b"key"].decode(), number, started]
    log.rpush(HANDLED, json.dumps({"handled": record, "type": event[b"type"].decode()}))


if __name__ == "__main__":
    worker.handle = handle
    worker.RING_S = 0.5 / SPEED
    worker.main()
