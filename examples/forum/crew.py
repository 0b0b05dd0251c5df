"""The worker processes of the forum: start, kill, stop, and never leave one behind."""
import os
import subprocess
import sys
import time
from pathlib import Path

HANDLER = Path(__file__).with_name("handler.py")
GROUP = "forum"
PATIENCE_S = 20


class Crew:
    """One worker for each partition, and a standby that waits behind all of them."""

    def __init__(self, client, url):
        self.client, self.url = client, url
        self.processes = {}
        self.to_wait = 0  # how many will, when all have started and nothing happens

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, name, partitions, all=False):
        """Starts a worker and waits until it waits for events of all its partitions.

        With `all` these are all that there are, and it is to find those that a resize adds.
        """
        self.to_wait += len(partitions)
        partitions = [] if all else partitions
        command = [sys.executable, HANDLER, self.url, GROUP, *map(str, partitions)]
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: self.waiting() == self.to_wait, f"{name} does not start")

    def waiting(self):
        """How many EVQ.CONSUME are blocked at this moment."""
        clients = self.client.client_list()
        return sum(c["cmd"].lower() == "evq.consume" and "b" in c["flags"] for c in clients)

    def kill(self, name):
        """kill -9: no farewell, as in a crash. Returns its process id and the time."""
        process = self.processes.pop(name)
        process.kill()
        at = time.time()
        process.wait()
        return process.pid, at

    def stop(self):
        """SIGTERM to all; the exit codes that are not 0, by name."""
        for process in self.processes.values():
            process.terminate()
        codes = {name: each.wait(PATIENCE_S) for name, each in self.processes.items()}
        self.processes = {}
        return {name: code for name, code in codes.items() if code != os.EX_OK}


def until(condition, complaint):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"demo: {complaint}")
        time.sleep(0.01)
