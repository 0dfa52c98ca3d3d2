"""Progress bars on the terminal while a flow runs, one a task.

A bar counts the results that were loaded, computed and failed. Runs on the client;
:func:`ending` also runs on workers.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from prefect.engine.state import State

from prefect_ds.checkpoints.write_steps import WriteStep, listening
from prefect_ds.engine.notebooks import bar_class, grow, has_widgets, quiet_logs
from prefect_ds.engine.outcomes import outcome_of

_REST = len(" |#| 00:00<00:00")
"""Columns behind the counts: a short bar, and the time."""


def wanted(progress: bool | None) -> bool:
    """Return whether to show progress.

    If the caller does not say, it is shown on a terminal, if tqdm is installed, and in
    a notebook, if ipywidgets is there as well.

    Raises
    ------
    ImportError
        Progress was asked for, and tqdm is not installed.
    """
    if progress is None and not (_is_terminal(sys.stderr) or has_widgets()):
        return False
    try:
        import tqdm  # noqa: F401
    except ImportError as error:
        if progress:
            raise ImportError(
                'progress=True needs tqdm: pip install "prefect_ds[progress]"'
            ) from error
        return False
    return (
        progress is not False
        and sys.stderr is not None
        and not getattr(sys.stderr, "closed", False)
    )


def ending(state: State) -> str:
    """Return how a task's run ended; ``later`` if it waits for a later round."""
    if not state.is_finished():
        return "later"
    return outcome_of(state)


class NoProgress:
    """Shows nothing."""

    is_shown = False

    def shown(self) -> contextlib.AbstractContextManager[None]:
        """Show nothing."""
        return contextlib.nullcontext()

    def submitted(self, task: str) -> None:
        """Count nothing."""

    def done(self, task: str, how: str) -> None:
        """Count nothing."""

    def writing(self, step: WriteStep) -> None:
        """Show nothing."""

    def settle(self, timeout_s: float = 0.0) -> None:
        """Wait for nothing."""


class Progress:
    """One bar per task of a run. Its methods may be called from any thread."""

    is_shown = True

    def __init__(self) -> None:
        # Remembered, since a task may replace `sys.stderr` for a while.
        self._stream = sys.stderr
        self._bars: dict[str, Any] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._writes: dict[str, dict[str, WriteStep]] = {}
        """The writes of many parts that go on, by task and path."""
        self._left = 0
        """Runs that were submitted and are not done."""
        self._lock = threading.Condition()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bars; log lines go above them."""
        heard = listening(self.writing)
        with quiet_logs(), _logs_above(self._stream), heard:
            try:
                yield
            finally:
                # With the log handlers still in place: a line of another thread must
                # not land in the last picture of the bars.
                with self._lock:
                    for task, bar in self._bars.items():
                        self._describe(task)
                        bar.close()

    def submitted(self, task: str) -> None:
        """Count a run of the task that is still to come."""
        with self._lock:
            if task in self._bars:
                grow(self._bars[task])
            else:
                self._counts[task] = Counter()
                self._bars[task] = bar_class()(
                    total=1,
                    file=self._stream,
                    position=len(self._bars),
                    dynamic_ncols=True,
                    bar_format="{desc} |{bar}| {elapsed}<{remaining}",
                )
            self._left += 1
            self._describe(task)
            self._bars[task].refresh()

    def done(self, task: str, how: str) -> None:
        """Count a run of the task that is done; ``how`` is from :func:`ending`."""
        with self._lock:
            if task not in self._bars:
                return
            self._left -= 1
            self._counts[task][how] += 1
            self._describe(task)
            self._bars[task].update()
            self._lock.notify_all()

    def writing(self, step: WriteStep) -> None:
        """Show how far a write of many parts is."""
        with self._lock:
            if step.task not in self._bars:
                return
            of_task = self._writes.setdefault(step.task, {})
            if step.is_over:
                of_task.pop(step.path, None)
            else:
                of_task[step.path] = step
            self._describe(step.task)
            self._bars[step.task].refresh()

    def settle(self, timeout_s: float = 2.0) -> None:
        """Wait until all runs are counted: events of a cluster follow its results."""
        with self._lock:
            self._lock.wait_for(lambda: self._left <= 0, timeout_s)

    def _describe(self, task: str) -> None:
        """Put the task and its counts before the bar: tqdm cuts a line on the right."""
        from tqdm.utils import disp_len

        bar, counts = self._bars[task], self._counts[task]
        outcomes = ", ".join(f"{how}={n}" for how, n in sorted(counts.items()))
        status = f": {counts.total()}/{bar.total} {outcomes}".rstrip()
        status += _parts(self._writes.get(task, {}).values())
        columns = bar.format_dict["ncols"] or 0
        # Else it is no terminal, or one that does not know its width.
        if columns > 0:
            room = columns - len(status)
            # Rather no bar than a name of less than eight columns.
            length = max(room - _REST, min(room, 8))
            # A Chinese character, say, takes two columns.
            if disp_len(task) > len(task):
                length //= 2
            task = _shortened(task, length)
        bar.set_description_str(task + status, refresh=False)


def _parts(writes: Collection[WriteStep]) -> str:
    """Return how many partitions are written of all that some writes have."""
    if not writes:
        return ""
    n_there = sum(step.n_taken_over for step in writes)
    n_done = n_there + sum(step.n_written for step in writes)
    words = f" [partitions {n_done}/{sum(step.n_partitions for step in writes)}"
    if n_there:
        words += f", {n_there} were there"
    return f"{words}]"


def _shortened(name: str, length: int) -> str:
    """Return a name cut in its middle, as names that begin alike end differently."""
    if len(name) <= length:
        return name
    n_end = max(length - 1, 0) // 2
    n_begin = max(length - 1, 0) - n_end
    return f"{name[:n_begin]}…{name[len(name) - n_end :]}"


class _Above:
    """The stream of a log handler while bars are shown; its lines go above them.

    Parameters
    ----------
    stream
        The handler's own.
    bars
        The stream that the bars are on.
    """

    def __init__(self, stream: Any, bars: Any) -> None:
        self.stream = stream
        self._bars = bars

    def write(self, text: str) -> None:
        """Write to the handler's own stream, with the bars out of the way."""
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self._bars):
            self.stream.write(text)
            if hasattr(self.stream, "flush"):
                self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _logs_above(bars: Any) -> Iterator[None]:
    """Make log handlers that write where the bars are write above them."""
    # Not tqdm's logging_redirect_tqdm: it puts one handler, without a level, in place
    # of all and where there was none.
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {
        handler for logger in loggers for handler in getattr(logger, "handlers", ())
    }
    replaced: dict[logging.StreamHandler[Any], _Above] = {}
    for handler in handlers:
        # Not a stream that is a property: such a handler looks it up for every line.
        stream = vars(handler).get("stream")
        if isinstance(handler, logging.StreamHandler) and _are_together(stream, bars):
            handler.stream = replaced[handler] = _Above(stream, bars)
    try:
        yield
    finally:
        for handler, above in replaced.items():
            # A task may have put another stream there meanwhile.
            if handler.stream is above:
                handler.stream = above.stream


def _are_together(stream: Any, bars: Any) -> bool:
    return stream is bars or (_is_terminal(stream) and _is_terminal(bars))


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; a closed one, or ``None``, is not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
