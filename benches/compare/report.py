"""Tables in Markdown and a plot in SVG, of rounds."""

import html
import statistics

from loads import BUSY

HEAD = "| proxy | CPU µs per call | of it system | Waypost to it | calls per second | p50, p99, p99.9 ms | peak MB |"
COLOURS = {"waypost": "#0b6e4f"}


def spread(values, digits):
    values = list(values)
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def digits(values):
    return 1 if statistics.median(values) < 1000 else 0


def ratios(ours, theirs):
    """Of the same rounds, so that what the machine did to both is left out."""
    return [a.cpu / b.cpu for a, b in zip(ours, theirs) if b.cpu]


def table(rounds, ours="waypost"):
    lines = [HEAD, "|---|---:|---:|---:|---:|---:|---:|"]
    for name, all_rounds in rounds.items():
        if isinstance(all_rounds, str):
            lines.append(f"| {name} | {all_rounds.partition(': ')[2]} | | | | | |")
            continue
        cpu = [r.cpu for r in all_rounds]
        busy = statistics.median(r.busy for r in all_rounds)
        rates = spread((r.rate for r in all_rounds), 0) if busy < BUSY else f"load core {busy:.0f} % busy"
        half, most, all_but = ([value / 1000 for value in values] for values in zip(*(r.latencies for r in all_rounds)))
        latencies = f"{statistics.median(half):.2f}, {spread(most, 2)}, {statistics.median(all_but):.2f}"
        if not any(cpu):
            lines.append(f"| {name} | | | | {rates} | {latencies} | |")
            continue
        system = statistics.median(r.system for r in all_rounds)
        ratio = "" if name == ours or isinstance(rounds.get(ours, ""), str) else spread(ratios(rounds[ours], all_rounds), 2)
        peak = max(r.peak_kb for r in all_rounds) / 1000
        cells = [name, spread(cpu, digits(cpu)), f"{system:.{digits(cpu)}f}", ratio, rates, latencies, f"{peak:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(shapes, title):
    """Bars of CPU per call, each with its range, a group per shape."""
    shapes = {shape: {n: r for n, r in rounds.items() if not isinstance(r, str)} for shape, rounds in shapes.items()}
    names = list(dict.fromkeys(name for rounds in shapes.values() for name in rounds if any(r.cpu for r in rounds[name])))
    row, left, width = 18, 90, 620
    parts, y = [], 34
    for shape, rounds in shapes.items():
        parts.append(f'<text x="0" y="{y + 12}" font-weight="bold">{html.escape(shape)}</text>')
        y += row
        most = max(r.cpu for name in names for r in rounds.get(name, []))
        for name in (name for name in names if name in rounds):
            values = [r.cpu for r in rounds[name]]
            low, middle, high = (left + v / most * (width - left - 60) for v in (min(values), statistics.median(values), max(values)))
            colour = COLOURS.get(name, "#8a8f98")
            parts.append(f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{middle - left:.1f}" height="{row - 5}" fill="{colour}"/>')
            parts.append(f'<path d="M{low:.1f} {y + 8.5}H{high:.1f}" stroke="#000" stroke-width="1.5"/>')
            parts.append(f'<text x="{max(middle, high) + 5:.1f}" y="{y + 12}">{statistics.median(values):.1f}</text>')
            y += row
        y += row // 2
    head = f'<text x="0" y="14">{html.escape(title)}</text>'
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 0 {width + 16} {y}" font-family="sans-serif" font-size="12">'
    return "\n".join([frame, f'<rect x="-8" width="{width + 16}" height="{y}" fill="#fff"/>', head, *parts, "</svg>", ""])
