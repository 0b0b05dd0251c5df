"""EVQ for Python's asyncio on redis-py 4.3 or later: copy this file into your project.

    queue = Queue("redis://localhost:6379", group="mailer")

    @queue.on("PostCreated")
    async def announce(event):
        await send_mail(event.key, event.json())  # raise, and it is retried; its key waits

    await queue.work(workers=4)  # until SIGTERM, SIGINT or queue.stop()
"""
import asyncio
import json
import logging
import signal
from collections import defaultdict
from contextlib import suppress
from itertools import takewhile

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

log = logging.getLogger("evq")


class EvqError(exceptions.ResponseError):
    """An error of EVQ's. Its first word, `code`, is what programs may rely on."""
    code = property(lambda self: str(self).split(" ", 1)[0])


class Fenced(EvqError):
    """The lease is lost: another worker has the partition, and what was not acknowledged."""


class Full(EvqError):
    """The ring's MAXDEPTH is reached and nothing was written: wait, then try again."""


class NoPartition(EvqError):
    """The ring has no such partition, or has it no more."""


KINDS = {"EVQFENCED": Fenced, "EVQFULL": Full, "EVQNOPARTITION": NoPartition}
# What waiting does not mend ends work(); anything else is tried again on a new connection.
HOPELESS = ("EVQNORING", "EVQNAME", "EVQNOGROUP", "WRONGTYPE")
REFUSED = (exceptions.AuthenticationError, exceptions.NoPermissionError)


async def call(client, *words):
    """One command, with typed errors."""
    try:
        return await client.execute_command(*words)
    except exceptions.ResponseError as error:
        code = str(error).split(" ", 1)[0]
        if not code.startswith("EVQ"):
            raise
        raise KINDS.get(code, EvqError)(str(error)) from None


class Event:
    """`payload` is bytes, the rest text; what is not UTF-8 is kept exact by surrogateescape."""
    def __init__(self, partition, epoch, id, fields):
        texts = [word.decode(errors="surrogateescape") for word in fields]
        values = dict(zip(texts[::2], texts[1::2]))
        self.partition, self.epoch, self.id = partition, epoch, id.decode()
        self.attempt = int(values.get("attempt", 1))
        self.key, self.type = values.get("key", ""), values.get("type")
        self.payload = dict(zip(fields[::2], fields[1::2])).get(b"payload", b"")
        self.headers = {name[2:]: text for name, text in values.items() if name[:2] == "h:"}

    def json(self):
        return json.loads(self.payload)


class Queue:
    """One ring and one group, in one event loop."""
    def __init__(self, url, ring="default", group="default", *, count=10, block_ms=2000,
                 lease_ms=30000):
        self.url, self.ring, self.names = url, ring, ("RING", ring, "GROUP", group)
        self.count, self.block_ms, self.lease_ms = count, block_ms, lease_ms
        self.client, self.repeating = self.connect(5), self.connect(5, retries=8)
        self.handlers, self.stopping = defaultdict(list), asyncio.Event()
        self.in_hand = {}  # the task that handles, by partition and epoch: the heartbeat's
        self.waiting = set()  # connections in EVQ.CONSUME, by their ids

    def connect(self, timeout, retries=0, single=False):
        # By default redis-py sends a command again by itself when a reply is lost: an event would
        # be appended twice. Right for what is UNIQUE, wrong for everything else.
        pool = redis.ConnectionPool.from_url(
            self.url, socket_timeout=timeout,
            retry=Retry(ExponentialBackoff(cap=2, base=0.05), retries),
            retry_on_error=[exceptions.ConnectionError, exceptions.TimeoutError] if retries else [])
        return redis.Redis(connection_pool=pool, single_connection_client=single)

    async def trigger(self, key, payload, type=None, headers=None, unique=None, due=()):
        """Appends an event; its (partition, id). With a token in `unique` it is sent again when a
        reply is lost, and appended once; without one that is an error, and for you to decide."""
        body = payload if isinstance(payload, (bytes, str)) else json.dumps(payload)
        words = ["EVQ.SCHEDULE" if due else "EVQ.TRIGGER", key, body, *due, "RING", self.ring]
        words += ["TYPE", type] if type else []
        for name, value in (headers or {}).items():
            words += ["HEADER", name, value]
        words += ["UNIQUE", unique] if unique else []
        partition, id = await call(self.repeating if unique else self.client, *words)
        return partition, id.decode() if isinstance(id, bytes) else id

    async def schedule(self, key, payload, at=None, delay=None, **about):
        """As trigger(), at the unix time `at` or in `delay` seconds; its (partition, ticket)."""
        due = ("IN", round(delay * 1000)) if at is None else ("AT", round(at * 1000))
        return await self.trigger(key, payload, due=due, **about)

    async def stats(self):
        """How the group stands over all partitions: lag, retrying, dead-letters and more."""
        groups = json.loads(await call(self.client, "EVQ.GROUPS", "RING", self.ring, "JSON"))
        return next((each for each in groups if each["group"] == self.names[3]), {})

    def on(self, *types):
        """Registers a handler for events of these types, or for all that have no other. Several
        of one type run one after the other; if one raises, all of them get the event again."""
        if types and callable(types[0]):  # @queue.on without parentheses
            return self.on()(*types)
        def register(handler):
            for type in types or (None,):
                self.handlers[type].append(handler)
            return handler
        return register

    async def work(self, handler=None, workers=1, parallel=1, source="*"):
        """Handles events until stop(), SIGTERM or SIGINT; what is in hand is finished first. Each
        worker pulls from any partition, or from `source`, and handles what it got in order, or
        `parallel` keys of it at a time. Events without a handler are finished."""
        if handler:
            self.on()(handler)
        with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        crew = [asyncio.ensure_future(Worker(self, source, parallel).run()) for _ in range(workers)]
        beating, calling = (asyncio.ensure_future(each) for each in (self.beat(), self.call_in()))
        try:
            await asyncio.gather(*crew)  # raises what ended one
        finally:
            self.stop()
            await asyncio.wait(crew)
            beating.cancel()
            await asyncio.wait([calling, beating])

    def stop(self):
        """Ends work(): calls the workers that wait; the others finish what they have in hand."""
        self.stopping.set()

    async def call_in(self):
        await self.stopping.wait()
        while self.waiting:
            for id in list(self.waiting):
                with suppress(exceptions.RedisError):  # not permitted: then it ends after BLOCK
                    await self.client.execute_command("CLIENT", "UNBLOCK", id)
            await asyncio.sleep(0.02)

    async def beat(self):
        while True:
            await asyncio.sleep(self.lease_ms / 3000)
            for (partition, epoch), task in list(self.in_hand.items()):
                try:  # EPOCH proves the lease from any connection; the worker's own may be busy
                    await call(self.client, "EVQ.EXTEND", partition, *self.names, "EPOCH", epoch,
                               "LEASE", self.lease_ms)
                except Fenced:
                    # Another worker may be at the same events by now: the handlers are cancelled.
                    self.in_hand.pop((partition, epoch), None)
                    task.cancel()
                except exceptions.RedisError as error:
                    log.warning("no heartbeat: %s", error)


class Worker:
    """One connection. Without WORKER it is the worker: its lease ends when it closes, however the
    process ended, and the next in line takes over. So it must not be shared or pooled."""
    def __init__(self, queue, source, parallel):
        self.queue, self.source, self.id, self.pause = queue, source, None, 0.1
        self.parallel, self.places = parallel > 1, asyncio.Semaphore(parallel)

    async def run(self):
        stopping = self.queue.stopping
        while not stopping.is_set():
            # The read time-out must be longer than BLOCK, or every idle pull would break off.
            client = self.queue.connect(self.queue.block_ms / 1000 + 5, single=True)
            try:
                async with client:
                    await self.pull(client)
            except exceptions.RedisError as error:
                if isinstance(error, NoPartition):
                    return  # a resize has removed it, and nothing is left in it
                if isinstance(error, REFUSED) or str(error).startswith(HOPELESS):
                    raise
                # Nobody knows what the server has done: forget the ACK and what is in hand. As a
                # new worker it gets again what was not acknowledged.
                log.warning("%s; starting over", error)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self.pause)
                self.pause = min(self.pause * 2, 5)
            finally:
                self.queue.waiting.discard(self.id)
                await client.connection_pool.disconnect()

    async def pull(self, client):
        queue, names, partition, ack = self.queue, self.queue.names, None, ()
        self.id = await client.client_id()
        while True:
            queue.waiting.add(self.id)
            if queue.stopping.is_set():
                break  # else stop() comes later, and finds the id
            reply = await call(
                client, "EVQ.CONSUME", self.source, *names, "COUNT", queue.count,
                "BLOCK", queue.block_ms, "LEASE", queue.lease_ms, *ack)
            queue.waiting.discard(self.id)
            self.pause, ack = 0.1, ()
            if reply:  # else there was nothing to do in time, or other workers have it
                partition, epoch, events = reply
                done = await self.handle(partition, epoch, events)
                if done:  # acknowledged along with the next pull
                    ack = ("ACK", partition, done) if self.source == "*" else ("ACK", done)
        if ack:
            await call(client, "EVQ.ACK", partition, ack[-1], *names)
        if partition is not None:
            with suppress(Fenced):  # it has been given to another worker already
                await call(client, "EVQ.RELEASE", partition, *names)

    async def handle(self, partition, epoch, events):
        events = [Event(partition, epoch, id, fields) for id, fields in events]
        outcome = {}  # True: handled; False: failed, or held behind an event that failed
        in_hand = self.queue.in_hand
        lines = defaultdict(list)
        for event in events:
            lines[event.key if self.parallel else None].append(event)
        task = asyncio.gather(
            *(self.in_order(line, outcome) for line in lines.values()), return_exceptions=True)
        in_hand[partition, epoch] = task
        try:
            for error in filter(None, await task):
                raise error  # a failure that could not be reported
        except asyncio.CancelledError:
            if (partition, epoch) in in_hand:
                raise  # work() was cancelled
            raise Fenced("EVQFENCED the lease was lost while an event was handled") from None
        finally:
            in_hand.pop((partition, epoch), None)
        # The last one that was handled, and before which nothing is open.
        finished = list(takewhile(lambda event: event.id in outcome, events))
        return next((event.id for event in reversed(finished) if outcome[event.id]), None)

    async def in_order(self, events, outcome):
        for event in events:
            if event.id in outcome:
                continue  # held: it comes again, after the event that failed
            if self.queue.stopping.is_set() and not self.parallel:
                return
            try:
                handlers = self.queue.handlers
                async with self.places:
                    for handler in handlers.get(event.type) or handlers.get(None, ()):
                        await handler(event)
                outcome[event.id] = True
            except Exception as error:
                log.exception("event %s of %s, attempt %d", event.id, event.key, event.attempt)
                outcome[event.id] = False
                # After the last attempt it is a dead letter: see EVQ.DEAD.
                held = await call(self.queue.client, "EVQ.NACK", event.partition, event.id,
                                  *self.queue.names, "EPOCH", event.epoch, "REASON", repr(error))
                outcome.update(dict.fromkeys((id.decode() for id in held), False))
