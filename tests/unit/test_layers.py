"""Where the nodes and edges of a drawn flow go."""

import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ds.engine import messages
from prefect_ds.pages import layers, page
from prefect_ds.pages.drawing import WIDTH, draw, shortened
from prefect_ds.pages.graph import Graph, Node, folded, to_dot, to_mermaid
from prefect_ds.pages.layers import layered, layers_of, spread


@st.composite
def graphs(draw):
    """Names and edges without a cycle."""
    n_nodes = draw(st.integers(0, 14))
    nodes = [f"n{number}" for number in range(n_nodes)]
    pairs = [(start, end) for end in range(n_nodes) for start in range(end)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else []
    order = draw(st.permutations(nodes))
    return order, [(nodes[start], nodes[end]) for start, end in chosen]


@given(graphs())
def test_edges_lead_to_higher_layers_and_no_two_nodes_overlap(graph):
    nodes, edges = graph
    layout = layered(nodes, edges)
    assert layout.places.keys() == set(nodes)
    assert layout.routes.keys() == set(edges)
    for (start, end), route in layout.routes.items():
        assert route[0] == layout.places[start]
        assert route[-1] == layout.places[end]
        layers = [place.layer for place in route]
        assert layers == list(range(layers[0], layers[-1] + 1)), "a point a layer"
        assert len(layers) >= 2
    layers = {}
    for place in layout.places.values():
        layers.setdefault(place.layer, []).append(place.offset)
        assert 0 <= place.layer < layout.n_layers
        assert 0.499 < place.offset < layout.breadth - 0.499
    for offsets in layers.values():
        gaps = [after - before for before, after in pairwise(sorted(offsets))]
        assert all(gap > 0.999 for gap in gaps), gaps


def test_a_graph_is_drawn_the_same_way_every_time():
    nodes = [f"n{number}" for number in range(20)]
    edges = [
        (f"n{number}", f"n{number + step}") for number in range(12) for step in (3, 8)
    ]
    assert layered(nodes, edges) == layered(nodes, edges)


def test_a_source_is_drawn_close_to_the_node_that_takes_it():
    edges = [("read", "clean"), ("clean", "join"), ("planes", "join"), ("join", "sum")]
    layers = layers_of(["read", "planes", "clean", "join", "sum"], edges)
    assert layers == {"read": 0, "planes": 1, "clean": 1, "join": 2, "sum": 3}


def test_a_chain_is_straight_and_crossings_that_need_not_be_are_gone():
    chain = [f"n{number}" for number in range(12)]
    layout = layered([*chain, "a", "b"], [*pairwise(chain), ("a", "n1"), ("b", "n1")])
    assert len({round(layout.places[name].offset, 6) for name in chain[1:]}) == 1
    # a2 and b2 are named in the order that would make both edges cross.
    layout = layered(["a", "b", "b2", "a2"], [("a", "a2"), ("b", "b2")])
    assert layout.places["a"].offset == layout.places["a2"].offset
    assert layout.places["b"].offset == layout.places["b2"].offset


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([("a", "b"), ("b", "a")], "cycle"),
        ([("a", "c")], "'a' -> 'c' leads to no node"),
    ],
)
def test_a_cycle_and_an_unknown_node_are_refused(edges, said):
    with pytest.raises(ValueError, match=said):
        layered(["a", "b"], edges)


@given(st.lists(st.floats(-20, 20), max_size=12))
def test_points_are_spread_in_order_and_no_further_than_needed(wanted):
    names = [f"n{number}" for number in range(len(wanted))]
    offsets = spread(names, wanted)
    assert all(after - before > 0.999 for before, after in pairwise(offsets))
    far_enough = all(after - before >= 1 for before, after in pairwise(wanted))
    if far_enough:
        assert offsets == pytest.approx(wanted)
    # As a whole they are not shifted.
    assert sum(offsets) == pytest.approx(sum(wanted), abs=1e-6)


def node(key, name=None, **counts):
    return Node(key, name or key, tuple(counts.items()))


def test_many_tasks_of_one_name_become_one_box():
    nodes = [node(f"read-{number}", "read", loaded=1) for number in range(200)]
    nodes.append(node("all-1", "all", ran=1))
    edges = tuple((f"read-{number}", "all-1") for number in range(200))
    graph = Graph(tuple(nodes), edges)
    assert folded(graph, most=500) is graph
    small = folded(graph)
    assert [(box.name, box.n_tasks) for box in small.nodes] == [
        ("read", 200),
        ("all", 1),
    ]
    assert small.nodes[0].counts == (("loaded", 200),)
    assert small.edges == (("read-0", "all-1"),)


def test_dot_and_mermaid_hold_any_name():
    name = 'say "no"\\; <b>[x]</b>\n#end'
    graph = Graph(
        (node("a-1", name, loaded=2, failed=1), node("end")), (("a-1", "end"),)
    )
    dot = to_dot(graph, 'my "flow"').splitlines()
    assert dot[0] == r'digraph "my \"flow\"" {'
    assert dot[3] == (
        r'  n0 [label="say \"no\"\\; <b>[x]</b>\n#end\n2 loaded, 1 failed"];'
    )
    assert dot[5:] == ["  n0 -> n1;", "}"]
    mermaid = to_mermaid(graph).splitlines()
    assert mermaid[0] == "flowchart LR"
    assert mermaid[1].endswith('<br/>2 loaded, 1 failed"]')
    label = mermaid[1].split('"')[1].partition("<br/>")[0]
    assert not set('"<>[]\n\\') & set(label)
    assert label.startswith("say #34;no#34;#92;#59; #60;b#62;")
    assert mermaid[-1] == "  n0 --> n1"


@pytest.mark.parametrize("module", [layers, page, messages], ids=lambda m: m.__name__)
def test_the_examples_in_docstrings_are_right(module):
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def test_a_drawing_goes_to_the_right_if_it_fits_the_page_else_down():
    row = [node(f"n{number}") for number in range(4)]
    to_right = draw(Graph(tuple(row), tuple(pairwise(box.key for box in row))))
    assert len({box.y for box in to_right.boxes}) == 1
    assert to_right.width < 1120
    chain = [node(f"n{number}") for number in range(30)]
    down = draw(Graph(tuple(chain), tuple(pairwise(box.key for box in chain))))
    assert len({box.x for box in down.boxes}) == 1
    assert down.width < 1120 < down.height
    assert all(0 <= box.y <= down.height for box in down.boxes)


def test_one_failure_among_thousands_is_seen_in_its_box():
    (box,) = draw(Graph((node("a", loaded=9_999, failed=1),), ())).boxes
    assert box.tone == "failed"
    assert [bar.tone for bar in box.bars] == ["failed", "loaded"]
    assert box.bars[0].width >= 3
    assert box.bars[-1].x + box.bars[-1].width == pytest.approx(WIDTH - 24, abs=0.2)
    assert box.counts == "1 failed, 9,999 loaded"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("short", "short"),
        ("download_of_all_stations_2013", "downlo…_2013"),
        ("数据下载与清洗步骤", "数据下…步骤"),
    ],
)
def test_a_long_name_keeps_its_beginning_and_its_end(name, shown):
    assert shortened(name, 12) == shown
