"""A plot of ratios with their spread, in SVG: a dot at the median, a line from least to most.

Knows nothing of what the ratios are of. The scale is logarithmic, as half and double are as far
from one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from bench.figures import Spread


class Series(NamedTuple):
    """What is plotted in one colour."""

    name: str
    colour: str


class Row(NamedTuple):
    """One line of the plot: its name, and for each series a spread, or none."""

    name: str
    spreads: tuple[Spread | None, ...]
    bound: float | None = None
    """Where a tick says what the first series may be at most."""


_LEFT: Final = 240
_WIDTH: Final = 560
_RIGHT: Final = 30
_TOP: Final = 84
_FONT: Final = 'font-family="sans-serif" font-size="13"'
_LINE: Final = 26
_TICKS: Final = tuple(digit * 10.0**power for power in range(-4, 4) for digit in (1, 2, 5))


class _Scale:
    """From ratios to places on the page."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min([*values, 1.0]), max([*values, 1.0])
        self.ticks = [
            tick
            for tick, after, before in zip(_TICKS[1:-1], _TICKS[2:], _TICKS, strict=False)
            if after > low and before < high
        ]
        self._low = math.log(self.ticks[0])
        self._span = math.log(self.ticks[-1]) - self._low

    def at(self, value: float) -> float:
        """Return how far from the left a ratio is."""
        return _LEFT + (math.log(value) - self._low) / self._span * _WIDTH


def svg(title: str, series: Sequence[Series], rows: Sequence[Row]) -> str:
    """Return the plot."""
    scale = _Scale(
        [value for row in rows for spread in row.spreads if spread for value in spread]
        + [row.bound for row in rows if row.bound]
    )
    bottom = _TOP + _LINE * len(rows)
    width, height = _LEFT + _WIDTH + _RIGHT, bottom + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
        *_legend(series),
        *(_tick(scale.at(tick), f"{tick:g}", bottom, is_one=tick == 1.0) for tick in scale.ticks),
    ]
    for number, row in enumerate(rows):
        middle = _TOP + _LINE * number + _LINE / 2
        parts.append(
            f'<text x="{_LEFT - 12}" y="{middle + 4:.1f}" text-anchor="end">'
            f"{escape(row.name)}</text>"
        )
        for one, spread in zip(series, row.spreads, strict=True):
            if spread is not None:
                parts += _mark(scale, middle, one.colour, spread)
        if row.bound is not None:
            x = scale.at(row.bound)
            parts.append(
                f'<path d="M{x:.1f} {middle - 10:.1f}v20" stroke="#b00" stroke-width="2">'
                f"<title>at most {row.bound:g}</title></path>"
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], _LEFT
    for one in series:
        parts.append(f'<circle cx="{x}" cy="48" r="5" fill="{one.colour}"/>')
        parts.append(f'<text x="{x + 12}" y="52">{escape(one.name)}</text>')
        x += 40 + 7 * len(one.name)
    parts.append(f'<path d="M{x} 40v16" stroke="#b00" stroke-width="2"/>')
    parts.append(f'<text x="{x + 12}" y="52">at most</text>')
    return parts


def _tick(x: float, label: str, bottom: float, *, is_one: bool) -> str:
    colour = "#444" if is_one else "#ddd"
    return (
        f'<path d="M{x:.1f} {_TOP - 6}V{bottom}" stroke="{colour}"/>'
        f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{label}</text>'
    )


def _mark(scale: _Scale, y: float, colour: str, spread: Spread) -> list[str]:
    least, middle, most = (scale.at(value) for value in (spread.least, spread.median, spread.most))
    line = f'<path d="M{least:.1f} {y:.1f}H{most:.1f}" stroke="{colour}" stroke-width="3"/>'
    dot = (
        f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="5" fill="{colour}">'
        f"<title>{spread.written(3)}</title></circle>"
    )
    return [line, dot]
