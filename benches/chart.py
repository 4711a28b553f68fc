"""The matrix as an SVG: a panel for each script and number of clients, bars by level, the ceiling as a line above them."""

import math
import statistics

PANEL_WIDTH, PANEL_HEIGHT, MARGIN, HEAD = 300, 190, 46, 60
COLOURS = {"PostgreSQL": "#7a8ca3", "Plimsoll": "#c8553d"}
CEILING_COLOUR = "#333333"
STYLE = "text{font:11px sans-serif;fill:#222}.title{font-weight:bold;font-size:12px}.head{font-size:15px;font-weight:bold}"


def median_tps(runs):
    values = [run["tps"] for run in runs if run]
    return statistics.median(values) if values else 0.0


def ticks(top):
    """Round numbers from 0 to at least `top`, about four."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 4 >= top)
    return [step * number for number in range(math.ceil(top / step) + 1)]


def short(value):
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def panel(entries, left, top):
    """One panel's elements."""
    out = [f'<g transform="translate({left},{top})">']
    script, clients = entries[0]["script"], entries[0]["clients"]
    out.append(f'<text class="title" x="{MARGIN}" y="12">{script}, {clients} client{"s" if clients > 1 else ""}</text>')
    values = [median_tps(entry[of]) for entry in entries for of in (*COLOURS, "ceiling")]
    marks = ticks(max(values + [1.0]))
    base, height = PANEL_HEIGHT - 24, PANEL_HEIGHT - 24 - 22

    def y_of(value):
        return base - height * value / marks[-1]

    for mark in marks:
        y = y_of(mark)
        out.append(f'<line x1="{MARGIN}" x2="{PANEL_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{MARGIN - 4}" y="{y + 4:.1f}" text-anchor="end">{short(mark)}</text>')
    slot = (PANEL_WIDTH - 8 - MARGIN) / len(entries)
    bar = min(slot * 0.36, 40)
    for number, entry in enumerate(entries):
        centre = MARGIN + slot * (number + 0.5)
        for side, (label, colour) in enumerate(COLOURS.items()):
            y = y_of(median_tps(entry[label]))
            x = centre + (side - 1) * bar
            out.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{base - y:.1f}" fill="{colour}"/>')
        ceiling = median_tps(entry["ceiling"])
        if ceiling:
            y = y_of(ceiling)
            out.append(f'<line x1="{centre - bar - 2:.1f}" x2="{centre + bar + 2:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                       f'stroke="{CEILING_COLOUR}" stroke-width="2"/>')
        level = entry["level"].replace("remote_", "r_")
        out.append(f'<text x="{centre:.1f}" y="{base + 14}" text-anchor="middle">{level}</text>')
    return out + ["</g>"]


def svg(results):
    """The chart of all cells."""
    panels = {}
    for entry in results:
        panels.setdefault((entry["script"], entry["clients"]), []).append(entry)
    rows = {}
    for (script, _), entries in panels.items():
        rows.setdefault(script, []).append(entries)
    width = PANEL_WIDTH * max(len(row) for row in rows.values()) + 20
    height = HEAD + PANEL_HEIGHT * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
           f"<style>{STYLE}</style>", f'<rect width="{width}" height="{height}" fill="white"/>',
           '<text class="head" x="14" y="22">Transactions a second, medians</text>']
    x = 14
    for label, colour in COLOURS.items():
        out += [f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>', f'<text x="{x + 17}" y="44">{label}</text>']
        x += 100
    out += [f'<line x1="{x}" x2="{x + 16}" y1="40" y2="40" stroke="{CEILING_COLOUR}" stroke-width="2"/>',
            f'<text x="{x + 21}" y="44">ceiling of the machine</text>']
    for down, row in enumerate(rows.values()):
        for across, entries in enumerate(row):
            out += panel(entries, 10 + across * PANEL_WIDTH, HEAD + down * PANEL_HEIGHT)
    return "\n".join([*out, "</svg>", ""])
