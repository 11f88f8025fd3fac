"""Small charts as SVG text: axes, lines, bands, points and bars, coloured by CSS variables so that they follow a theme.

A chart is 440 units wide, so that its letters stay readable when a telephone shows it at 340 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 52, 14, 44

Point = tuple[float, float]


class Chart:
    """One plot area with two axes, and a third on the right where it is wanted.

    Args:
        x, y: the ranges of the axes.
        x_label, y_label: what they are.
        title: what the chart shows, for those who cannot see it.
    """

    def __init__(self, *, x: Point, y: Point, x_label: str, y_label: str, title: str) -> None:
        self.x, self.y, self.second = x, y, y
        self._parts: list[str] = []
        self._title = title
        self._frame(x_label, y_label)

    def right_axis(self, y: Point, label: str, colour: str) -> None:
        """A second scale for what is drawn with `second=True`."""
        self.second = y
        at = WIDTH - RIGHT
        for value in ticks(*y):
            self._text(
                at + 6, self._y(value, second=True) + 4, _percent(value), anchor="start", colour=colour
            )
        self._vertical(WIDTH - 8, label, colour)

    def line(
        self, points: Sequence[Point], colour: str, *, second: bool = False, dashed: bool = False
    ) -> None:
        """A line through points."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y, second=second):.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )

    def band(self, low: Sequence[Point], high: Sequence[Point], colour: str, *, second: bool = False) -> None:
        """The area between two lines."""
        around = [*low, *reversed(high)]
        path = " ".join(f"{self._x(x):.1f},{self._y(y, second=second):.1f}" for x, y in around)
        self._parts.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.18"/>')

    def point(
        self, x: float, y: float, colour: str, *, label: str = "", low: float = 0, high: float = 0
    ) -> None:
        """A dot, with a bar from `low` to `high` where they differ."""
        at, up = self._x(x), self._y(y)
        if high > low:
            self._parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{self._y(low):.1f}" y2="{self._y(high):.1f}" '
                f'stroke="{colour}" stroke-width="1.5"/>'
            )
        self._parts.append(f'<circle cx="{at:.1f}" cy="{up:.1f}" r="4" fill="{colour}"/>')
        if label:
            end = at > WIDTH - RIGHT - 90
            self._text(at + (-7 if end else 7), up - 7, label, anchor="end" if end else "start")

    def level(self, y: float, colour: str) -> None:
        """A dashed line from left to right."""
        self.line([(self.x[0], y), (self.x[1], y)], colour, dashed=True)

    def svg(self) -> str:
        """The chart."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self._title)}">'
            f"{''.join(self._parts)}</svg>"
        )

    def _x(self, value: float) -> float:
        low, high = self.x
        share = (min(max(value, low), high) - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float, *, second: bool = False) -> float:
        low, high = self.second if second else self.y
        share = (min(max(value, low), high) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def _frame(self, x_label: str, y_label: str) -> None:
        for value in ticks(*self.y):
            up = self._y(value)
            self._parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}" stroke="var(--grid)"/>'
            )
            self._text(LEFT - 6, up + 4, _percent(value), anchor="end")
        for value in ticks(*self.x):
            label = _percent(value) if self.x[1] <= 1 and "%" in x_label else f"{value:g}"
            self._text(self._x(value), HEIGHT - BOTTOM + 16, label)
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label)
        self._vertical(12, y_label, "var(--muted)")

    def _text(self, x: float, y: float, words: str, *, anchor: str = "middle", colour: str = "") -> None:
        style = f' style="fill:{colour}"' if colour else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'
        )

    def _vertical(self, x: float, words: str, colour: str) -> None:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._parts.append(
            f'<text transform="translate({x},{middle}) rotate(-90)" text-anchor="middle" '
            f'style="fill:{colour}">{escape(words)}</text>'
        )


def bars(rows: Sequence[tuple[str, float, float]], *, title: str, names: tuple[str, str]) -> str:
    """Pairs of horizontal bars: a label, and two values of which each is drawn to its own largest."""
    step, label, width = 26, 178, WIDTH - 178 - 58
    most = [max([values[place] for _, *values in rows] + [1e-9]) for place in (0, 1)]
    parts = []
    for number, (name, *values) in enumerate(rows):
        top = 6 + number * step
        parts.append(f'<text x="{label - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>')
        for place, colour in enumerate(("var(--a)", "var(--b)")):
            size = max(0.0, values[place] / most[place]) * width
            up = top + 9 * place
            parts.append(
                f'<rect x="{label}" y="{up}" width="{size:.1f}" height="8" fill="{colour}">'
                f"<title>{escape(names[place])}: {values[place]:.4f}</title></rect>"
            )
        parts.append(f'<text x="{WIDTH - 2}" y="{top + 13}" text-anchor="end">{values[0]:.1%}</text>')
    height = 12 + step * len(rows)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round values between two ends."""
    width = high - low
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if width / step <= 7)
    first = -(-low // step)
    return [
        round((first + number) * step, 10) for number in range(8) if (first + number) * step <= high + 1e-9
    ]


def around(values: Sequence[float], *, inside: Point = (0.0, 1.0)) -> Point:
    """A range that holds all values with a little air, within limits."""
    low, high = min(values), max(values)
    air = max(0.01, 0.06 * (high - low))
    return max(inside[0], low - air), min(inside[1], high + air)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%" if abs(100 * value - round(100 * value)) < 1e-6 else f"{100 * value:.1f}%"
