"""What a run has measured, as tables of docs/compare.md and as a picture."""

import pathlib
import re
import statistics
from xml.sax.saxutils import escape

LEVELS = {"none": "nothing synced", "second": "a sync every second"}
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


def latency(results):
    def cell(peer, level, rate):
        rounds = peer["latency"].get(level)
        if not rounds:
            return "-"
        reached = median(rounds, rate, "reached")
        if reached < 0.95 * int(rate):
            return f"not reached: {thousands(reached)}/s"
        return " / ".join(micros(median(rounds, rate, f"{name}_us")) for name in
                          ("p50", "p99", "p999"))

    head = ["µs: p50 / p99 / p99.9"]
    head += [f"{int(rate):,}/s, {text}" for rate in ("1000", "20000") for text in LEVELS.values()]
    rows = [[peer["title"], *(cell(peer, level, rate) for rate in ("1000", "20000")
                              for level in LEVELS)]
            for peer in named(results["peers"], "latency")]
    return table(head, rows)


def only(peer, case):
    """The result of a case that runs at one level."""
    return next(iter(peer.get(case, {}).values()), None)


def retained(results):
    rows = []
    for peer in named(results["peers"], "retained"):
        found = only(peer, "retained")[0]
        rows.append([peer["title"], f"{found['events']:,}", f"{found['before'] / 1e6:.0f}",
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
        row = [peer["title"]]
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
    return f"{results['date']}, {results['machine']}. The run took {results['seconds'] // 60} minutes."


BLOCKS = {"machine": machine, "versions": versions, "throughput": throughput, "latency": latency,
          "retained": retained, "accidents": accidents}


def write(path, results):
    """Renews what is between the markers of a page."""
    page = pathlib.Path(path)
    text = page.read_text()
    for name, block in BLOCKS.items():
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
    scale = WIDTH / max(rate for _, _, rate, _ in bars if rate)
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
