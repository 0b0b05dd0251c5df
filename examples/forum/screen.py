"""What the terminal shows: a column for each partition, the events as they are handled, notes."""
import sys

COLOURS = [31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96]
WIDTH = 19


class Screen:
    """Rows with at most one cell a partition, in the order in which they were given."""

    def __init__(self, partitions):
        self.partitions = partitions
        self.colour = sys.stdout.isatty()
        self.row = {}

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def say(self, text=""):
        self.flush()
        print(text, flush=True)

    def note(self, text):
        self.say(self.paint(f"--- {text}", 1))

    def ring(self, ring, points, threads):
        """The ring: who owns which part of the hash space, and where each thread went."""
        count = len(ring["partitions"])
        self.say(
            f'The ring "{ring["name"]}": {count} partitions with {ring["vnodes"]} points each on a '
            f'circle of hashes ({ring["hash"]}).'
        )
        self.say("The hash of a thread precedes one point; the partition of that point has the thread.")
        self.say()
        cells = 72
        strip = "".join(self.partition_mark(owner(points, n, cells)) for n in range(cells))
        self.say(f"  [{strip}]")
        self.say()
        for partition in ring["partitions"]:
            number, share = partition["partition"], partition["share"]
            names = " ".join(t.split(":")[1] for t in threads if threads[t] == number)
            mark = self.partition_mark(number)
            self.say(f"  partition {mark}  {partition['key']}  {share:5.1%}  threads {names}")
        self.say()

    def partition_mark(self, number):
        return self.paint(str(number), COLOURS[number % 6])

    def head(self):
        titles = "".join(f"partition {p}".ljust(WIDTH) for p in range(self.partitions))
        self.say(self.paint(titles.rstrip(), 1))

    def cell(self, partition, thread, text):
        """Something about a thread, in its partition's column."""
        if partition in self.row:
            self.flush()
        # The width counts what is seen, so the colour comes after it.
        seen = f"{thread.split(':')[1]} {text}"[: WIDTH - 1].ljust(WIDTH)
        self.row[partition] = self.paint(seen, COLOURS[sum(thread.encode()) % len(COLOURS)])

    def flush(self):
        if self.row:
            cells = (self.row.get(p, " " * WIDTH) for p in range(self.partitions))
            print("".join(cells).rstrip(), flush=True)
            self.row = {}

    def table(self, lines):
        for line in lines:
            self.say("  " + "".join(str(cell).rjust(12) for cell in line))


def owner(points, cell, cells):
    """The partition that owns the middle of a cell of the hash space, as EVQ.ROUTE would say."""
    middle = -(2**31) + (2 * cell + 1) * 2**32 // (2 * cells)
    return next((partition for point, partition in points if point > middle), points[0][1])
