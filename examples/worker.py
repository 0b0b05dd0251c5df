#!/usr/bin/env python3
"""Handles the events of the default ring in order, each key by one thread at a time.

    python3 worker.py redis://localhost:6379 [group] --any 4             four threads
    python3 worker.py redis://localhost:6379 [group [partition ...]]     a thread a partition

With --any each thread takes work from whichever partition has some: start and stop as many
as you like. Without it, every partition (or those you name) has its thread; start it on two
machines, and the second one is a hot standby that has a partition within milliseconds when the
first one dies. Either way it goes along when the ring is resized, unless you name partitions.
SIGTERM finishes the event in hand, acknowledges it and gives the partitions up.
"""
import argparse
import json
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

COUNT = 10  # events a pull; what is not acknowledged of them comes again after a crash
BLOCK_MS = 2000  # how long a pull waits for an event; a graceful stop may take as long
HEARTBEAT_S = 10  # must be well below the lease, evq.lease-ms: 30 seconds
RING_S = 5  # how often to look for new partitions; their events wait as long
stopping = threading.Event()
busy = set()  # partition and epoch of each event in hand, for the heartbeat


def handle(partition, epoch, id, event):
    """Your work. Raise, and the event is retried and at last a dead letter; its key waits.

    It may see an event again, so it must bear that. `epoch` only grows: a system that is not
    Redis can refuse a worker that was taken over by it. Everything in here needs a time-out of
    its own: the heartbeat keeps the partition for as long as this runs.
    """
    fields = [event.get(name, b"-") for name in (b"type", b"key", b"payload")]
    line = b" ".join([b"%d" % partition, id, *fields, b"\n"])
    sys.stdout.buffer.write(line)
    sys.stdout.flush()


def connect(url):
    # Without WORKER the worker is the connection: its leases end when it closes, however the
    # process ended, and the next in line has the partition at once. So each thread gets a
    # connection of its own, and redis-py must not repeat a command on another one by itself.
    return redis.Redis.from_url(
        url,
        max_connections=1,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=BLOCK_MS / 1000 + 5,  # must be longer than BLOCK
    )


def work(client, group, source):
    """Pulls from one partition, or from any if the source is "*"."""
    partition = None if source == "*" else source
    done = None  # the last event that was handled and not acknowledged
    while not stopping.is_set():
        try:
            # What is done is acknowledged along with the next pull.
            ack = ["ACK", partition, done] if source == "*" else ["ACK", done]
            reply = client.execute_command(
                "EVQ.CONSUME", source, "GROUP", group, "COUNT", COUNT, "BLOCK", BLOCK_MS,
                *(ack if done else []),
            )
            done = None
            if reply is None:
                continue  # nothing to do in time, or other workers have it
            partition, epoch, events = reply
            held = set()
            for id, fields in events:
                if id in held:
                    continue  # an earlier event of its key failed; it comes again behind that
                event = dict(zip(fields[::2], fields[1::2]))
                error = attempt(partition, epoch, id, event)
                if error is None:
                    done = id
                else:
                    # After its last attempt it is a dead letter: EVQ.DEAD lists and retries.
                    held.update(client.execute_command(
                        "EVQ.NACK", partition, id, "REASON", repr(error), "GROUP", group))
                if stopping.is_set():
                    break
        except redis.RedisError as error:
            if source != "*" and str(error).startswith("EVQNOPARTITION"):
                break  # a resize has removed it, and nothing is left in it
            # EVQFENCED: another worker was given the partition, and what we did not acknowledge.
            # Anything else, a time-out above all: it is unknown what the server has done. In both
            # cases forget the ACK and start over, as a new worker on a new connection.
            print(f"partition {source}: {error}", file=sys.stderr, flush=True)
            client.connection_pool.disconnect()
            done = None
            stopping.wait(1)
    give_up(client, group, partition, done)


def attempt(partition, epoch, id, event):
    """Handles one event, with a heartbeat; what it raised, if it did."""
    busy.add((partition, epoch))
    try:
        handle(partition, epoch, id, event)
    except Exception as error:
        traceback.print_exc()
        return error
    finally:
        busy.discard((partition, epoch))


def keep_leases(client, group):
    """The heartbeat of all threads. EPOCH proves the lease from any connection."""
    while True:
        time.sleep(HEARTBEAT_S)
        for partition, epoch in list(busy):
            try:
                client.execute_command("EVQ.EXTEND", partition, "GROUP", group, "EPOCH", epoch)
            except redis.RedisError:
                pass  # the thread will learn it by its next command


def give_up(client, group, partition, done):
    """Acknowledges what is done and ends the lease; the rest is handed out again, in order."""
    try:
        if done:
            client.execute_command("EVQ.ACK", partition, done, "GROUP", group)
        if partition is not None:
            client.execute_command("EVQ.RELEASE", partition, "GROUP", group)
    except redis.RedisError:
        pass  # not ours any more; or it ends with the connection
    client.connection_pool.disconnect()


def start(url, group, source):
    thread = threading.Thread(target=work, args=(connect(url), group, source))
    thread.start()
    return thread


def work_on_all(url, group):
    """A thread for each partition, and for those that a resize adds."""
    client, threads = connect(url), {}
    while not stopping.is_set():
        try:
            ring = json.loads(client.execute_command("EVQ.RING", "JSON"))
            for partition in (each["partition"] for each in ring["partitions"]):
                if partition not in threads or not threads[partition].is_alive():
                    threads[partition] = start(url, group, partition)
        except redis.RedisError:
            if not threads:
                raise
            # The server is away; the threads say so.
        stopping.wait(RING_S)
    for thread in threads.values():
        thread.join()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("group", nargs="?", default="default")
    parser.add_argument("partitions", nargs="*", type=int)
    parser.add_argument("--any", type=int, metavar="THREADS")
    given = parser.parse_args()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopping.set())
    heartbeat = (redis.Redis.from_url(given.url), given.group)
    threading.Thread(target=keep_leases, args=heartbeat, daemon=True).start()
    sources = ["*"] * given.any if given.any else given.partitions
    threads = [start(given.url, given.group, source) for source in sources]
    for thread in threads:
        thread.join()
    if not sources:
        # Not in this thread, which runs the signal handler: it must not wait for `stopping` itself.
        with ThreadPoolExecutor() as pool:
            pool.submit(work_on_all, given.url, given.group).result()


if __name__ == "__main__":
    main()
