"""Processes that a run starts: each in a folder and a session of its own, and ended by its id."""

import contextlib
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
STARTED = []


class Failed(Exception):
    """What keeps a peer, or one case of it, from a result."""


def free_ports(count):
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]


def free_port():
    return free_ports(1)[0]


class Process:
    """A program, with its lines of output as they come."""

    def __init__(self, words, log, env=None, cwd=None, reads=False):
        self.words, self.log = [str(word) for word in words], pathlib.Path(log)
        self.name = pathlib.Path(self.words[0]).name
        with open(self.log, "ab") as file:
            self.popen = subprocess.Popen(
                self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE if reads else file,
                stderr=file, env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)
        STARTED.append(self)
        self.lines = queue.Queue()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.put(line.decode().split())
        self.lines.put(None)

    def tell(self, line):
        try:
            self.popen.stdin.write(f"{line}\n".encode())
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.why("has ended")) from None

    def is_silent(self):
        """Whether it has neither said anything more nor ended."""
        return self.lines.empty()

    def expect(self, word, seconds):
        """The words of the next line that begins with `word`."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise Failed(self.why(f"no '{word}' within {seconds:.0f} s")) from None
            if line is None:
                raise Failed(self.why(f"ended before '{word}'"))
            if line and line[0] == word:
                return line[1:]

    def why(self, what):
        tail = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        return f"{self.name}: {what}" + "".join(f"\n    {line[:200]}" for line in tail)

    def runs(self):
        return self.popen.poll() is None

    def finish(self, seconds=20):
        """Ends standard input, upon which a driver ends by itself."""
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed(self.why("does not end")) from None
        STARTED.remove(self)
        if code:
            raise Failed(self.why(f"exit code {code}"))

    def send_signal(self, number):
        """To the program and what it has started: its session is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def helpers(self):
        """What the program has started, and when: a number may be another process's later."""
        return {pid: born(pid) for pid in family(self.popen.pid)[1:]}

    def kill(self, helpers=None):
        # RabbitMQ has helpers in sessions of their own, which end with it, but not at once.
        helpers = self.helpers() if helpers is None else helpers
        self.send_signal(signal.SIGKILL)
        self.popen.wait()
        for pid, when in helpers.items():
            if when and born(pid) == when:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self in STARTED:
            STARTED.remove(self)

    def stop(self, seconds=15):
        helpers = self.helpers()
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        self.kill(helpers)


def stop_all():
    for process in reversed(STARTED[:]):
        process.stop(5)


def run(words, seconds, log, **more):
    """Runs a program to its end."""
    process = Process(words, log, **more)
    try:
        code = process.popen.wait(seconds)
    except subprocess.TimeoutExpired:
        process.stop(2)
        raise Failed(process.why(f"not done after {seconds} s")) from None
    STARTED.remove(process)
    if code:
        raise Failed(process.why(f"exit code {code}"))


def until(condition, seconds, what, process=None):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"{what} not after {seconds} s")
        if process and not process.runs():
            raise Failed(process.why("ended"))
        time.sleep(0.02)


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def born(pid):
    """When a process was started, in the kernel's ticks; none if it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def family(pid):
    """A process and all that it has started."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    for thread in threads:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children += pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    found = [pid]
    for child in set(children):
        found += family(int(child))
    return found


def cpu_seconds(pid):
    """Processor time of a process and its children: user and system, of /proc/<pid>/stat."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory_bytes(pid):
    """Resident memory of a process and its children."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages = pathlib.Path(f"/proc/{one}/statm").read_text().split()[1]
            total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total


def disk_bytes(folder):
    """What files take on the disk, by their blocks."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total
