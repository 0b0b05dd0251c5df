#!/usr/bin/env python3
"""Handles the events of the default ring in order: one thread and one connection a partition.

    python3 worker.py redis://localhost:6379 [group [partition ...]]

Start it on two machines: for each partition the second one waits behind the first as a hot
standby, and has it within milliseconds when the first one dies. Name partitions to share the work.
SIGTERM finishes the event in hand, acknowledges it and gives the partitions up.
"""
import json
import signal
import sys
import threading
import traceback

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

COUNT = 10  # events a pull; what is not acknowledged of them comes again after a crash
BLOCK_MS = 2000  # how long a pull waits for an event; a graceful stop may take as long
stopping = threading.Event()


def handle(partition, epoch, id, event):
    """Your work. It may see an event again, so it must bear that; never out of order.

    `epoch` only grows: a system that is not Redis can refuse a worker that was taken over by it.
    """
    fields = [event.get(name, b"-") for name in (b"type", b"key", b"payload")]
    line = b" ".join([b"%d" % int(partition), id, *fields, b"\n"])
    sys.stdout.buffer.write(line)
    sys.stdout.flush()


def connect(url):
    # Without WORKER the worker is the connection: its leases end when it closes, however the
    # process ended, and the next in line has the partition at once. So each partition gets a
    # connection of its own, and redis-py must not repeat a command on another one by itself.
    #
    # With "WORKER", name (in every command) the worker is the name: a process that comes back
    # under it has its partition again at once, but nobody else gets it before the lease ends.
    return redis.Redis.from_url(
        url,
        max_connections=1,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=BLOCK_MS / 1000 + 5,  # must be longer than BLOCK
    )


def work(client, group, partition):
    done = None  # the last event that was handled and not acknowledged
    while not stopping.is_set():
        try:
            # What is done is acknowledged along with the next pull.
            ack = ["ACK", done] if done else []
            reply = client.execute_command(
                "EVQ.CONSUME", partition, "GROUP", group, "COUNT", COUNT, "BLOCK", BLOCK_MS, *ack
            )
            done = None
            if reply is None:
                continue  # no event in time, or another worker has the partition
            _, epoch, events = reply
            for id, fields in events:
                handle(partition, epoch, id, dict(zip(fields[::2], fields[1::2])))
                done = id
                # Where COUNT events may take longer than a lease (30 s), acknowledge each at
                # once, as give_up does below: that renews the lease too.
                if stopping.is_set():
                    break
        except redis.RedisError as error:
            # EVQFENCED: another worker was given the partition, and what we did not acknowledge.
            # Anything else, a time-out above all: nobody knows what the server has done. In both
            # cases forget the ACK and start over, as a new worker on a new connection.
            print(f"partition {partition}: {error}", file=sys.stderr, flush=True)
            client.connection_pool.disconnect()
            done = None
            stopping.wait(1)
        except Exception:
            # handle() failed: this event must come again before any later one of its partition.
            traceback.print_exc()
            give_up(client, group, partition, done)
            done = None
            stopping.wait(1)
    give_up(client, group, partition, done)


def give_up(client, group, partition, done):
    """Acknowledges what is done and ends the lease; the rest is handed out again, in order."""
    try:
        if done:
            client.execute_command("EVQ.ACK", partition, done, "GROUP", group)
        client.execute_command("EVQ.RELEASE", partition, "GROUP", group)
    except redis.RedisError:
        client.connection_pool.disconnect()  # not ours any more, or it ends with the connection


def main():
    url = sys.argv[1]
    group = sys.argv[2] if len(sys.argv) > 2 else "default"
    ring = json.loads(redis.Redis.from_url(url).execute_command("EVQ.RING", "JSON"))
    partitions = sys.argv[3:] or [each["partition"] for each in ring["partitions"]]
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopping.set())
    threads = [
        threading.Thread(target=work, args=(connect(url), group, partition))
        for partition in partitions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
