"""A worker of the forum over a cluster: ../cluster/worker.py, with a handler that takes its time.

    python3 cluster_handler.py redis://127.0.0.1:7001 ring group unix:///path/of/log

To handle an event is to append it to the list HANDLED of another server, which puts what all workers
append in one order.
"""
import json
import os
import sys
import threading
import time
from pathlib import Path

import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))
import worker  # noqa: E402

HANDLED = "forum:handled"
WORK_S = 0.1 / float(os.environ.get("EVQ_DEMO_SPEED") or 1)

log = redis.Redis.from_url(sys.argv.pop(4))


def handle(partition, epoch, id, event):
    started = time.time()
    time.sleep(WORK_S)
    number = json.loads(event[b"payload"])["n"]
    record = [int(partition), epoch, str(number), event[b"key"].decode(), number, started]
    shard = int(threading.current_thread().name.split(":")[-1])
    log.rpush(HANDLED, json.dumps(
        {"handled": record, "type": event[b"type"].decode(), "shard": shard}))


if __name__ == "__main__":
    worker.handle = handle
    worker.main()
