"""What the user sees while a flow runs."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import prefect
import pytest
from prefect import Flow, task, unmapped
from prefect.engine import signals
from prefect.engine.state import State
from prefect.executors import LocalDaskExecutor
from tqdm.utils import disp_len

from prefect_ds import DSTaskRunner, PandasResultHandler
from tests.support.flows import asks_to_be_retried, late


class Terminal:
    """A pseudo-terminal of some width, and what was written to it."""

    def __init__(self, columns: int) -> None:
        self._reading, writing = os.openpty()
        termios.tcsetwinsize(writing, (24, columns))
        self.stream = open(writing, "w", encoding="utf-8")  # noqa: SIM115 - closed in end()
        self._written = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while read := os.read(self._reading, 4096):
                self._written += read
        except OSError:
            pass  # Linux says so when nobody has it open for writing any more.

    def end(self) -> list[str]:
        """Close the terminal, and return all that ever stood in one of its lines, from the line's begin."""
        self.stream.close()
        self._thread.join()
        return [
            each.rstrip() for each in re.split(r"\r|\n|\x1b\[A", self._written.decode())
        ]

    def close(self) -> None:
        self.end()
        os.close(self._reading)


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    """Makes a terminal and puts it in place of stdout and stderr."""
    opened: list[Terminal] = []

    def open_terminal(columns: int = 80) -> Terminal:
        opened.append(Terminal(columns))
        monkeypatch.setattr(sys, "stdout", opened[-1].stream)
        monkeypatch.setattr(sys, "stderr", opened[-1].stream)
        return opened[-1]

    yield open_terminal
    monkeypatch.undo()
    for each in opened:
        each.close()


@task
def double(number: int) -> int:
    return 2 * number


class Tee:
    """What notebooks, servers and test tools put in the place of stderr: it can write, and no more."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize(
    "make",
    [lambda: None, _closed, Tee, io.StringIO],
    ids=["None", "closed", "tee", "StringIO"],
)
def test_a_flow_runs_whatever_stderr_is(
    run_here: Callable[..., State],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Any],
    progress: bool | None,
) -> None:
    with Flow("any stderr") as flow:
        double.map([1, 2])
    monkeypatch.setattr(sys, "stderr", make())
    assert run_here(flow, progress=progress).is_successful()


@pytest.mark.parametrize(("progress", "is_shown"), [(None, False), (True, True)])
def test_a_stderr_that_can_only_write_is_no_terminal_and_shows_progress_on_request(
    run_here: Callable[..., State],
    monkeypatch: pytest.MonkeyPatch,
    progress: bool | None,
    is_shown: bool,
) -> None:
    with Flow("tee") as flow:
        double.map([1, 2])
    tee = Tee()
    monkeypatch.setattr(sys, "stderr", tee)
    run_here(flow, progress=progress)
    assert ("double-1: 2/2 ran=2" in tee.written) is is_shown


def test_progress_shows_on_a_terminal_unless_asked_otherwise(
    run_here: Callable[..., State], open_terminal: Callable[..., Terminal]
) -> None:
    with Flow("terminal") as flow:
        double.map([1, 2])
    for progress, is_shown in ((None, True), (False, False)):
        terminal = open_terminal()
        run_here(flow, progress=progress)
        assert any("double-1: 2/2 ran=2" in line for line in terminal.end()) is is_shown


def test_a_stderr_that_a_task_puts_there_gets_no_bars(
    run_here: Callable[..., State], open_terminal: Callable[..., Terminal]
) -> None:
    other = io.StringIO()

    @task
    def redirects() -> None:
        sys.stderr = other

    with Flow("redirects") as flow:
        double.map([1, 2], upstream_tasks=[unmapped(redirects())])
    terminal = open_terminal()
    run_here(flow)
    assert not other.getvalue()
    assert any("double-1: 2/2 ran=2" in line for line in terminal.end())


@pytest.mark.parametrize(
    "retried", [late, asks_to_be_retried], ids=lambda each: each.name
)
def test_each_round_counts_what_ended_in_it(
    run: Callable[..., State],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    retried: prefect.Task,
) -> None:
    (tmp_path / "1").touch()  # Two of three pass the first time.
    (tmp_path / "2").touch()
    with Flow("rounds") as flow:
        numbers = retried.map(folder=unmapped(str(tmp_path)), number=[1, 2, 3])
        double.map(numbers)
    state = run(flow, progress=True)
    assert state.is_successful()
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    for name in (flow.slugs[numbers], "double-1"):
        # A bar is shown once more when its round is over. That the first is complete
        # says that all of it was told: on a cluster, the client waits for no more.
        last = [each for each in lines if each.startswith(f"{name}: ")]
        told = [re.search(r": (\d+)/(\d+) (.*?) \|", each) for each in last]
        found = [(int(each[1]), int(each[2]), each[3]) for each in told if each]
        assert (3, 3, "later=1, ran=2") in found
        assert found[-1] == (1, 1, "ran=1")
        assert not any("ran=3" in counts for _, _, counts in found)


def test_a_task_that_waits_for_one_to_be_retried_is_left_for_later(
    run: Callable[..., State], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Flow("waits") as flow:
        double(late(str(tmp_path)))
    assert run(flow, progress=True).is_successful()
    shown = capsys.readouterr().err
    for name in ("late-1", "double-1"):
        assert shown.index(f"{name}: 1/1 later=1") < shown.index(f"{name}: 1/1 ran=1")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize(
    "name", ["a_very_long_task_name_" * 4, "昨日の売上を読み込む" * 5, "short"]
)
def test_the_counts_are_seen_on_every_terminal(
    run_here: Callable[..., State],
    open_terminal: Callable[..., Terminal],
    tmp_path: Path,
    name: str,
    columns: int,
) -> None:
    @task(name=name, result=PandasResultHandler(f"{tmp_path}/{{number}}.csv", "csv"))
    def load(number: int) -> pd.DataFrame:
        if number == 3:
            raise ValueError("no such number")
        return pd.DataFrame({"number": [number]})

    load.result.write(pd.DataFrame({"number": [1]}), number=1)
    with Flow("narrow") as flow:
        loaded = load.map([1, 2, 3])
    terminal = open_terminal(columns)
    run_here(flow)
    counts = ": 3/3 failed=1, loaded=1, ran=1"
    lines = [each for each in terminal.end() if counts in each]
    assert lines
    for line in lines:
        assert disp_len(line) < columns
        shown, slug = line.partition(counts)[0], flow.slugs[loaded]
        begin, end = shown.split("…") if "…" in shown else (slug, slug)
        assert slug.startswith(begin)
        assert slug.endswith(end)
        assert "…" in shown or shown == slug
        assert name == "short" or columns == 200 or "…" in shown


@pytest.fixture
def set_handlers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives Prefect's logger these handlers and no others."""

    def set_handlers(*handlers: logging.Handler) -> None:
        monkeypatch.setattr(logging.getLogger("prefect"), "handlers", list(handlers))

    return set_handlers


def _handler(
    stream: Any, text: str = "%(message)s", level: int = 0, without: str = ""
) -> logging.StreamHandler[Any]:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(text))
    handler.setLevel(level)
    if without:
        handler.addFilter(lambda record: without not in record.getMessage())
    return handler


@task
def talks(number: int) -> None:
    prefect.context.logger.info("number %d: an info", number)
    prefect.context.logger.warning("number %d: a warning", number)


def _talking() -> Flow:
    with Flow("talks") as flow:
        talks.map([1, 2])
    return flow


def _said(lines: list[str]) -> list[str]:
    return sorted(each for each in lines if "number" in each)


INFOS = ["number 1: an info", "number 2: an info"]
WARNINGS = ["number 1: a warning", "number 2: a warning"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda stream: [_handler(stream)], INFOS + WARNINGS),
        (lambda stream: [_handler(stream, level=logging.WARNING)], WARNINGS),
        (lambda stream: [_handler(stream, without="1: an info")], INFOS[1:] + WARNINGS),
        (
            lambda stream: [
                _handler(stream, "A %(message)s"),
                _handler(stream, "B %(message)s", logging.WARNING),
            ],
            [f"A {each}" for each in INFOS + WARNINGS]
            + [f"B {each}" for each in WARNINGS],
        ),
        (lambda stream: [_handler(io.StringIO())], []),
        (lambda stream: [logging.NullHandler()], []),
    ],
    ids=["all", "level", "filter", "two", "elsewhere", "none"],
)
@pytest.mark.parametrize("progress", [True, False])
def test_the_terminal_shows_the_lines_that_the_users_handlers_show(
    run_here: Callable[..., State],
    open_terminal: Callable[..., Terminal],
    set_handlers: Callable[..., None],
    make: Callable[[Any], list[logging.Handler]],
    expected: list[str],
    progress: bool,
) -> None:
    terminal = open_terminal()
    set_handlers(*make(terminal.stream))
    for executor in (None, LocalDaskExecutor("threads", num_workers=2)):
        run_here(
            _talking(),
            progress=progress,
            **({"executor": executor} if executor else {}),
        )
    lines = terminal.end()
    # Each is all that stands in its line, so no bar does.
    assert _said(lines) == sorted(2 * expected)
    assert any(each.startswith("talks-1: 2/2 ran=2") for each in lines) is progress


def test_the_lines_of_handlers_on_other_loggers_go_above_the_bars_too(
    run_here: Callable[..., State],
    open_terminal: Callable[..., Terminal],
    set_handlers: Callable[..., None],
) -> None:
    terminal = open_terminal()
    set_handlers()
    own = logging.getLogger("tests.progress.own")

    @task
    def talks_itself(number: int) -> None:
        own.warning("number %d: my own", number)

    with Flow("own logger") as flow:
        talks_itself.map([1, 2])
        talks.map([3])
    on_root, on_own = (
        _handler(terminal.stream, "root %(message)s", logging.WARNING),
        _handler(terminal.stream),
    )
    logging.getLogger().addHandler(on_root)
    own.addHandler(on_own)
    try:
        run_here(flow)
    finally:
        logging.getLogger().removeHandler(on_root)
        own.removeHandler(on_own)
    mine = ["number 1: my own", "number 2: my own"]
    assert _said(terminal.end()) == sorted(
        [*mine, *[f"root {each}" for each in mine], "root number 3: a warning"]
    )


def test_a_log_file_gets_its_lines_and_the_terminal_none(
    run_here: Callable[..., State],
    open_terminal: Callable[..., Terminal],
    set_handlers: Callable[..., None],
    tmp_path: Path,
) -> None:
    terminal = open_terminal()
    handler = logging.FileHandler(tmp_path / "run.log")
    set_handlers(handler)
    run_here(_talking())
    handler.close()
    assert _said((tmp_path / "run.log").read_text().splitlines()) == sorted(
        INFOS + WARNINGS
    )
    assert _said(terminal.end()) == []


def test_the_users_handlers_have_their_streams_back_after_a_run(
    run_here: Callable[..., State],
    open_terminal: Callable[..., Terminal],
    set_handlers: Callable[..., None],
) -> None:
    terminal, elsewhere = open_terminal(), io.StringIO()
    kept, moved = _handler(terminal.stream), _handler(terminal.stream)

    @task
    def moves_one_and_is_stopped() -> None:
        moved.setStream(elsewhere)
        raise KeyboardInterrupt

    set_handlers(kept, moved)
    logging.getLogger("prefect.same").addHandler(
        kept
    )  # One handler may serve two loggers.
    with Flow("stopped") as flow:
        moves_one_and_is_stopped()
    try:
        with pytest.raises(KeyboardInterrupt):
            flow.run(task_runner_cls=DSTaskRunner)
    finally:
        logging.getLogger("prefect.same").removeHandler(kept)
    assert kept.stream is terminal.stream
    assert moved.stream is elsewhere


def test_a_task_that_pauses_is_left_for_later(
    run: Callable[..., State],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @task(name="pauses")
    def pauses(folder: str) -> None:
        if not list(Path(folder).iterdir()):
            (Path(folder) / "paused").touch()
            raise signals.PAUSE("somebody is to look")

    with Flow("paused") as flow:
        pauses(str(tmp_path))
    monkeypatch.setattr(
        sys, "stdin", io.StringIO("y\n")
    )  # Prefect asks whether to go on.
    assert run(flow, progress=True).is_successful()
    shown = capsys.readouterr().err
    assert shown.index("pauses-1: 1/1 later=1") < shown.index("pauses-1: 1/1 ran=1")
