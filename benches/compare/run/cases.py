"""What is measured, the same for every peer: the peer's own programs produce and work, and say when
they are ready; what they did is in the workers' journals."""

import contextlib
import itertools
import signal
import time

import judge
from procs import Failed, Process, cpu_seconds, disk_bytes, memory_bytes, run

LIMIT = 60
# After so long without a sign of life a worker of the accidents is dead.
LEASE_MS = 3000
NUMBERS = itertools.count(1)


class Drivers:
    """The programs of one peer for one slice: a fresh queue, producers, workers."""

    def __init__(self, peer, server, **setup):
        self.peer, self.server = peer, server
        self.name = f"r{next(NUMBERS)}"
        self.folder = server.folder
        self.log = self.folder / f"{self.name}.log"
        self.started = []
        self.call("setup", **setup)

    def call(self, task, seconds=LIMIT, **values):
        run(self.words(task, values), seconds, self.log, env=self.peer.env)

    def words(self, task, values):
        values = {"name": self.name, **self.server.values, **values}
        given = [f"{name}={value}" for name, value in values.items()]
        return [*self.peer.driver, task, self.server.address, *given]

    def begin(self, task, **values):
        process = Process(self.words(task, values), self.log, env=self.peer.env, reads=True)
        self.started.append(process)
        return process

    def start(self, task, **values):
        process = self.begin(task, **values)
        process.expect("ready", LIMIT)
        return process

    def work(self, journals="a", **values):
        return self.start("work", journals=self.journals(journals), **values)

    def produce(self, **values):
        return self.start("produce", **values)

    def journals(self, which="*"):
        return self.folder / f"{self.name}.{which}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for process in self.started:
            with contextlib.suppress(Failed):
                if process.popen.poll() is None:
                    process.stop(2)
        if kind is None:
            for path in self.folder.glob(f"{self.name}.*"):
                path.unlink()


def send(producer, worker, total, events, rate=0, seconds=LIMIT):
    """Sends events and waits until all of them are handled; when the first was sent."""
    worker.tell(total + events)
    time.sleep(0.05)
    producer.tell(f"{events} {rate}")
    start, end = producer.expect("sent", seconds)
    worker.expect("handled", seconds)
    return int(start), int(end)


def finish(drivers, producer, worker, expected):
    producer.finish()
    worker.finish()
    wrong = judge.check(drivers.journals(), expected)
    if wrong:
        raise Failed("; ".join(wrong))


def warm_up(peer, producer, worker):
    """So many events that compilers have done their work; the rate."""
    start, _ = send(producer, worker, 0, peer.warm)
    return peer.warm / (time.time() - start / 1e6)


def throughput(peer, server, seconds):
    """End to end, as fast as can be."""
    with Drivers(peer, server) as drivers:
        worker, producer = drivers.work(assigned=8), drivers.produce(batching=1)
        rate = warm_up(peer, producer, worker)
        events = max(4000, int(rate * seconds) // 400 * 400)
        before = cpu_seconds(server.pid)
        start, _ = send(producer, worker, peer.warm, events)
        cpu = cpu_seconds(server.pid) - before
        finish(drivers, producer, worker, peer.warm + events)
        end = max(handled for _, handled in judge.since(drivers.journals(), start))
        return {"rate": events / (end - start) * 1e6, "cpu_us": cpu / events * 1e6}


def latency(peer, server, seconds, rates=(1000, 20000)):
    """From the producer's hand to the worker's, at fixed rates."""
    with Drivers(peer, server) as drivers:
        worker, producer = drivers.work(assigned=8), drivers.produce()
        warm_up(peer, producer, worker)
        total, starts, found = peer.warm, [], {}
        for rate in rates:
            time.sleep(0.3)
            events = int(rate * seconds)
            before = cpu_seconds(server.pid)
            start, end = send(producer, worker, total, events, rate)
            starts.append((rate, start, end, events, cpu_seconds(server.pid) - before))
            total += events
        finish(drivers, producer, worker, total)
        taken = list(judge.since(drivers.journals(), starts[0][1]))
        for rate, start, end, events, cpu in starts:
            these = [(sent, handled) for sent, handled in taken if start <= sent <= end]
            waits = sorted(handled - sent for sent, handled in these)
            took = max(handled for _, handled in these) - start
            found[str(rate)] = {
                "p50_us": judge.quantile(waits, 0.5), "p99_us": judge.quantile(waits, 0.99),
                "p999_us": judge.quantile(waits, 0.999), "cpu_us": cpu / events * 1e6,
                # A peer that cannot keep up is late more and more.
                "reached": round(events / took * 1e6),
            }
        return found


def retained(peer, server, events):
    """Memory and disk of so many events that nobody has handled."""
    before = memory_bytes(server.pid)
    with Drivers(peer, server) as drivers:
        producer = drivers.produce(batching=1)
        producer.tell(f"{events} 0")
        producer.expect("sent", 400)
        producer.finish()
        time.sleep(1.5)
        return {"events": events, "before": before, "memory": memory_bytes(server.pid),
                "disk": disk_bytes(server.data)}


def wait_for(drivers, expected, patience=10):
    """Until the journals have so many events, or no more come; events, in order."""
    last, size = time.monotonic(), 0
    while time.monotonic() < last + patience:
        before, size = size, sum(
            path.stat().st_size for path in drivers.folder.glob(f"{drivers.name}.[ab].*"))
        if size > before:
            last = time.monotonic()
        if size >= expected * judge.LINE:
            found = judge.events(drivers.journals())
            if len({(event.key, event.number) for event in found}) >= expected:
                return found
        time.sleep(0.1)
    return judge.events(drivers.journals())


def trickle(producer, rate):
    """Sends events for half a second; how many."""
    events = rate // 8 * 4
    producer.tell(f"{events} {rate}")
    producer.expect("sent", LIMIT)
    return events


def takeover(peer, server, vanish, lease_ms=LEASE_MS, rate=1000, after=6):
    """A worker process ends, or stands still with its connections open as on a lost machine, and a
    second one takes its partitions over."""
    with Drivers(peer, server, lease_ms=lease_ms) as drivers:
        values = {"lease_ms": lease_ms, "at_once": 1}
        first, producer = drivers.work("a", assigned=8, **values), drivers.produce(keys=80)
        events = trickle(producer, rate)
        second = drivers.begin("work", journals=drivers.journals("b"), **values)
        while second.is_silent():
            # The first one's partitions are its own as long as it has something to do.
            events += trickle(producer, rate)
        second.expect("ready", LIMIT)
        last = rate * (1 + after)
        events += last
        producer.tell(f"{last} {rate}")
        time.sleep(1)
        first.send_signal(signal.SIGSTOP if vanish else signal.SIGKILL)
        moment = time.time() * 1e6
        producer.expect("sent", LIMIT)
        found = wait_for(drivers, events)
        first.kill()
        second.finish()
        producer.finish()
        resumed = {}
        for event in judge.events(drivers.journals("b")):
            if event.handled > moment:
                resumed.setdefault(event.partition, event.handled)
        result = judge.disorder(found, events)
        if len(resumed) < 8:
            raise Failed(f"{8 - len(resumed)} partitions were not taken over; {result}")
        return {"ms": (max(resumed.values()) - moment) / 1000, **result}


def failing(peer, server, rate=1000, seconds=4, delay_ms=500):
    """One event fails twice and succeeds the third time: what the others wait for it."""
    with Drivers(peer, server, delay_ms=delay_ms) as drivers:
        keys = 80
        number = (peer.warm + rate) // keys
        name = f"{4:06}-{number:010}"
        worker = drivers.work("a", assigned=8, failing=name, delay_ms=delay_ms, at_once=1)
        producer = drivers.produce(keys=keys, delay_ms=delay_ms)
        warm_up(peer, producer, worker)
        events = rate * seconds
        producer.tell(f"{events} {rate}")
        producer.expect("sent", LIMIT)
        events += peer.warm
        found = wait_for(drivers, events)
        worker.finish()
        producer.finish()
        bad = next(e for e in found if int(e.key) == 4 and e.number == number)
        others = [e for e in found if e.partition == bad.partition and e.key != bad.key]
        first = bad.sent - 500_000
        usual = [e.handled - e.sent for e in others if first < e.sent < bad.sent]
        late = [e.handled - e.sent for e in others if bad.sent <= e.sent <= bad.handled]
        return {"longest_ms": max(late) / 1000, "median_ms": judge.quantile(late, 0.5) / 1000,
                "usual_ms": judge.quantile(usual, 0.5) / 1000,
                "itself_ms": (bad.handled - bad.sent) / 1000, **judge.disorder(found, events)}


def resize(peer, server, backlog=16000, more=8000, rate=4000, busy_us=1500):
    """A ninth partition, while there is a backlog: how long that takes, and which events are
    overtaken by later ones of their key."""
    with Drivers(peer, server, resizes=1) as drivers:
        producer = drivers.produce(keys=400, resizes=1)
        producer.tell(f"{backlog} 0")
        producer.expect("sent", LIMIT)
        resizer = drivers.start("resize", partitions=9)
        worker = drivers.work("a", assigned=8, busy_us=busy_us, at_once=1, any=1, resizes=1)
        moment = time.time() * 1e6
        resizer.finish()
        called = time.time() * 1e6
        if peer.told:
            worker.tell("partitions 9")
            producer.tell("partitions 9")
        producer.tell(f"{more} {rate}")
        producer.expect("sent", LIMIT)
        found = wait_for(drivers, backlog + more)
        worker.finish()
        producer.finish()
        first = min((e.handled for e in found if e.partition == 8), default=None)
        return {"call_ms": (called - moment) / 1000,
                "used_ms": (first - moment) / 1000 if first else None,
                **judge.disorder(found, backlog + more)}
