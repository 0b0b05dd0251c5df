#!/usr/bin/env python3
"""Relays a database's outbox: python3 relay.py redis://localhost:6379 outbox.db

Each row becomes one event, however often the relay dies and whichever replies get lost. The rows:
CREATE TABLE outbox (id INTEGER PRIMARY KEY, key TEXT, type TEXT, trace TEXT, payload TEXT)
"""
import sqlite3
import sys
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

BATCH = 100


def relay(db, client):
    """Sends the oldest rows and deletes them; how many. Order is kept: one relay at a time."""
    rows = db.execute(
        "SELECT id, key, type, trace, payload FROM outbox ORDER BY id LIMIT ?", (BATCH,)).fetchall()
    if not rows:
        return 0
    count = len(rows)
    ids, keys, types, traces, payloads = zip(*rows)
    events = [word for pair in zip(keys, payloads) for word in pair]
    client.execute_command(
        "EVQ.MTRIGGER", count, *events,
        "TYPES", count, *types,
        "HEADERS", "trace", count, *(trace or "" for trace in traces),
        "UNIQUES", count, *(f"outbox:{id}" for id in ids))
    # If the relay dies here, the rows are sent again, and appended once.
    db.execute("DELETE FROM outbox WHERE id <= ?", (ids[-1],))
    db.commit()
    return count


def main():
    errors = [redis.ConnectionError, redis.TimeoutError]
    client = redis.Redis.from_url(
        sys.argv[1], socket_timeout=5, retry_on_error=errors,
        retry=Retry(ExponentialBackoff(cap=1, base=0.01), 10))
    db = sqlite3.connect(sys.argv[2])
    while True:
        if not relay(db, client):
            time.sleep(0.1)


if __name__ == "__main__":
    main()
