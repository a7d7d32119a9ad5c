"""Small pictures as SVG: drawn by attributes and classes alone, so that a page without inline styles may show them.

Colours come from classes of the style sheet, light or dark. Each picture says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

HIGH = 26  # of a row of bars, in units of the picture
WIDE = 420
SHADES = 10  # classes .heat-0 .. .heat-10


class Bar(NamedTuple):
    """One row. value and interval: shares 0..1 of the width; said: the number as it is written. marked: stands out."""

    name: str
    value: float | None
    said: str
    low: float | None = None
    high: float | None = None
    marked: bool = False


def bars(rows: Sequence[Bar], alt: str, *, at: float | None = None, names: int = 120) -> Markup:
    """Horizontal bars from 0 to 1 with intervals. at: a line to compare with. names: the width that names get."""
    width = WIDE - names - 70
    parts = []
    for i, row in enumerate(rows):
        y = i * HIGH
        parts.append(_text(names - 8, y + 17, _short(row.name, names), "label end", title=row.name))
        parts.append(_rect(names, y + 5, width, HIGH - 10, "track"))
        if row.value is not None:
            parts.append(_rect(names, y + 5, width * row.value, HIGH - 10, "series-2" if row.marked else "series-1"))
        if row.low is not None and row.high is not None:
            x1, x2, middle = names + width * row.low, names + width * row.high, y + HIGH / 2
            parts.append(f'<path class="whisker" d="M{x1:.1f} {middle:.1f}H{x2:.1f}M{x1:.1f} {middle - 4:.1f}v8'
                         f'M{x2:.1f} {middle - 4:.1f}v8"/>')  # fmt: skip
        parts.append(_text(WIDE - 62, y + 17, row.said, "label ink"))
    if at is not None:
        x = names + width * at
        parts.append(f'<path class="level" d="M{x:.1f} 0V{len(rows) * HIGH}"/>')
    return _svg(WIDE, max(len(rows), 1) * HIGH, parts, alt)


def columns(
    values: Sequence[float], labels: Sequence[str], alt: str, *, colour: int = 1, small: bool = False
) -> Markup:
    """Vertical bars from 0, such as a distribution or counts a day. small: one of many."""
    wide, high = (150, 64) if small else (WIDE, 150)
    foot, head = (16, 4) if small else (20, 18)
    most, count = max(values, default=0.0) or 1.0, max(len(values), 1)
    step = wide / count
    parts = [f'<path class="axis" d="M0 {high - foot}H{wide}"/>']
    every = max(1, -(-count * (14 if small else 44) // wide))
    for i, value in enumerate(values):
        tall = (high - foot - head) * value / most
        bar = min(step * 0.8, 56)
        x = i * step + (step - bar) / 2
        title = f"{labels[i]}: {value:,.0f}" if value >= 1 or value == 0 else f"{labels[i]}: {value:.1%}"
        parts.append(_rect(x, high - foot - tall, bar, tall, f"series-{colour}", title=title))
        if not small and step > 26 and value >= 1:
            parts.append(_text(x + bar / 2, high - foot - tall - 5, f"{value:,.0f}", "label middle"))
        if i % every == 0:
            parts.append(_text(x + bar / 2, high - 4, labels[i], "label middle"))
    return _svg(wide, high, parts, alt)


def heat(names: Sequence[str], values: Sequence[Sequence[float | None]], low: float, high: float, alt: str) -> Markup:
    """Who with whom: a square each, the darker the more; low and high: the ends of the shades."""
    side, left = 34, 120
    parts = []
    for i, row in enumerate(values):
        parts.append(_text(left - 8, 20 + i * side + side / 2 + 4, _short(names[i], left), "label end", title=names[i]))
        parts.append(_text(left + i * side + side / 2, 13, str(i + 1), "label middle"))
        for j, value in enumerate(row):
            x, y = left + j * side, 20 + i * side
            if value is None:
                parts.append(_rect(x + 1, y + 1, side - 2, side - 2, "heat-none"))
                continue
            shade = round(SHADES * min(1.0, max(0.0, (value - low) / ((high - low) or 1))))
            title = f"{names[i]} and {names[j]}: {value:.0%}"
            parts.append(_rect(x + 1, y + 1, side - 2, side - 2, f"heat-{shade}", title=title))
            tone = "heat-dark" if shade > SHADES // 2 else "heat-light"
            parts.append(_text(x + side / 2, y + side / 2 + 4, f"{100 * value:.0f}", f"label middle {tone}"))
    return _svg(left + side * len(names) + 2, 22 + side * len(names), parts, alt)


def stripe(parts: Sequence[tuple[float, str]], alt: str) -> Markup:
    """One bar of several parts, each (share 0..1, class)."""
    x, drawn = 0.0, [_rect(0, 0, WIDE, 14, "track")]
    for share, name in parts:
        drawn.append(_rect(x, 0, WIDE * share, 14, name))
        x += WIDE * share
    return _svg(WIDE, 14, drawn, alt)


def _svg(wide: float, high: float, parts: Sequence[str], alt: str) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" role="img" '
        f'aria-label="{escape(alt)}">{body}</svg>'
    )  # all texts in it were escaped where they were written


def _rect(x: float, y: float, width: float, height: float, name: str, *, title: str = "") -> str:
    said = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" {size} rx="2">{said}</rect>'


def _text(x: float, y: float, text: str, name: str, *, title: str = "") -> str:
    said = f"<title>{escape(title)}</title>" if title else ""
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{escape(text)}{said}</text>'


def _short(text: str, room: int) -> str:
    """About what fits: a letter takes about 7 units."""
    most = int(room / 7) - 1
    return text if len(text) <= most else text[: most - 1] + "…"
