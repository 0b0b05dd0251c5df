"""The forum: producers post to threads, one worker a partition handles the posts, one is killed.
Then the ring gets one more partition, while posts are waiting.

    python3 play.py unix:///path/of/socket

Needs an empty server with the module, and leaves the ring with its events on it. Exit code 0 only
if every thread's events were handled in order, none is missing, the takeover took place, and threads
moved with posts in front of the resize.
EVQ_DEMO_SPEED=20 plays twenty times as fast.
"""
import json
import random
import signal
import sys
import threading
import time
from collections import Counter

import redis
from check import problems
from crew import GROUP, PATIENCE_S, Crew
from handler import SPEED
from screen import Screen
from watch import Watch

PRODUCERS = 3
THREADS = 20
POSTS = 8  # of each thread
PAUSE_S = 0.27 / SPEED
RUSH = "thread:21"  # everybody posts to it at once: its worker dies of it


class Forum(Watch):
    """What was posted and what was handled."""

    def __init__(self, url):
        self.url = url
        self.client = redis.Redis.from_url(url)
        super().__init__(self.client, PATIENCE_S)
        names = [f"thread:{n}" for n in range(1, THREADS + 1)] + [RUSH]
        self.triggered = {name: [] for name in names}
        # Several post to the same thread: what comes first here comes first there.
        self.posting = threading.Lock()

    def trigger(self, client, threads, kind, each=1, then=()):
        """Posts so many events to each thread, numbered 1, 2, 3 ..., in one command.

        Nothing comes between it and the commands in `then`, whose replies it returns.
        """
        with self.posting:
            posts = []
            for thread in threads:
                first = len(self.triggered[thread]) + 1
                posts += [(thread, json.dumps({"n": first + n})) for n in range(each)]
            if len(posts) == 1:
                replies, others = [client.execute_command("EVQ.TRIGGER", *posts[0], "TYPE", kind)], []
            else:
                words = [word for post in posts for word in post]
                with client.pipeline() as transaction:
                    transaction.execute_command("EVQ.MTRIGGER", len(posts), *words, "TYPE", kind)
                    for command in then:
                        transaction.execute_command(*command)
                    replies, *others = transaction.execute()
            for (thread, _), (partition, id) in zip(posts, replies):
                self.triggered[thread].append((partition, id.decode()))
        return others

    def places(self):
        """The partition of each thread, as of now."""
        return {name: self.client.execute_command("EVQ.ROUTE", name)[0] for name in self.triggered}

    def ring(self):
        return json.loads(self.client.execute_command("EVQ.RING", "JSON"))

    def standing(self, ring=None):
        """How many events of before the resize are not finished."""
        [group] = (ring or self.ring())["resizing"]["groups"]
        return group["unfinished"]

    def posted(self):
        return sum(map(len, self.triggered.values()))


def produce(forum, number):
    """One producer: posts to its threads in turn, until each is closed."""
    dice = random.Random(number)
    client = redis.Redis.from_url(forum.url)
    threads = [f"thread:{n}" for n in range(1, THREADS + 1) if n % PRODUCERS == number]
    for post in range(1, POSTS + 1):
        for thread in threads:
            kind = dice.choice(["PostCreated", "PostUpdated", "PostLiked"])
            kind = {1: "PostCreated", POSTS: "ThreadClosed"}.get(post, kind)
            forum.trigger(client, [thread], kind)
            time.sleep(PAUSE_S * dice.uniform(0.5, 1.5))


def play(forum, crew, screen):
    """The whole scenario; everything that is wrong afterwards, one line each."""
    client = forum.client
    places = forum.places()
    screen.ring(forum.ring(), client.execute_command("EVQ.POINTS"), places)
    pause(3)

    for partition in range(screen.partitions):
        crew.start(f"worker {partition}", [partition])
    crew.start("standby", list(range(screen.partitions)), all=True)
    screen.note(
        f"{screen.partitions} workers, one for each partition; 1 standby for all partitions; "
        f"{PRODUCERS} producers"
    )
    screen.note("each line below lists handled events: thread, #number, type")
    screen.head()
    pause(1)

    producers = [threading.Thread(target=produce, args=(forum, n)) for n in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    forum.look_until(screen, lambda: len(forum.handled) > THREADS * POSTS * 0.4)
    wrong = kill_one(forum, crew, screen, places[RUSH])
    forum.look_until(screen, lambda: len(forum.handled) > THREADS * POSTS * 0.6)
    wrong += grow(forum, screen, places)
    complete = forum.look_until(
        screen,
        lambda: not any(p.is_alive() for p in producers) and len(forum.seen) >= forum.posted(),
    )
    for producer in producers:
        producer.join()
    forum.look(screen)
    screen.note("all events are handled" if complete else "no further progress")
    wrong += [f"{name} ended with exit code {code}" for name, code in crew.stop().items()]
    screen.note("SIGTERM: the workers and the standby have ended")
    forum.look(screen)
    return wrong + problems(forum.triggered, forum.handled)


def kill_one(forum, crew, screen, victim):
    """Kills the worker of the partition `victim` in the middle of its work."""
    mark = len(forum.handled)
    forum.trigger(forum.client, [RUSH], "PostCreated", 5)
    in_hand = lambda: sum(one.thread == RUSH for one in forum.handled[mark:])  # noqa: E731
    forum.look_until(screen, lambda: in_hand() >= 2)
    before = max(one.epoch for one in forum.handled if one.partition == victim)
    pid, killed_at = crew.kill(f"worker {victim}")
    # Should it have been done with all: these nobody has in hand.
    forum.trigger(forum.client, [RUSH], "PostUpdated", 2)
    forum.look(screen)
    screen.note(f"kill -9 {pid}: the worker of partition {victim} is dead, with unacknowledged posts")
    after = lambda: [  # noqa: E731
        one for one in forum.handled if one.partition == victim and one.epoch > before
    ]
    if not forum.look_until(screen, after):
        return [f"no worker took partition {victim} over"]
    taken_ms = (after()[0].started - killed_at) * 1000
    screen.note(
        f"the standby took partition {victim} over {taken_ms:.0f} ms later "
        "and started with the unacknowledged posts"
    )
    screen.head()
    forum.trigger(forum.client, [RUSH], "ThreadClosed")
    return []


def grow(forum, screen, places):
    """Adds a partition while posts are waiting in the others."""
    client, threads = forum.client, list(places)[:THREADS]
    partition = screen.partitions
    resize = [("EVQ.RESIZE", "default", partition + 1), ("EVQ.RING", "JSON")]
    generation, ring = forum.trigger(client, threads, "PostLiked", 2, then=resize)
    standing, resized_at = forum.standing(json.loads(ring)), time.time()
    forum.look(screen)
    screen.note(f"{2 * len(threads)} posts at once; one more partition is added while they wait:")
    moved = {name for name, place in forum.places().items() if place != places[name]}
    numbers = " ".join(name.split(":")[1] for name in sorted(moved, key=list(places).index))
    screen.partitions = partition + 1
    screen.note(f"EVQ.RESIZE default {partition + 1}: the ring is in generation {generation}")
    screen.note(f"threads {numbers} move to partition {partition}; the others stay")
    screen.note(f"{standing} earlier posts are unfinished; the moved threads wait for them")
    screen.head()
    forum.trigger(client, sorted(moved), "PostUpdated")
    if not moved or not standing:
        return ["no posts were unfinished at the resize"]
    if not forum.look_until(screen, lambda: not forum.standing()):
        return [f"{forum.standing()} posts from before the resize are still unfinished"]
    drained_ms = (time.time() - resized_at) * 1000
    if not forum.look_until(screen, lambda: any(e.partition == partition for e in forum.handled)):
        return [f"no worker found partition {partition}"]
    screen.note(
        f"the earlier posts were finished {drained_ms:.0f} ms after the resize; "
        f"the standby found partition {partition} by itself"
    )
    screen.head()
    return []


def report(forum, screen, wrong):
    """The counts, and the verdict."""
    triggered = Counter(p for events in forum.triggered.values() for p, _ in events)
    handled = Counter(partition for partition, *_ in {(e.partition, e.id) for e in forum.handled})
    again = Counter(e.partition for e in forum.handled)
    again.subtract(handled)
    screen.say()
    screen.say("Each thread, below its partition:")
    screen.head()
    for thread, events in forum.triggered.items():
        broken = any(problem.startswith(f"{thread} ") for problem in wrong)
        screen.cell(events[-1][0], thread, f"{len(events)} {'WRONG' if broken else 'in order'}")
    screen.say()
    screen.table(
        [("partition", "triggered", "handled", "duplicates")]
        + [(p, triggered[p], handled[p], again[p]) for p in range(screen.partitions)]
        + [("all", *(sum(each.values()) for each in (triggered, handled, again)))]
    )
    screen.say()
    for problem in wrong:
        screen.say(f"WRONG: {problem}")
    if wrong:
        screen.say(f"{len(wrong)} problems: the guarantee is broken.")
        return
    screen.say(
        f"Order held in all {len(forum.triggered)} threads and nothing is missing. "
        f"{sum(again.values())} events were handled"
    )
    screen.say("again after the kill: delivery is at least once, and always in order.")
    moved = [events for events in forum.triggered.values() if len({p for p, _ in events}) > 1]
    screen.say(f"{len(moved)} threads moved to another partition on the way, also in order.")


def pause(seconds):
    time.sleep(seconds / SPEED)


def main():
    # So that the crew goes home on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    forum = Forum(sys.argv[1])
    screen = Screen(len(forum.ring()["partitions"]))
    with Crew(forum.client, forum.url) as crew:
        wrong = play(forum, crew, screen)
    report(forum, screen, wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
