"""Plots as SVG."""

import math
from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TITLE = 360, 112, 76, 16, 6, 40
OWN, OTHER, FLOOR = "#c2410c", "#64748b", "#cbd5e1"
LINES = ["#c2410c", "#0369a1", "#a16207", "#15803d", "#7e22ce", "#64748b"]
FONT = 'font-family="sans-serif" font-size="12"'


def short(value):
    """Formats a value with three significant digits."""
    if value is None:
        return ""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def page(width, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {FONT}>\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join([*parts, "</svg>\n"])
    )


def text(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def bars(panels, columns=2):
    """Draws panels (title, [(label, key, value, low, high)]) of bars, two side by side."""
    parts, y = [], 0
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        for column, (title, rows) in enumerate(row):
            parts += panel(column * WIDTH, y, title, rows)
        y += TITLE + max(len(rows) for _, rows in row) * (BAR + GAP) + 10
    return page(columns * WIDTH, y, parts)


def panel(x, y, title, rows):
    parts = [text(x + 10, y + 24, title, extra='font-weight="bold"')]
    top = max((high for *_, high in rows), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / top
    for number, (label, key, value, low, high) in enumerate(rows):
        middle = y + TITLE + number * (BAR + GAP) + BAR / 2
        colour = {"proxyherd": OWN, "echo": FLOOR}.get(key, OTHER)
        parts.append(text(x + LEFT - 6, middle + 4, label, "end"))
        parts.append(
            f'<rect x="{x + LEFT}" y="{middle - BAR / 2:.1f}" width="{max(value * scale, 1):.1f}" '
            f'height="{BAR}" fill="{colour}"/>'
        )
        # The lowest and the highest round.
        parts.append(
            f'<path d="M{x + LEFT + low * scale:.1f} {middle:.1f}H{x + LEFT + high * scale:.1f}" '
            'stroke="black" stroke-width="1.5"/>'
        )
        parts.append(text(x + LEFT + high * scale + 6, middle + 4, short(value)))
    return parts


def lines(panels):
    """Draws panels (title, x labels, [(label, values)]) of lines on a logarithmic axis."""
    parts, height, plot = [], 300, 200
    for column, (title, labels, series) in enumerate(panels):
        x, y = column * WIDTH + 70, 40
        width = WIDTH - 95
        values = [value for _, row in series for value in row if value]
        bottom = math.floor(math.log10(min(values)))
        top = math.ceil(math.log10(max(values)))

        def at(step, value, x=x, bottom=bottom, top=top, labels=labels):
            part = (math.log10(value) - bottom) / (top - bottom)
            return x + width * step / (len(labels) - 1), y + plot * (1 - part)

        parts.append(text(column * WIDTH + 10, 24, title, extra='font-weight="bold"'))
        for power in range(bottom, top + 1):
            _, line = at(0, 10.0**power)
            parts.append(f'<path d="M{x} {line:.1f}h{width}" stroke="#e2e8f0"/>')
            parts.append(text(x - 6, line + 4, f"{10.0**power:g} ms", "end"))
        for step, label in enumerate(labels):
            parts.append(text(at(step, 10.0**bottom)[0], y + plot + 18, label, "middle"))
        for number, (label, row) in enumerate(series):
            points = " ".join("{:.1f},{:.1f}".format(*at(s, v)) for s, v in enumerate(row))
            colour = LINES[number % len(LINES)]
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            place = column * WIDTH + 20 + number % 3 * 115
            line = y + plot + 36 + number // 3 * 16
            parts.append(
                f'<rect x="{place}" y="{line - 5}" width="12" height="4" fill="{colour}"/>'
            )
            parts.append(text(place + 16, line, label))
    return page(len(panels) * WIDTH, height, parts)
