"""The drawing of a graph, as boxes and lines with numbers for an SVG."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ds.pages.graph import MOST_NODES, Graph, Node, counts_in_words, folded
from prefect_ds.pages.layers import Layout, Place, layered
from prefect_ds.pages.tones import ORDER, tone_of

WIDTH, HEIGHT = 180, 58
"""Of a node, in pixels."""

_BETWEEN_LAYERS = 44
_BESIDE = 20
"""Pixels between nodes: from layer to layer, and within a layer."""

_MARGIN = 10
"""Pixels around the drawing."""

_ROOM = 1120
"""Pixels on a page; a drawing that is broader scrolls."""

_MOST_CHARACTERS = 21
_MOST_CHARACTERS_OF_COUNTS = 27
"""Of a name, and of the smaller counts below it, in a node."""

_BAR_WIDTH = WIDTH - 24
_LEAST_STRETCH = 4
"""Pixels of a bar, and of a stretch of it."""

_TIP = 5
"""Pixels from the end of an edge's line to the tip of its arrowhead."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of the bar in a node: its share of the task's runs."""

    tone: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the drawing."""

    key: str
    x: float
    y: float
    name: str
    counts: str
    tone: str
    """The one that a reader should see first: a failure, then a task that ran."""
    bars: tuple[Bar, ...]
    hover: str


@dataclass(frozen=True, slots=True)
class Line:
    """An edge: a path with its arrowhead."""

    path: str
    head: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    remark: str = ""
    """In words, how the drawing differs from the flow; empty where it does not."""


def draw(graph: Graph) -> Drawing | None:
    """Return the drawing of a graph; ``None`` where it has too many nodes to read."""
    shown = folded(graph)
    if len(shown.nodes) > MOST_NODES:
        return None
    layout = layered([node.key for node in shown.nodes], shown.edges)
    axes = _axes_for(layout)
    boxes = [_box(node, *axes.corner(layout.places[node.key])) for node in shown.nodes]
    lines = [_line(axes, route) for route in layout.routes.values()]
    width, height = axes.size(layout)
    remark = ""
    # A small graph comes back itself.
    if shown is not graph:
        remark = (
            f"{len(graph.nodes):,} tasks; those of one name that are equally far from "
            "the start are one box"
        )
    return Drawing(width, height, tuple(boxes), tuple(lines), remark)


@dataclass(frozen=True, slots=True)
class _Axes:
    """Turns places into pixels; layers go to the right, or down."""

    goes_down: bool

    @property
    def _along(self) -> int:
        return (HEIGHT if self.goes_down else WIDTH) + _BETWEEN_LAYERS

    @property
    def _across(self) -> int:
        return (WIDTH if self.goes_down else HEIGHT) + _BESIDE

    def corner(self, place: Place) -> tuple[float, float]:
        """Return the upper left corner of a node."""
        along = place.layer * self._along + _MARGIN
        # A place is the middle of its node.
        across = (place.offset - 0.5) * self._across + _MARGIN
        return (across, along) if self.goes_down else (along, across)

    def size(self, layout: Layout) -> tuple[int, int]:
        """Return width and height of a drawing."""
        # There is no gap after the last layer, and none after the last node.
        along = layout.n_layers * self._along - _BETWEEN_LAYERS + 2 * _MARGIN
        across = round(layout.breadth * self._across) - _BESIDE + 2 * _MARGIN
        return (across, along) if self.goes_down else (along, across)

    def passes(self, place: Place) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return where an edge enters and leaves the layer of a node or a point."""
        x, y = self.corner(place)
        if self.goes_down:
            middle = x + WIDTH / 2
            return (middle, y), (middle, y + HEIGHT)
        middle = y + HEIGHT / 2
        return (x, middle), (x + WIDTH, middle)


def _axes_for(layout: Layout) -> _Axes:
    """Return the axes with which a layout fits the page, to the right if both do."""
    to_right, down = _Axes(goes_down=False), _Axes(goes_down=True)
    width, _ = to_right.size(layout)
    other_width, _ = down.size(layout)
    # If neither fits, the narrower one scrolls less.
    if width <= _ROOM or width <= other_width:
        return to_right
    return down


def _line(axes: _Axes, route: Sequence[Place]) -> Line:
    # From the far side of the first node, through the layers between, to the near side
    # of the last one.
    (_, start), *between, (end, _) = [axes.passes(place) for place in route]
    parts = [f"M{_pair(start)}"]
    here = start
    for entry, leave in between:
        parts += [_curve(axes, here, entry), f"L{_pair(leave)}"]
        here = leave
    x, y = end
    # The line ends in the middle of the arrowhead, which covers its end.
    if axes.goes_down:
        line_end = (x, y - _TIP)
        head = f"M{_pair(end)}l-4-8h8z"
    else:
        line_end = (x - _TIP, y)
        head = f"M{_pair(end)}l-8-4v8z"
    parts.append(_curve(axes, here, line_end))
    return Line("".join(parts), head)


def _curve(axes: _Axes, start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a curve that leaves and arrives along the layers' direction."""
    if axes.goes_down:
        middle = (start[1] + end[1]) / 2
        controls = (start[0], middle), (end[0], middle)
    else:
        middle = (start[0] + end[0]) / 2
        controls = (middle, start[1]), (middle, end[1])
    return f"C{_pair(controls[0])} {_pair(controls[1])} {_pair(end)}"


def _pair(point: tuple[float, float]) -> str:
    # Four digits are enough for pixels, and a page may have thousands of edges.
    return f"{point[0]:.4g},{point[1]:.4g}"


def _box(node: Node, x: float, y: float) -> Box:
    counts = {how: number for how, number in node.counts if number}
    total = sum(counts.values()) or 1
    bars, at = [], 0.0
    for how in sorted(counts, key=_rank):
        # A single failure among 10,000 runs must be visible.
        width = max(_BAR_WIDTH * counts[how] / total, _LEAST_STRETCH)
        bars.append(Bar(tone_of(how), round(at, 1), round(width, 1)))
        at += width
    # Such stretches made the bar too long.
    scale = _BAR_WIDTH / at if at else 1
    bars = [
        Bar(bar.tone, round(bar.x * scale, 1), round(bar.width * scale, 1))
        for bar in bars
    ]
    words = counts_in_words(sorted(counts.items(), key=lambda item: _rank(item[0])))
    name = node.name
    if node.n_tasks > 1:
        name = f"{name} ({node.n_tasks:,} tasks)"
    first = min(counts, key=_rank, default="")
    return Box(
        key=node.key,
        x=round(x, 1),
        y=round(y, 1),
        name=shortened(name, _MOST_CHARACTERS),
        counts=shortened(words or "no runs", _MOST_CHARACTERS_OF_COUNTS),
        tone=tone_of(first),
        bars=tuple(bars),
        hover="\n".join([name, words, *node.reasons]),
    )


def _rank(how: str) -> int:
    if how in ORDER:
        return ORDER.index(how)
    return len(ORDER)


def shortened(text: str, most: int) -> str:
    """Return text cut in its middle, as names that begin alike end differently.

    >>> shortened("download_of_all_the_flights_of_2013", 21)
    'download_o…ts_of_2013'
    """
    if _room(text) <= most:
        return text
    begin, end = text, text
    while _room(begin) > most // 2:
        begin = begin[:-1]
    while _room(end) > most - most // 2 - 1:
        end = end[1:]
    return f"{begin}…{end}"


def _room(text: str) -> int:
    # A Chinese character takes the room of two.
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide
