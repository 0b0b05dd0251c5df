"""Judges a finished run: was every thread handled in the order in which it was triggered?

At least once is the promise, so an event may be handled again, but only after its partition went to
another worker, which starts again from the last acknowledged event. What is never right: an event
handled before an earlier one of its thread, one that is missing, one that nobody triggered.

    >>> triggered = {"thread:1": [(0, "1-0"), (0, "2-0"), (0, "3-0")]}
    >>> def run(*handled):
    ...     for problem in problems(triggered, [Handled(*one) for one in handled]):
    ...         print(problem)

In order; and with a takeover after the second event, which had not been acknowledged:

    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2), (0, 7, "3-0", "thread:1", 3))
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2),
    ...     (0, 8, "2-0", "thread:1", 2), (0, 8, "3-0", "thread:1", 3))

And with a resize after the second event, by which the thread moved to partition 1:

    >>> moved = {"thread:1": [(0, "1-0"), (0, "2-0"), (1, "3-0")]}
    >>> def run_moved(*handled):
    ...     for problem in problems(moved, [Handled(*one) for one in handled]):
    ...         print(problem)
    >>> run_moved((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2),
    ...     (1, 9, "3-0", "thread:1", 3))

Everything else is a problem:

    >>> run_moved((0, 7, "1-0", "thread:1", 1), (1, 9, "3-0", "thread:1", 3),
    ...     (0, 7, "2-0", "thread:1", 2))
    thread:1 #3 (3-0) was handled before #2

    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "3-0", "thread:1", 3))
    thread:1 #3 (3-0) was handled before #2
    thread:1 #2 (2-0) was never handled
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2))
    thread:1 #3 (3-0) was never handled
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2),
    ...     (0, 7, "1-0", "thread:1", 1), (0, 7, "3-0", "thread:1", 3))
    thread:1 #1 (1-0) was handed out twice under epoch 7
    thread:1 #3 (3-0) was handed out without #2 under epoch 7
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 8, "1-0", "thread:1", 1),
    ...     (0, 7, "2-0", "thread:1", 2), (0, 8, "3-0", "thread:1", 3))
    thread:1 #2 (2-0) was handled under epoch 7 after epoch 8
    >>> run((1, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2), (0, 7, "3-0", "thread:1", 3))
    thread:1 #1 (1-0) came from partition 1, not 0
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 3), (0, 7, "3-0", "thread:1", 3))
    thread:1 #2 (2-0) carries the payload of #3
    >>> run((0, 7, "1-0", "thread:1", 1), (0, 7, "2-0", "thread:1", 2),
    ...     (0, 7, "3-0", "thread:1", 3), (0, 7, "9-0", "thread:1", 4))
    thread:1 (9-0) was never triggered
"""
from typing import NamedTuple


class Handled(NamedTuple):
    """One event as a worker handled it."""

    partition: int
    epoch: int
    id: str
    thread: str
    number: int  # as the payload has it: 1, 2, 3 ... in each thread
    started: float = 0.0  # unix time


def problems(triggered, handled):
    """All that is wrong, one line each.

    `triggered` has each thread's events as (partition, id) in their order, `handled` all that was
    handled in the order in which it was.
    """
    found = []
    places = {
        (thread, id): (place, partition)
        for thread, events in triggered.items()
        for place, (partition, id) in enumerate(events)
    }
    newest = {}  # by partition: the newest epoch
    begun = {}  # by thread: the epoch and place of the event that was handled last
    furthest = dict.fromkeys(triggered, -1)  # by thread
    for one in handled:
        if (one.thread, one.id) not in places:
            found.append(f"{one.thread} ({one.id}) was never triggered")
            continue
        place, partition = places[one.thread, one.id]
        name = f"{one.thread} #{place + 1} ({one.id})"
        if one.partition != partition:
            found.append(f"{name} came from partition {one.partition}, not {partition}")
        if one.number != place + 1:
            found.append(f"{name} carries the payload of #{one.number}")
        if one.epoch < newest.get(partition, 0):
            later = newest[partition]
            found.append(f"{name} was handled under epoch {one.epoch} after epoch {later}")
        newest[partition] = max(one.epoch, newest.get(partition, 0))
        epoch, last = begun.get(one.thread, (0, -1))
        if one.epoch == epoch and place <= last:
            found.append(f"{name} was handed out twice under epoch {epoch}")
        elif place > furthest[one.thread] + 1:
            found.append(f"{name} was handled before #{furthest[one.thread] + 2}")
        elif one.epoch == epoch and place > last + 1:
            found.append(f"{name} was handed out without #{last + 2} under epoch {epoch}")
        begun[one.thread] = (one.epoch, place)
        furthest[one.thread] = max(place, furthest[one.thread])
    return found + missing(triggered, {(one.thread, one.id) for one in handled})


def missing(triggered, seen):
    """The events that nobody handled, one line each."""
    return [
        f"{thread} #{place} ({id}) was never handled"
        for thread, events in triggered.items()
        for place, (_, id) in enumerate(events, 1)
        if (thread, id) not in seen
    ]
