"""What the journals of workers say: lost, out of order, how fast, how late.

A line is `key number sent handled partition`, in columns of one width, times in microseconds.
"""

import glob
from collections import defaultdict

LINE = 55


class Event:
    __slots__ = ("key", "number", "sent", "handled", "partition")

    def __init__(self, line):
        self.key, self.number = line[:6], int(line[7:17])
        self.sent, self.handled = int(line[18:34]), int(line[35:51])
        self.partition = int(line[52:54])


def lines(journals):
    """All lines, journal by journal: a worker's are in the order in which it handled them."""
    for path in sorted(glob.glob(f"{journals}.*")):
        with open(path, "rb") as file:
            text = file.read()
        # Of a worker that was killed the last line may be half.
        yield from (text[at:at + LINE] for at in range(0, len(text) - LINE + 1, LINE))


def check(journals, expected):
    """Complaints about a run without accidents: each event once, each key in order."""
    after, count, wrong, twice = {}, 0, 0, 0
    for line in lines(journals):
        key, number = line[:6], int(line[7:17])
        wanted = after.get(key, 0)
        if number == wanted:
            after[key] = number + 1
            count += 1
        elif number < wanted:
            twice += 1
        else:
            wrong += 1
    found = []
    if wrong:
        found.append(f"{wrong} out of order")
    if twice:
        found.append(f"{twice} twice")
    if count + wrong != expected:
        found.append(f"{count + wrong} of {expected} handled")
    return found


def events(journals):
    """All events, in the order in which they were handled. For runs of some thousand."""
    return sorted(map(Event, lines(journals)), key=lambda event: event.handled)


def disorder(found, expected):
    """Of a run with an accident: how many were lost, came twice, were overtaken.

    Overtaken is an event that is handled for the first time after a later one of its key."""
    seen, highest, overtaken, twice = set(), defaultdict(lambda: -1), 0, 0
    for event in found:
        name = event.key, event.number
        if name in seen:
            twice += 1
            continue
        seen.add(name)
        if event.number < highest[event.key]:
            overtaken += 1
        highest[event.key] = max(highest[event.key], event.number)
    return {"lost": expected - len(seen), "twice": twice, "overtaken": overtaken}


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def since(journals, start):
    """Sent and handled of each event that was sent from `start` on."""
    for line in lines(journals):
        sent = int(line[18:34])
        if sent >= start:
            yield sent, int(line[35:51])
