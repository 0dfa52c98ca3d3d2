"""The places of a graph's nodes in layers, and the routes of its edges.

Pure functions on names and numbers, in four steps: every node gets a layer, long edges
get a point in every layer that they cross, the order within the layers is chosen so
that few edges cross, and places are chosen so that edges are straight.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

Edge: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """The middle of a node, or a point of an edge."""

    layer: int
    """Starts at 0; every edge leads to a higher one."""
    offset: float
    """Across the layers, in widths of a node; the first node is at 0.5."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph in layers."""

    places: dict[str, Place]
    routes: dict[Edge, tuple[Place, ...]]
    """Edge to its points, from the place of one node to that of the other."""
    n_layers: int
    breadth: float
    """Of the widest layer, in widths of a node."""


_Point: TypeAlias = tuple[str, str, int] | str
"""A node, or an edge's point: both ends of the edge and the layer."""

_GAP = 0.35
"""Between edges that pass a layer side by side; nodes have 1."""

_MOST_POINTS = 3000
"""Of all long edges together. With more, long edges go straight, which is quick."""

_N_SWEEPS = 8
"""Times that the order is improved; more seldom help."""

_N_PULLS = 9
"""Times that places are improved: odd, so that the last pull goes down the layers."""


def layered(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    """Return the layout of a graph.

    Parameters
    ----------
    nodes
        Their names. Their order decides where nothing else does.
    edges
        Pairs of names.

    Raises
    ------
    ValueError
        The edges have a cycle, or name a node that is not there.

    Examples
    --------
    >>> layout = layered(["read", "clean"], [("read", "clean")])
    >>> [layout.places[name].layer for name in ("read", "clean")]
    [0, 1]
    """
    edges = list(dict.fromkeys(edges))
    layer_of = layers_of(nodes, edges)
    chains = _chains(edges, layer_of)
    neighbors = _Neighbors(chains.values())
    layers = _in_layers(layer_of, chains)
    layers = _ordered(layers, neighbors)
    offsets = _offsets(layers, neighbors)
    places = {node: Place(layer_of[node], offsets[node]) for node in nodes}
    routes = {}
    for edge, chain in chains.items():
        points = [Place(_layer(point, layer_of), offsets[point]) for point in chain]
        routes[edge] = tuple(points)
    # Half a node beyond the middle of the last one; without nodes it is 0.
    breadth = max((place.offset for place in places.values()), default=-0.5) + 0.5
    on_routes = [point.offset for route in routes.values() for point in route]
    breadth = max([breadth, *on_routes])
    return Layout(places, routes, len(layers), breadth)


def layers_of(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return node to layer, such that every edge leads to a higher layer.

    A node is in the first layer that it can be in, except that a source is drawn close
    to the first node that takes something from it.
    """
    after: dict[str, list[str]] = {node: [] for node in nodes}
    n_before = dict.fromkeys(nodes, 0)
    for start, end in edges:
        if start not in after or end not in after:
            raise ValueError(f"the edge {start!r} -> {end!r} leads to no node")
        after[start].append(end)
        n_before[end] += 1
    n_waiting = dict(n_before)
    layer_of = dict.fromkeys(nodes, 0)
    order = [node for node in nodes if not n_waiting[node]]
    # The list grows while it is read.
    for node in order:
        for following in after[node]:
            layer_of[following] = max(layer_of[following], layer_of[node] + 1)
            n_waiting[following] -= 1
            if not n_waiting[following]:
                order.append(following)
    # The nodes of a cycle wait for one another for ever.
    if len(order) < len(layer_of):
        raise ValueError("the edges have a cycle")
    # From the end: where a node goes depends on the nodes after it.
    for node in reversed(order):
        # Moving it nearer shortens more edges than it lengthens.
        if len(after[node]) > n_before[node]:
            layer_of[node] = min(layer_of[end] for end in after[node]) - 1
    return layer_of


def n_crossings(layers: Sequence[Sequence[_Point]], neighbors: _Neighbors) -> int:
    """Return how many pairs of edges cross between layers in this order."""
    total = 0
    for upper, lower in pairwise(layers):
        rank = {point: number for number, point in enumerate(lower)}
        # Ranks of the ends of all edges that start further left, sorted.
        ends: list[int] = []
        for point in upper:
            own = sorted(rank[end] for end in neighbors.below[point])
            # An edge crosses those of them that end further right.
            total += sum(len(ends) - bisect_right(ends, end) for end in own)
            # Only now: edges of one point do not cross.
            for end in own:
                insort(ends, end)
    return total


class _Neighbors:
    """Point to its neighbors in the layers above and below."""

    def __init__(self, chains: Iterable[Sequence[_Point]]) -> None:
        self.above: defaultdict[_Point, list[_Point]] = defaultdict(list)
        self.below: defaultdict[_Point, list[_Point]] = defaultdict(list)
        for chain in chains:
            for start, end in pairwise(chain):
                self.below[start].append(end)
                self.above[end].append(start)


def _layer(point: _Point, layer_of: dict[str, int]) -> int:
    if isinstance(point, str):
        return layer_of[point]
    _, _, layer = point
    return layer


def _chains(
    edges: Sequence[Edge], layer_of: dict[str, int]
) -> dict[Edge, tuple[_Point, ...]]:
    """Return edge to its ends and its points in the layers between them."""
    lengths = [layer_of[end] - layer_of[start] - 1 for start, end in edges]
    have_points = sum(lengths) <= _MOST_POINTS
    chains: dict[Edge, tuple[_Point, ...]] = {}
    for start, end in edges:
        between: list[_Point] = []
        if have_points:
            crossed = range(layer_of[start] + 1, layer_of[end])
            between = [(start, end, layer) for layer in crossed]
        chains[start, end] = (start, *between, end)
    return chains


def _in_layers(
    layer_of: dict[str, int], chains: dict[Edge, tuple[_Point, ...]]
) -> list[list[_Point]]:
    layers: list[list[_Point]] = [
        [] for _ in range(max(layer_of.values(), default=-1) + 1)
    ]
    for node, layer in layer_of.items():
        layers[layer].append(node)
    for chain in chains.values():
        for point in chain[1:-1]:
            layers[_layer(point, layer_of)].append(point)
    return layers


def _ordered(layers: list[list[_Point]], neighbors: _Neighbors) -> list[list[_Point]]:
    """Return the layers in an order with few crossings.

    Every point goes to the mean rank of its neighbors, once with those above and once
    with those below; the best order that came up is the one returned.
    """
    best, fewest = layers, _crossings_between(layers, neighbors)
    for sweep in range(_N_SWEEPS):
        if not fewest:
            break
        # A copy: the best order so far must stay as it is.
        layers = [list(layer) for layer in layers]
        # Down and up in turn; the layer that was passed before stays fixed.
        if sweep % 2 == 0:
            numbers, step, near = range(1, len(layers)), -1, neighbors.above
        else:
            numbers, step, near = range(len(layers) - 2, -1, -1), 1, neighbors.below
        for number in numbers:
            fixed = layers[number + step]
            layers[number] = _by_mean_rank(layers[number], fixed, near)
        crossings = _crossings_between(layers, neighbors)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _crossings_between(layers: list[list[_Point]], neighbors: _Neighbors) -> int:
    # Edges that go straight over several layers do not count.
    places = {point: number for number, layer in enumerate(layers) for point in layer}
    short = _Neighbors([])
    for start, ends in neighbors.below.items():
        short.below[start] = [end for end in ends if places[end] == places[start] + 1]
    return n_crossings(layers, short)


def _by_mean_rank(
    layer: list[_Point],
    fixed: list[_Point],
    near: dict[_Point, list[_Point]],
) -> list[_Point]:
    rank = {point: number for number, point in enumerate(fixed)}
    wanted: dict[_Point, float] = {}
    for number, point in enumerate(layer):
        ranks = [rank[other] for other in near[point] if other in rank]
        # A point without neighbors there keeps its place.
        wanted[point] = sum(ranks) / len(ranks) if ranks else float(number)
    return sorted(layer, key=wanted.__getitem__)


def _offsets(layers: list[list[_Point]], neighbors: _Neighbors) -> dict[_Point, float]:
    """Return point to place across the layers, so that edges are straight."""
    offsets: dict[_Point, float] = {}
    for layer in layers:
        for point, offset in zip(layer, _packed(layer), strict=True):
            offsets[point] = offset
    for pull in range(_N_PULLS):
        if pull % 2 == 0:
            in_order, near = layers, neighbors.above
        else:
            in_order, near = layers[::-1], neighbors.below
        for layer in in_order:
            wanted = []
            for point in layer:
                # In the middle of its neighbors; without any, it stays.
                own = [offsets[other] for other in near[point]] or [offsets[point]]
                wanted.append(sum(own) / len(own))
            for point, offset in zip(layer, spread(layer, wanted), strict=True):
                offsets[point] = offset
    # The left edge of the leftmost point is 0.
    first = min((offsets[point] - _half(point) for point in offsets), default=0.0)
    return {point: offset - first for point, offset in offsets.items()}


def _half(point: _Point) -> float:
    """Return half of the width of a point: 0.5 for a node."""
    if isinstance(point, str):
        return 0.5
    return _GAP / 2


def _packed(layer: Sequence[_Point]) -> list[float]:
    """Return offsets without a gap: the smallest that keep the distances."""
    offsets: list[float] = []
    end = 0.0
    for point in layer:
        offsets.append(end + _half(point))
        end += 2 * _half(point)
    return offsets


def spread(layer: Sequence[_Point], wanted: Sequence[float]) -> list[float]:
    """Return offsets close to the wanted ones that keep order and distances.

    The sum of the squared differences is as small as it can be. (This is isotonic
    regression by pooling adjacent violators.)
    """
    packed = _packed(layer)
    # Pairs of the mean of the wanted shifts of a block, and the number of its points.
    blocks: list[tuple[float, int]] = []
    for target, start in zip(wanted, packed, strict=True):
        # With the packed offsets subtracted, only the order is left to keep.
        mean, number = target - start, 1
        # Points that want to pass one another get one shift together.
        while blocks and blocks[-1][0] > mean:
            before, n_before = blocks.pop()
            mean = (mean * number + before * n_before) / (number + n_before)
            number += n_before
        blocks.append((mean, number))
    shifts = [mean for mean, number in blocks for _ in range(number)]
    return [shift + start for shift, start in zip(shifts, packed, strict=True)]
