"""The base of what has a page: a run that is over, or the plan of the next one."""

from __future__ import annotations

import abc
import os

from prefect_ds.pages.graph import to_dot, to_mermaid
from prefect_ds.pages.page import Page
from prefect_ds.pages.rendering import render_fragment, render_page
from prefect_ds.pages.writing import write_page


class Paged(abc.ABC):
    """Has a page for a browser, a part of one for notebooks, and a graph as text."""

    # Some of the classes below have slots, which a base without them would undo.
    __slots__ = ()

    flow: str

    @abc.abstractmethod
    def _page(self) -> Page:
        """Return what the page shows, as values."""

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write it as a page: one file, which a browser opens anywhere.

        Parameters
        ----------
        path
            Of the file, or a URL that fsspec knows; a file that is there is replaced.
        """
        write_page(render_page(self._page()), path)

    def to_dot(self) -> str:
        """Return the flow with its counts in the language of Graphviz."""
        return to_dot(self._page().graph, self.flow)

    def to_mermaid(self) -> str:
        """Return the flow with its counts in the language of Mermaid."""
        return to_mermaid(self._page().graph)

    def _repr_html_(self) -> str:
        return render_fragment(self._page())
