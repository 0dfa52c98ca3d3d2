"""The result that takes the place of one that was let go during a run."""

from __future__ import annotations

from prefect.engine.result import Result


class PurgedResult(Result):
    """The result of a task whose value was let go: no task needed it any more.

    A run leaves it in a task's state where ``flow.run(keep_results=...)`` asks for it.
    """

    def __init__(self) -> None:
        super().__init__(value=None)

    def __repr__(self) -> str:
        return "<PurgedResult>"
