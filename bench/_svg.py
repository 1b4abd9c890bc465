"""Pictures for the report as inline SVG: plain text, coloured by the page's style, so that dark mode needs no other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench._intervals import Interval

__all__ = ["Bar", "Mark", "bars", "log_ticks", "plot"]

WIDTH = 340
"""Units of a picture's width, which a phone shows one to one."""


@dataclass(frozen=True)
class Bar:
    """A bar from 1 to a ratio, with its interval."""

    label: str
    ratio: Interval
    kind: str
    """``faster``, ``slower`` or ``nothing``: a class of the style."""
    said: str
    """What stands at its end."""
    rival: str = ""
    """Who it is compared with."""


@dataclass(frozen=True)
class Mark:
    """A point of a plot."""

    x: float
    y: float
    kind: str
    """A class of the style."""
    title: str
    """What a pointer that rests there shows."""


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return round numbers from a range on a logarithmic axis: powers of ten, with 2 and 5 where those are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [s * 10.0**e for e in range(first, last + 1) for s in steps]
        found = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def short(value: float) -> str:
    """Write a number in at most five letters."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Return a text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _picture(height: float, title: str, parts: Sequence[str]) -> str:
    """Return a picture, with a title for those who hear the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def cut(words: str, letters: int = 58) -> str:
    """Return words that fit into the width."""
    return words if len(words) <= letters else words[: letters - 1] + "…"


def bars(title: str, entries: Sequence[Bar], axis: str) -> str:
    """Draw bars on a logarithmic axis around 1, one below the other, each with its label above and its interval."""
    step, top, left, right = 32, 30, 6, 132
    values = [v for bar in entries for v in bar.ratio if v > 0] + [1.0]
    low, high = min(values) / 1.1, max(values) * 1.1
    scale = (WIDTH - left - right) / math.log(high / low)

    def x(value: float) -> float:
        return left + scale * math.log(min(max(value, low), high) / low)

    height = top + step * len(entries) + 4
    parts = [_text(left, 10, axis, kind="axis")]
    for tick in log_ticks(low, high):
        kind = "one" if tick == 1 else "grid"
        parts += [
            _line(x(tick), top - 2, x(tick), height - 4, kind),
            _text(x(tick), top - 4, f"{tick:g}", "middle", "tick"),
        ]
    for i, bar in enumerate(entries):
        y = top + step * i
        middle, first, last = bar.ratio
        start, width = min(x(1), x(middle)), max(abs(x(middle) - x(1)), 0.8)
        parts += [
            f"<g><title>{escape(bar.label)}: {bar.said} {escape(bar.rival)} ({first:.3g} to {last:.3g})</title>",
            _text(left, y + 12, cut(bar.label), kind="label"),
            f'<rect x="{start:.1f}" y="{y + 16:.0f}" width="{width:.1f}" height="9" class="bar {bar.kind}"/>',
            _line(x(first), y + 20.5, x(last), y + 20.5, "whisker"),
            _text(WIDTH - 54, y + 24, cut(bar.rival, 15), "end", "tick"),
            _text(WIDTH - 2, y + 24, bar.said, "end", "said"),
            "</g>",
        ]
    return _picture(height, title, parts)


def plot(
    title: str,
    marks: Sequence[Mark],
    axes: tuple[str, str],
    joined: Sequence[tuple[str, Sequence[tuple[float, float]]]] = (),
    height: int = 240,
) -> str:
    """Draw points on two logarithmic axes, and lines through given points.

    Args:
        title: What is drawn.
        marks: The points.
        axes: What is said at the two axes.
        joined: Lines, each with a class of the style and its points.
        height: Units of height.
    """
    left, right, top, bottom = 42, 8, 18, 34
    spots = [(m.x, m.y) for m in marks] + [spot for _, line in joined for spot in line]
    spots = [(a, b) for a, b in spots if a > 0 and b > 0]
    if not spots:
        return "<p>Nothing was measured.</p>"
    spans = [(min(s[i] for s in spots) / 1.25, max(s[i] for s in spots) * 1.25) for i in (0, 1)]
    wide, high = WIDTH - left - right, height - top - bottom

    def x(value: float) -> float:
        return left + wide * math.log(value / spans[0][0]) / math.log(spans[0][1] / spans[0][0])

    def y(value: float) -> float:
        return height - bottom - high * math.log(value / spans[1][0]) / math.log(spans[1][1] / spans[1][0])

    parts = [_text(2, 10, axes[1], kind="axis"), _text(WIDTH - right, height - 4, axes[0], "end", "axis")]
    for tick in log_ticks(*spans[0]):
        parts += [
            _line(x(tick), top, x(tick), height - bottom, "grid"),
            _text(x(tick), height - bottom + 12, short(tick), "middle", "tick"),
        ]
    for tick in log_ticks(*spans[1]):
        parts += [
            _line(left, y(tick), WIDTH - right, y(tick), "grid"),
            _text(left - 3, y(tick) + 3, short(tick), "end", "tick"),
        ]
    for kind, line in joined:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line if a > 0 and b > 0)
        parts.append(f'<polyline points="{path}" class="curve {kind}"/>')
    for mark in marks:
        if mark.x > 0 and mark.y > 0:
            parts.append(
                f'<circle cx="{x(mark.x):.1f}" cy="{y(mark.y):.1f}" r="3.2" class="mark {mark.kind}">'
                f"<title>{escape(mark.title)}</title></circle>"
            )
    return _picture(height, title, parts)
