"""Pages and tables as HTML: one file, no network, no framework.

Everything that a user named or wrote is escaped. A page has a policy of its own that
lets the browser load nothing and run nothing but the one script in it.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from prefect_ds.pages.drawing import HEIGHT, WIDTH, draw
from prefect_ds.pages.page import Page, sections_of, shares_of, totals

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_BYTES = 1_650_000
"""Of the rows of a page: with the rest of it, a page stays below 2 MB."""

_MOST_BYTES_IN_NOTEBOOK = 60_000
"""Of the rows of a page in a notebook, which stores every output in its file."""

MOST_ROWS = 1000
"""Of a table in a notebook."""


def render_page(page: Page) -> str:
    """Return a page as a whole HTML document."""
    environment = _environment()
    script = _source("page.js")
    # The page's policy names its one script by this digest; no other one runs.
    digest = hashlib.sha256(script.encode()).digest()
    now = datetime.datetime.now(datetime.UTC)
    return environment.get_template("page.html.j2").render(
        _values(page, MOST_BYTES),
        script=script,
        script_digest=base64.b64encode(digest).decode(),
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
        version=_version(),
    )


def render_fragment(page: Page) -> str:
    """Return a page as the HTML that a notebook shows below a cell."""
    template = _environment().get_template("fragment.html.j2")
    return template.render(_values(page, _MOST_BYTES_IN_NOTEBOOK))


def render_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    lines: Sequence[str] = (),
    numbers: Collection[str] = (),
    how: str | None = None,
    n_rows: int | None = None,
) -> str:
    """Return a table as the HTML that a notebook shows below a cell.

    Parameters
    ----------
    headers
        Names of the columns.
    rows
        Their cells, as text or as anything that ``str`` makes text of; ``None`` is an
        empty cell. Beyond 1,000 rows the table says how many are left out.
    title
        Shown above.
    lines
        Sentences shown below.
    numbers
        Headers of the columns that are aligned at the right.
    how
        Header of a column with words such as "loaded" or "failed", which get colors.
    n_rows
        How many rows there are, if ``rows`` has not all of them.
    """
    template = _environment().get_template("table.html.j2")
    # `None` would be the word "None" in the page.
    shown = [["" if cell is None else cell for cell in row] for row in rows[:MOST_ROWS]]
    return template.render(
        headers=headers,
        rows=shown,
        n_left_out=(n_rows or len(rows)) - len(shown),
        title=title,
        lines=lines,
        right=[header in numbers for header in headers],
        tinted=[header == how for header in headers],
        style=_source("style.css"),
    )


def _values(page: Page, most_bytes: int) -> dict[str, object]:
    """Return the values that the templates lay out."""
    # Slugs may have any character; the name of a place in a page may not.
    anchors = {step.key: f"task-{number}" for number, step in enumerate(page.steps)}
    return {
        "page": page,
        "anchors": anchors,
        "drawing": draw(page.graph),
        "sections": sections_of(page, most_bytes),
        "totals": shares_of(totals(page)),
        "width": WIDTH,
        "height": HEIGHT,
        "style": _source("style.css"),
    }


@functools.cache
def _environment() -> Environment:
    # Not with the package: most runs make no page.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from prefect_ds.pages.tones import tone_of

    environment = Environment(
        loader=PackageLoader("prefect_ds.pages"),
        # A task's name may be `<script>`.
        autoescape=True,
        # A misspelt name is an error, and no gap in the page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tone"] = tone_of
    return environment


@functools.cache
def _source(name: str) -> str:
    """Return a file beside the templates as it is."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _version() -> str:
    try:
        return version("prefect_ds")
    except PackageNotFoundError:
        # Run from its sources, without an installation.
        return ""
