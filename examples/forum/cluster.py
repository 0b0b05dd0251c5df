"""The forum over a cluster: producers post through any node and straight to the shards, workers serve
all shards; slots move to another master meanwhile, and a master is killed.

    python3 cluster.py unix:///path/of/log redis-cli port:pid port:pid ...

Needs the six empty nodes of a cluster (127.0.0.1, their ports and process ids), and a server of its
own for what was handled. Exit code 0 only if every thread's events were handled in order, none is
missing, and both the move and the failover took place.
EVQ_DEMO_SPEED=20 plays twenty times as fast.
"""
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import redis
from check import problems
from handler import SPEED
from redis.cluster import ClusterNode, RedisCluster
from screen import Screen
from watch import Watch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))
from producer import Producer  # noqa: E402

RING, GROUP, PARTITIONS = "forum", "forum", 12
PRODUCERS, WORKERS = 3, 2
THREADS, POSTS = 20, 8
PAUSE_S = 0.27 / SPEED
PATIENCE_S = 120
HANDLER = Path(__file__).with_name("cluster_handler.py")


class Nodes:
    """The cluster as any of its nodes sees it."""

    def __init__(self, cli, ports):
        self.cli, self.pids = cli, {port: int(pid) for port, pid in ports}
        self.killed = set()

    def url(self, port):
        return f"redis://127.0.0.1:{port}"

    def up(self):
        return [port for port in self.pids if port not in self.killed]

    def ask(self, *words):
        return redis.Redis(port=self.up()[0]).execute_command(*words)

    def masters(self):
        """The port and id of each master, with its slots in their order."""
        slots = {}
        for first, last, (_, port, id, *_), *_ in self.ask("CLUSTER", "SLOTS"):
            slots.setdefault((port, id.decode()), []).extend(range(first, last + 1))
        return {master: sorted(numbers) for master, numbers in slots.items()}

    def partitions(self):
        """The partitions of each master, by its port."""
        by_slot = {self.ask("CLUSTER", "KEYSLOT", stream(p)): p for p in range(PARTITIONS)}
        return {port: {slot: by_slot[slot] for slot in slots if slot in by_slot}
                for (port, _), slots in self.masters().items()}

    def move(self, source, target, count):
        """Moves so many slots, as an operator does."""
        ids = {port: id for port, id in self.masters()}
        done = subprocess.run(
            [self.cli, "--cluster", "reshard", f"127.0.0.1:{source}", "--cluster-yes",
             "--cluster-from", ids[source], "--cluster-to", ids[target],
             "--cluster-slots", str(count)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "" if done.returncode == 0 else done.stdout.decode()[-500:]

    def kill(self, port):
        """kill -9 of a master."""
        os.kill(self.pids[port], signal.SIGKILL)
        self.killed.add(port)
        return time.time()


class Forum(Watch):
    """What was posted and what was handled."""

    def __init__(self, log, nodes):
        super().__init__(redis.Redis.from_url(log), PATIENCE_S)
        self.nodes = nodes
        self.posted = {f"thread:{n}": [] for n in range(1, THREADS + 1)}

    def count(self):
        return sum(map(len, self.posted.values()))

    def column(self, screen, record):
        return screen.column(record["shard"])


class Shards(Screen):
    """A column for each master that has handed out events."""

    def __init__(self, ports):
        super().__init__(len(ports))
        self.ports = list(ports)

    def column(self, port):
        if port not in self.ports:
            self.ports.append(port)
            self.partitions = len(self.ports)
            self.head()
        return self.ports.index(port)

    def head(self):
        self.say(self.paint("".join(f"node {port}".ljust(19) for port in self.ports).rstrip(), 1))


def stream(partition):
    return f"evq:{{{RING}:{partition}}}"


def produce(forum, number):
    """One producer: posts to its threads in turn, each post until a replica has it."""
    dice = random.Random(number)
    producer = None
    threads = [f"thread:{n}" for n in range(1, THREADS + 1) if n % PRODUCERS == number]
    for post in range(1, POSTS + 1):
        for thread in threads:
            kind = dice.choice(["PostCreated", "PostUpdated", "PostLiked"])
            kind = {1: "PostCreated", POSTS: "ThreadClosed"}.get(post, kind)
            words = thread, json.dumps({"n": post}), "TYPE", kind
            token = f"{thread}#{post}"
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    producer = producer or Producer(forum.nodes.url(forum.nodes.up()[0]), RING)
                    # One producer finds the partition, the others leave that to EVQ: the client
                    # sends the command where the thread's name hashes to, which passes it on.
                    if number == 0:
                        partition, id = producer.append(*words, token=token)
                    else:
                        partition, id = producer.client.execute_command(
                            "EVQ.TRIGGER", *words, "RING", RING, "UNIQUE", token)
                    if is_safe(producer.client, partition, id):
                        break
                except (redis.RedisError, redis.exceptions.RedisClusterException):
                    # Whatever became of it: with its token it is appended once. The client may go on
                    # asking a dead node; a new one asks one that is up.
                    producer = None
                if time.monotonic() > deadline:
                    return
                time.sleep(0.05)
            forum.posted[thread].append((partition, str(post)))
            time.sleep(PAUSE_S * dice.uniform(0.5, 1.5))


def is_safe(client, partition, id):
    """Whether a replica has the event: the master has it, and a replica a later write. A replica that
    took its master's place has none of its own."""
    owner = client.get_redis_connection(client.get_node_from_key(stream(partition)))
    with owner.pipeline(transaction=False) as together:
        together.set(f"{stream(partition)}:mark", id)
        together.execute_command("WAIT", 1, 1000)
        together.xrange(stream(partition), id, id)
        together.info("replication")
        _, confirmed, found, about = together.execute()
    return confirmed >= min(1, about["connected_slaves"]) and bool(found)


def play(forum, screen, workers):
    """The whole scenario; everything that is wrong afterwards, one line each."""
    nodes, wrong = forum.nodes, []
    for port, partitions in nodes.partitions().items():
        numbers = " ".join(map(str, sorted(partitions.values())))
        screen.say(f"  master {port}: partitions {numbers}")
    screen.note(f"{WORKERS} workers, each for all shards; {PRODUCERS} producers")
    screen.note("each line below lists handled events, by the node that handed them out")
    screen.head()
    producers = [threading.Thread(target=produce, args=(forum, n)) for n in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    forum.look_until(screen, lambda: len(forum.handled) > THREADS * POSTS * 0.3)
    wrong += move_slots(forum, screen)
    forum.look_until(screen, lambda: len(forum.handled) > THREADS * POSTS * 0.6)
    wrong += kill_master(forum, screen)
    complete = forum.look_until(screen, lambda: (
        not any(each.is_alive() for each in producers) and len(forum.seen) >= THREADS * POSTS))
    for producer in producers:
        producer.join()
    forum.look(screen)
    screen.note("all events are handled" if complete else "no further progress")
    for worker in workers:
        worker.terminate()
    codes = [worker.wait(PATIENCE_S) for worker in workers]
    wrong += [f"a worker ended with exit code {code}" for code in codes if code]
    forum.look(screen)
    if forum.count() < THREADS * POSTS:
        wrong.append(f"only {forum.count()} of {THREADS * POSTS} posts could be made")
    return wrong + problems(forum.posted, forum.handled)


def move_slots(forum, screen):
    """Moves a range of slots with a partition to the master that has fewest of them."""
    by_port = forum.nodes.partitions()
    slots = {port: slots for (port, _), slots in forum.nodes.masters().items()}
    first = {port: slots[port].index(min(by_port[port])) + 1 for port in slots if by_port[port]}
    source = min(first, key=first.get)
    target = min((port for port in slots if port != source),
                 key=lambda port: len(by_port.get(port, ())))
    count = first[source]
    before = time.time()
    trouble = forum.nodes.move(source, target, count)
    forum.look(screen)
    if trouble:
        return [f"the slots did not move: {trouble}"]
    moved = sorted(set(forum.nodes.partitions()[target].values()) - set(by_port.get(target, {}).values()))
    screen.note(f"{count} slots have moved from node {source} to node {target}, in "
                f"{time.time() - before:.1f} s, with partition {' and '.join(map(str, moved))}")
    screen.head()
    return [] if moved else ["no partition has moved"]


def kill_master(forum, screen):
    """Kills the master with the most partitions, and waits until its replica has them."""
    by_port = forum.nodes.partitions()
    victim = max(by_port, key=lambda port: len(by_port[port]))
    killed_at = forum.nodes.kill(victim)
    forum.look(screen)
    screen.note(f"kill -9 {forum.nodes.pids[victim]}: the master {victim} is dead")
    gone = set(by_port[victim].values())

    def heir():
        now = forum.nodes.partitions()
        return next((p for p in now if p != victim and gone <= set(now[p].values())), None)

    if not forum.look_until(screen, heir):
        return ["no replica took the place of the dead master"]
    screen.note(f"node {heir()}, its replica, is the master of {len(gone)} partitions "
                f"{time.time() - killed_at:.1f} s later")
    screen.head()
    return []


def report(forum, screen, wrong):
    screen.say()
    for problem in wrong:
        screen.say(f"WRONG: {problem}")
    if wrong:
        screen.say(f"{len(wrong)} problems: the guarantee is broken.")
        return
    screen.say(f"Order held in all {len(forum.posted)} threads and nothing is missing: "
               f"{forum.count()} posts over three shards.")
    again = len(forum.handled) - len(forum.seen)
    screen.say(f"{again} events were handled again after the move and the failover: delivery is "
               "at least once,")
    screen.say("and always in order.")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # redis-py writes a traceback for each connection to a dead node.
    logging.disable()
    log, cli, *ports = sys.argv[1:]
    nodes = Nodes(cli, [tuple(map(int, each.split(":"))) for each in ports])
    first = nodes.up()[0]
    cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", first)])
    cluster.execute_command("EVQ.CREATE", RING, PARTITIONS)
    cluster.execute_command("EVQ.GROUP", GROUP, "RING", RING, "FROM", "first")
    forum = Forum(log, nodes)
    screen = Shards([port for port, _ in nodes.masters()])
    command = [sys.executable, "-B", HANDLER, nodes.url(first), RING, GROUP, log]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for _ in range(WORKERS)]
    try:
        wrong = play(forum, screen, workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    report(forum, screen, wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
