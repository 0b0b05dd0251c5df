"""What a run has measured, as tables of docs/compare.md and as a picture."""

import itertools
import pathlib
import re
import statistics
from xml.sax.saxutils import escape

LEVELS = {"none": "nothing synced", "second": "a sync every second"}
RATES = ("1000", "20000")
COLOURS = {"none": "#2c5f8a", "second": "#c0392b"}
LEFT, WIDTH, BAR, GAP, TOP = 290, 460, 13, 9, 66


def median(rounds, *names):
    """The median over the rounds of one figure; none without rounds."""
    values = []
    for found in rounds or []:
        for name in names:
            found = found[name]
        values.append(found)
    return statistics.median(values) if values else None


def thousands(number):
    """Three digits that count."""
    for step in (1000, 100, 10):
        if number >= 100 * step:
            number = round(number / step) * step
            break
    return f"{number:,.0f}"


def micros(us):
    return f"{us / 1000:,.0f} ms" if us >= 100_000 else f"{us:,.0f}"


def seconds(ms):
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def megabytes(size):
    return f"{size / 1e6:.0f} MB"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def named(peers, case):
    return [peer for peer in peers.values() if case in peer]


def versions(results):
    rows = [[peer["title"], peer["version"]] for peer in results["peers"].values()]
    text = table(["peer", "version"], rows)
    for title, why in results["left_out"].items():
        text += f"\n\nLeft out: {title} ({why})."
    for failure in results["failures"]:
        text += f"\n\nWithout a result: {failure.splitlines()[0]}."
    return text


def throughput(results):
    def cell(peer, level):
        rounds = peer["throughput"].get(level)
        rate, cpu = median(rounds, "rate"), median(rounds, "cpu_us")
        return f"{thousands(rate)} ({cpu:.1f})" if rounds else "-"

    rows = [[peer["title"], *(cell(peer, level) for level in LEVELS)]
            for peer in named(results["peers"], "throughput")]
    return table(["events/s (server CPU µs for each event)", *LEVELS.values()], rows)


def waits(rounds, rate):
    """The quantiles at a rate; none where the peer does not keep up with it."""
    if not rounds or median(rounds, rate, "reached") < 0.95 * int(rate):
        return None
    return [median(rounds, rate, f"{name}_us") for name in ("p50", "p99", "p999")]


def latency(results):
    def cell(peer, level, rate):
        rounds = peer["latency"].get(level)
        if not rounds:
            return "-"
        found = waits(rounds, rate)
        if not found:
            return f"not reached: {thousands(median(rounds, rate, 'reached'))}/s"
        return " / ".join(map(micros, found))

    head = ["µs: p50 / p99 / p99.9"]
    head += [f"{int(rate):,}/s, {text}" for rate in RATES for text in LEVELS.values()]
    rows = [[peer["name"], *(cell(peer, level, rate) for rate in RATES for level in LEVELS)]
            for peer in named(results["peers"], "latency")]
    return table(head, rows)


def only(peer, case):
    """The result of a case that runs at one level."""
    return next(iter(peer.get(case, {}).values()), None)


def retained(results):
    rows = []
    for peer in named(results["peers"], "retained"):
        found = only(peer, "retained")[0]
        rows.append([peer["name"], f"{found['events']:,}", f"{found['before'] / 1e6:.0f}",
                     f"{found['memory'] / 1e6:.0f}", f"{found['disk'] / 1e6:.0f}"])
    return table(["peer", "events", "server's memory before, MB", "with them, MB", "on disk, MB"],
                 rows)


def order(found):
    """What became of the events, in words."""
    words = [f"{found[name]} {text}" for name, text in
             (("lost", "lost"), ("overtaken", "overtaken"), ("twice", "twice")) if found[name]]
    return ", ".join(words) or "kept"


def accidents(results):
    rows = []
    for peer in results["peers"].values():
        row = [peer["name"]]
        for case in ("killed", "vanished"):
            found = only(peer, case)
            row += [seconds(found[0]["ms"]), order(found[0])] if found else ["-", "-"]
        found = only(peer, "failing")
        row += [seconds(found[0]["longest_ms"]), order(found[0])] if found else ["-", "-"]
        found = only(peer, "resize")
        used = found and found[0]["used_ms"]
        row += [seconds(used) if used is not None else "-", order(found[0]) if found else "-"]
        if any(cell != "-" for cell in row[1:]):
            rows.append(row)
    return table(["peer", "worker killed", "order", "worker vanished", "order",
                  "an event fails: others wait", "order", "ninth partition in use", "order"], rows)


def machine(results):
    took = results["seconds"] // 60
    return f"{results['date']}, {results['machine']}. The run took {took} minutes."


# By how much another has to be better to be named: rounds differ by as much.
MARGIN = 1.05


def measures():
    """Each measure: its name, a peer's figure, the figure's text, whether more is better, and of an
    accident the case."""
    for level, text in LEVELS.items():
        yield (f"events/s, {text}", lambda peer, level=level: median(
            peer.get("throughput", {}).get(level), "rate"), thousands, True, None)
        yield (f"server CPU for an event, {text}", lambda peer, level=level: median(
            peer.get("throughput", {}).get(level), "cpu_us"), lambda us: f"{us:.1f} µs", False,
               None)
    for rate, (level, text) in itertools.product(RATES, LEVELS.items()):
        for place, name in enumerate(("p50", "p99", "p99.9")):
            def wait(peer, level=level, rate=rate, place=place):
                found = waits(peer.get("latency", {}).get(level), rate)
                return found and found[place]
            yield (f"{name} at {int(rate):,}/s, {text}", wait,
                   lambda us: f"{micros(us)}{'' if us >= 100_000 else ' µs'}", False, None)
    for name, case, figure, text in (
            ("memory of waiting events", "retained",
             lambda found: max(0, found["memory"] - found["before"]), megabytes),
            ("disk of waiting events", "retained", lambda found: found["disk"], megabytes),
            ("takeover from a killed worker", "killed", lambda found: found["ms"], seconds),
            ("takeover from a vanished one", "vanished", lambda found: found["ms"], seconds),
            ("what others wait for a failing event", "failing",
             lambda found: found["longest_ms"], seconds),
            ("ninth partition in use", "resize", lambda found: found["used_ms"], seconds)):
        yield (name, lambda peer, case=case, figure=figure: (
            figure(only(peer, case)[0]) if only(peer, case) else None), text, False, case)


def better(results):
    """Where another is better than EVQ, the best first."""
    if "evq" not in results["peers"]:
        return "EVQ was not in this run."

    def entry(peer, figure, case):
        found = only(peer, case) if case else None
        what = order(found[0]) if found and "lost" in found[0] else "kept"
        return f"{peer['name']} {figure}" + ("" if what == "kept" else f" ({what})")

    lines = []
    for name, figure, text, more, case in measures():
        found = {key: figure(peer) for key, peer in results["peers"].items()}
        found = {key: value for key, value in found.items() if value is not None}
        ours = [value for key, value in found.items() if key.startswith("evq")]
        best = (max if more else min)(ours, default=None)
        ahead = [(value, key) for key, value in found.items() if not key.startswith("evq")
                 and (best is None or (value > best * MARGIN if more else value * MARGIN < best))]
        if ahead:
            others = "; ".join(entry(results["peers"][key], text(value), case)
                               for value, key in sorted(ahead, reverse=more))
            ours = "EVQ does not keep up" if best is None else f"EVQ {text(best)}"
            lines.append(f"- {name}: {others}; {ours}")
    return "\n".join(lines) or "In no figure of this run."


# The README's words: order through a retry, through a resize, parallelism, where it runs.
WORDS = {
    ("evq",): ("**EVQ**", "kept: its key waits, others go on", "kept",
               "a worker for each partition, or any", "in Redis or Valkey, in memory"),
    ("kafka",): ("Kafka", "kept: the partition waits", "not kept", "a consumer for each partition",
                 "brokers on the JVM, on disk"),
    ("nats", "nats-strict"): (
        "NATS JetStream; with order through redelivery",
        "in place; kept, one event at a time: the partition waits", "not kept",
        "a client for each partition", "servers in Go, in memory or on disk"),
    ("rabbitmq-queues",): ("RabbitMQ, quorum queues", "in place: the queue waits", "not kept",
                           "a consumer for each queue", "Erlang, on disk"),
    ("rabbitmq-streams",): ("RabbitMQ, super stream", "in place: the partition waits", "not kept",
                            "a consumer for each partition", "Erlang, on disk"),
    ("streams",): ("Redis Streams by hand", "by own code", "by own code", "by own locks",
                   "in Redis or Valkey, in memory"),
    ("bullmq",): ("BullMQ", "not kept", "by own code", "a worker for each queue",
                  "Node with Redis, Valkey or PostgreSQL"),
}


def compared(results):
    """The table of the README. Each figure is at the strictest level that the peer has."""
    def rate(name):
        levels = results["peers"].get(name, {}).get("throughput", {})
        rounds = levels.get("second") or levels.get("none")
        return thousands(median(rounds, "rate")) if rounds else "-"

    rows = [[*words, "; ".join(map(rate, names))] for names, words in WORDS.items()]
    return table(["", "order of a key through a retry", "through a resize", "keys in parallel",
                  "runs", "events/s"], rows)


BLOCKS = {"machine": machine, "better": better, "versions": versions, "throughput": throughput,
          "latency": latency, "retained": retained, "accidents": accidents}
README = {"compared": compared}


def write(path, blocks, results):
    """Renews what is between the markers of a page."""
    page = pathlib.Path(path)
    text = page.read_text()
    for name, block in blocks.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, found = re.subn(pattern, lambda m: f"{m[1]}{block(results)}\n{m[2]}", text,
                              flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"{path} has {found} blocks {name}")
    page.write_text(text)


def picture(results):
    """Throughput at both levels, a bar each."""
    peers = named(results["peers"], "throughput")
    bars = [(peer, level, median(peer["throughput"].get(level), "rate"),
             median(peer["throughput"].get(level), "cpu_us")) for peer in peers for level in LEVELS]
    scale = WIDTH / max((rate for _, _, rate, _ in bars if rate), default=1)
    step = BAR * 2 + GAP
    height = TOP + step * len(peers) + 10
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 150}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
        '<text x="12" y="22" font-size="15" font-weight="bold">'
        "Events a second, end to end, order of each key kept (server CPU for each)</text>",
    ]
    for n, (level, text) in enumerate(LEVELS.items()):
        x = 12 + 160 * n
        out.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[level]}"/>')
        out.append(f'<text x="{x + 18}" y="47">{text}</text>')
    for n, (peer, level, rate, cpu) in enumerate(bars):
        y = TOP + step * (n // 2) + BAR * (n % 2)
        if n % 2 == 0:
            out.append(f'<text x="{LEFT - 8}" y="{y + BAR + 3}" text-anchor="end">'
                       f'{escape(peer["title"])}</text>')
        if rate:
            out.append(f'<rect x="{LEFT}" y="{y}" width="{rate * scale:.1f}" height="{BAR - 2}" '
                       f'fill="{COLOURS[level]}"/>')
            out.append(f'<text x="{LEFT + rate * scale + 6:.1f}" y="{y + 10}">'
                       f'{thousands(rate)} ({cpu:.1f} µs)</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
