"""What was handled, as a demo watches it: read from the list that the handlers write, and shown."""
import json
import time

from check import Handled
from handler import HANDLED, SPEED


class Watch:
    """What has been handled so far."""

    def __init__(self, log, patience_s):
        """`log` is a client of the server that has the list; nothing for so long is the end."""
        self.log, self.patience_s = log, patience_s
        self.handled, self.seen = [], set()

    def column(self, screen, record):
        """Where the screen shows it."""
        return Handled(*record["handled"]).partition

    def look(self, screen):
        """Shows what was handled since the last look."""
        records = [json.loads(r) for r in self.log.lrange(HANDLED, len(self.handled), -1)]
        for record in records:
            one = Handled(*record["handled"])
            what = "AGAIN" if (one.thread, one.id) in self.seen else record["type"]
            screen.cell(self.column(screen, record), one.thread, f"#{one.number} {what}")
            self.seen.add((one.thread, one.id))
            self.handled.append(one)
        return records

    def look_until(self, screen, condition):
        """Looks until the condition holds; false if nothing has happened for a long time."""
        last = time.monotonic()
        while not condition():
            if self.look(screen):
                last = time.monotonic()
            elif time.monotonic() - last > self.patience_s:
                return False
            screen.flush()
            time.sleep(0.12 / SPEED)
        return True
