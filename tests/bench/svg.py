# SPDX-License-Identifier: MIT
"""Plots as SVG text, by hand: bars and lines that read well on a light and on a dark page."""

import math
from html import escape

WIDTH = 760
LIGHT = {"page": "#ffffff", "text": "#1f2328", "soft": "#59636e", "line": "#d1d9e0",
         "bar": "#8c959f", "ours": "#0969da", "base": "#59636e",
         "curves": ["#0969da", "#bc4c00", "#1a7f37", "#8250df"]}
DARK = {"page": "#0d1117", "text": "#f0f6fc", "soft": "#9198a1", "line": "#3d444d",
        "bar": "#656c76", "ours": "#4493f8", "base": "#9198a1",
        "curves": ["#4493f8", "#f0883e", "#3fb950", "#ab7df8"]}


def colours(of):
    rules = [f".{name}{{fill:{of[name]}}}" for name in ("page", "text", "soft", "bar", "ours",
                                                        "base")]
    rules.append(f".line{{stroke:{of['line']}}}")
    for i, colour in enumerate(of["curves"]):
        rules.append(f".curve{i}{{fill:none;stroke-width:2;stroke:{colour}}}"
                     f".dot{i}{{fill:{colour}}}")
    return "".join(rules)


STYLE = f"""<style>
text{{font-family:system-ui,sans-serif;font-size:13px}}
.title{{font-size:15px;font-weight:600}}
{colours(LIGHT)}
@media (prefers-color-scheme:dark){{{colours(DARK)}}}
</style>"""


def number(value):
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def count(value):
    """1024 -> 1 Ki for sizes that are powers of two, else 1,000."""
    for unit, name in ((1 << 20, " Mi"), (1 << 10, " Ki")):
        if value >= unit and value % unit == 0:
            return f"{value // unit}{name}"
    return f"{value:,}"


def text(x, y, words, kind="text", anchor="start"):
    return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f'{escape(words)}</text>')


def page(height, title, subtitle, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">')
    return "\n".join([head, STYLE, f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
                      text(20, 28, title, "text title"), text(20, 48, subtitle, "soft"),
                      *parts, "</svg>", ""])


def bars(title, subtitle, rows, note=None):
    """rows: (name, value, words beside the bar). Logarithmic when the values span decades."""
    left, right, top, step = 150, 190, 66, 26
    values = [value for _, value, _ in rows if value > 0]
    low, high = min(values), max(values)
    logarithmic = high / low > 30
    room = WIDTH - left - right

    def length(value):
        if not logarithmic:
            return room * value / high
        return room * (math.log(value / low) + 0.4) / (math.log(high / low) + 0.4)

    parts = []
    for i, (name, value, words) in enumerate(rows):
        y = top + i * step
        kind = "ours" if name.startswith(("hello", "uds_http")) else "bar"
        kind = "base" if name.startswith("floor") else kind
        parts += [text(left - 10, y + 14, name, anchor="end"),
                  f'<rect class="{kind}" x="{left}" y="{y + 2}" rx="2" height="16" '
                  f'width="{max(length(value), 1):.1f}"/>',
                  text(left + length(value) + 8, y + 14, words, "soft")]
    height = top + len(rows) * step + 16
    words = subtitle + (" (logarithmic)" if logarithmic else "")
    if note:
        parts.append(text(20, height, note, "soft"))
        height += 18
    return page(height, title, words, parts)


def ticks(low, high):
    return [10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def lines(title, subtitle, x_name, curves):
    """curves: name -> [(x, y)]; both axes logarithmic. An x of 0 stands left of the smallest."""
    left, right, top, bottom, height = 70, 30, 70, 70, 380
    xs = sorted({x for points in curves.values() for x, _ in points})
    least = min(x for x in xs if x > 0)
    zero = least / 4

    def log_x(x):
        return math.log(x if x > 0 else zero)

    ys = [y for points in curves.values() for _, y in points if y > 0]
    marks = ticks(min(ys), max(ys))
    x_low, x_high = log_x(xs[0]), max(log_x(xs[-1]), log_x(xs[0]) + 1)
    y_low, y_high = math.log(marks[0]), math.log(marks[-1])

    def at(x, y):
        return (left + (WIDTH - left - right) * (log_x(x) - x_low) / (x_high - x_low),
                height - bottom - (height - top - bottom) * (math.log(y) - y_low)
                / max(y_high - y_low, 1e-9))

    parts = []
    for mark in marks:
        y = at(xs[0], mark)[1]
        parts += [f'<line class="line" x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" '
                  f'y2="{y:.1f}"/>',
                  text(left - 8, y + 4, number(mark), "soft", "end")]
    for x in xs:
        parts.append(text(at(x, marks[0])[0], height - bottom + 18, count(x), "soft", "middle"))
    parts.append(text((left + WIDTH - right) / 2, height - bottom + 38, x_name, "soft", "middle"))
    for i, (name, points) in enumerate(curves.items()):
        spots = [at(x, y) for x, y in points if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline class="curve{i % 4}" points="{path}"/>')
        parts += [f'<circle class="dot{i % 4}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
                  for x, y in spots]
        x = left + i * 170
        parts += [f'<circle class="dot{i % 4}" cx="{x + 4}" cy="{height - 18}" r="4"/>',
                  text(x + 14, height - 14, name)]
    return page(height, title, subtitle, parts)
