"""Runs the comparison: see scripts/compare."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

import cases
import get
import page
import peers
from procs import Failed, stop_all


CASES = ("throughput", "latency", "retained", "failing", "killed", "vanished", "resize")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    """All results: peer, then case, then level."""

    def __init__(self, given, folder):
        self.given, self.folder = given, pathlib.Path(folder)
        self.results, self.left_out, self.failures = {}, {}, []
        self.random = random.Random(given.seed)

    def prepare(self, places):
        ready = []
        for kind in peers.ALL:
            peer = kind(places)
            if self.given.peers and peer.name not in self.given.peers:
                continue
            try:
                say(f"getting {peer.title} ready")
                peer.prepare()
                ready.append(peer)
                self.results[peer.name] = {"title": peer.title, "name": peer.short or peer.title,
                                           "version": peer.version()}
            except (Failed, OSError, StopIteration) as error:
                self.left_out[peer.title] = str(error).splitlines()[0]
                say(f"left out: {peer.title}: {error}")
        return ready

    def keep(self, peer, case, level, make, tries=1):
        """Runs one case; keeps its result, or why there is none."""
        begun = time.monotonic()
        try:
            result = make()
        except Exception as error:  # The other peers go on.
            say(f"  FAILED {peer.name} {case} {level}: {error}")
            if self.given.debug:
                traceback.print_exc()
            if tries > 1:
                return self.keep(peer, case, level, make, tries - 1)
            self.failures.append(f"{peer.title}, {case}, {level}: {error}")
            return None
        found = self.results[peer.name].setdefault(case, {}).setdefault(level, [])
        found.append(result)
        say(f"  {time.monotonic() - begun:5.1f} s {peer.name:14} {case:10} {level:6} {result}")
        return result

    def rounds(self, ready, level):
        """Throughput and latency: the servers stay, the peers take turns."""
        servers = {}
        wanted = [peer for peer in ready if level in peer.levels]
        for peer in wanted:
            try:
                servers[peer.name] = peer.start(self.folder / f"{peer.name}-{level}", level)
            except Failed as error:
                self.failures.append(f"{peer.title} does not start: {error}")
                say(f"FAILED {error}")
        for case, seconds in (("throughput", self.given.seconds), ("latency", self.given.seconds)):
            for number in range(self.given.rounds):
                for peer in self.random.sample(wanted, len(wanted)):
                    if peer.name in servers and self.wants(peer, case):
                        server = servers[peer.name]
                        self.keep(peer, case, level,
                                  lambda: getattr(cases, case)(peer, server, seconds))
        for server in servers.values():
            server.stop()

    def accidents(self, ready):
        """What is not a matter of speed: one peer after the other, on a server of its own."""
        for peer in ready:
            level, peer.lease_ms = peer.levels[-1], cases.LEASE_MS
            plan = (
                ("retained", lambda: cases.retained(peer, server, self.given.retained)),
                ("failing", lambda: cases.failing(peer, server)),
                ("killed", lambda: cases.takeover(peer, server, False)),
                ("vanished", lambda: cases.takeover(peer, server, True)),
                ("resize", lambda: cases.resize(peer, server)),
            )
            if not any(self.wants(peer, case) for case, _ in plan):
                continue
            try:
                server = peer.start(self.folder / f"{peer.name}-accidents", level)
            except Failed as error:
                self.failures.append(f"{peer.title} does not start: {error}")
                continue
            for case, make in plan:
                # Half a minute that a quick run has not.
                if case == "vanished" and self.given.quick and not self.given.case:
                    continue
                if self.wants(peer, case):
                    # Here events may be lost or overtaken: what fails is the run itself.
                    self.keep(peer, case, level, make, tries=2)
            server.stop()

    def wants(self, peer, case):
        asked = self.given.case
        return (not asked or case in asked) and case in getattr(peer, "only", (case,))


def machine():
    """What runs this, in a line."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines()
                  if line.startswith("model name")), platform.machine())
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, load before {load}"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/compare")
    parser.add_argument("peers", nargs="*", metavar="peer")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--driver", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--from", dest="origin", default=".")
    given = parser.parse_args()
    for asked, known in ((given.peers, [peer.name for peer in peers.ALL]), (given.case, CASES)):
        wrong = [name for name in asked if name not in known]
        if wrong:
            parser.error(f"no {', '.join(wrong)}: there are {', '.join(known)}")
    if given.page and (given.peers or given.case):
        parser.error("a page has all peers and all cases")
    given.rounds = 1 if given.quick else 3
    given.seconds = 1 if given.quick else 2.5
    given.retained = 100000 if given.quick else 1000000
    return given


def main():
    given = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    folder = tempfile.mkdtemp(prefix="evq-compare.")
    begun, where = time.monotonic(), machine()
    try:
        run = Run(given, folder)
        ready = run.prepare(get.Places(given.cache, given.driver, given.module))
        for level in ("none", "second"):
            if run.given.case and not {"throughput", "latency"} & set(run.given.case):
                continue
            say(f"level {level}")
            run.rounds(ready, level)
        run.accidents(ready)
        results = {
            "date": datetime.date.today().isoformat(), "machine": where,
            "seconds": round(time.monotonic() - begun), "rounds": given.rounds,
            "peers": run.results, "left_out": run.left_out, "failures": run.failures,
        }
        text = json.dumps(results, indent=1) + "\n"
        if given.json:
            (pathlib.Path(given.origin) / given.json).write_text(text)
        if given.page:
            docs = pathlib.Path("docs")
            (docs / "compare.json").write_text(text)
            (docs / "compare.svg").write_text(page.picture(results))
            page.write(docs / "compare.md", page.BLOCKS, results)
            page.write("README.md", page.README, results)
        for block in page.BLOCKS.values():
            text = block(results)
            if not text.endswith("---|"):  # A table without a row.
                print(f"\n{text}")
    finally:
        stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
