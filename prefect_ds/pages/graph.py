"""A flow as a graph of nodes with counts, and as text for other tools."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ds.pages.layers import Edge, layers_of

MOST_NODES = 150
"""In a drawing that a person can read."""

_MOST_REASONS = 6
"""Of a node that several tasks became."""


@dataclass(frozen=True, slots=True)
class Node:
    """One task of a flow."""

    key: str
    """Its slug: unique in the flow, where a name is not."""
    name: str
    counts: tuple[tuple[str, int], ...]
    """How many of its runs were loaded, ran and so on."""
    reasons: tuple[str, ...] = ()
    """Lines shown when the pointer is on it."""
    n_tasks: int = 1
    """How many tasks of one name the node is, in a graph that was folded."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The tasks of a flow and the edges between them, by key."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def folded(graph: Graph, most: int = MOST_NODES) -> Graph:
    """Return a graph that fits a page: tasks of one name in one layer become one node.

    A Python loop that adds a task for every file makes such flows. A graph
    with few nodes comes back itself.
    """
    if len(graph.nodes) <= most:
        return graph
    layer_of = layers_of([node.key for node in graph.nodes], graph.edges)
    # By layer too: no edge joins two nodes of one layer, so that none becomes a loop.
    groups: dict[tuple[str, int], list[Node]] = {}
    for node in graph.nodes:
        groups.setdefault((node.name, layer_of[node.key]), []).append(node)
    new_key = {node.key: group[0].key for group in groups.values() for node in group}
    # A dict keeps the order, and equal edges once.
    edges = dict.fromkeys((new_key[start], new_key[end]) for start, end in graph.edges)
    return Graph(tuple(_joined(group) for group in groups.values()), tuple(edges))


def _joined(nodes: Sequence[Node]) -> Node:
    counts = Counter[str]()
    for node in nodes:
        counts.update(dict(node.counts))
    reasons = dict.fromkeys(reason for node in nodes for reason in node.reasons)
    first = nodes[0]
    return Node(
        key=first.key,
        name=first.name,
        counts=tuple(counts.items()),
        reasons=tuple(reasons)[:_MOST_REASONS],
        n_tasks=len(nodes),
    )


def to_dot(graph: Graph, name: str) -> str:
    """Return a graph in the language of Graphviz."""
    ids = _ids(graph)
    lines = [f"digraph {_dot_text(name)} {{", "  rankdir=LR;", "  node [shape=box];"]
    for node in graph.nodes:
        label = _dot_text(f"{node.name}\n{counts_in_words(node.counts)}")
        lines.append(f"  {ids[node.key]} [label={label}];")
    lines += [f"  {ids[start]} -> {ids[end]};" for start, end in graph.edges]
    return "\n".join([*lines, "}", ""])


def to_mermaid(graph: Graph) -> str:
    """Return a graph in the language of Mermaid, which GitHub and GitLab draw."""
    ids = _ids(graph)
    lines = ["flowchart LR"]
    for node in graph.nodes:
        name = _mermaid_text(node.name)
        counts = _mermaid_text(counts_in_words(node.counts))
        lines.append(f'  {ids[node.key]}["{name}<br/>{counts}"]')
    lines += [f"  {ids[start]} --> {ids[end]}" for start, end in graph.edges]
    return "\n".join([*lines, ""])


def counts_in_words(counts: Sequence[tuple[str, int]]) -> str:
    """Return ``3 loaded, 1 failed``; there is room for short words only."""
    words = ", ".join(f"{number:,} {how}" for how, number in counts if number)
    return words.replace("loaded (maybe)", "maybe")


def _ids(graph: Graph) -> dict[str, str]:
    # Slugs may have any character, and a word such as `end` has a meaning of its own.
    return {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mermaid_text(text: str) -> str:
    """Return text in which nothing is markup; Mermaid has entities of its own.

    >>> _mermaid_text('read "all"')
    'read #34;all#34;'
    """
    return re.sub(r"[^\w .,:/()+-]", lambda match: f"#{ord(match[0])};", text)
