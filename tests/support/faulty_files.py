"""File systems that fail, die or wait at a chosen call, so that each fault and each race replays."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from prefect_ds.storage.filesystem import FileSystem

PRIMITIVES = (
    "status", "read_bytes", "read_hashed", "create", "put", "names", "sizes", "modified", "finish", "finish_folder", "place",
    "replace", "link", "move", "remove", "sync", "sync_tree",
)  # fmt: skip


class Killed(BaseException):
    """The process is dead: a BaseException, so that nothing handles it and tidies up."""


class WatchedFiles:
    """Passes each call to a primitive on, and lets ``before`` and ``after`` see it."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        primitive = getattr(self._files, name)
        return (
            functools.partial(self._call, name, primitive)
            if name in PRIMITIVES
            else primitive
        )

    def staging(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        return self._files.staging(path)

    def _call(self, name: str, primitive: Callable[..., Any], *args: Any) -> Any:
        self.calls.append((name, args))
        self.before(name, args)
        result = primitive(*args)
        self.after(name, args)
        return result

    def before(self, name: str, args: tuple[Any, ...]) -> None:
        """Called ahead of a primitive."""

    def after(self, name: str, args: tuple[Any, ...]) -> None:
        """Called when a primitive has answered."""


_abandoned: list[
    Any
] = []  # What a killed process had open: never closed by the garbage collector.


class FaultyFiles(WatchedFiles):
    """Fails at the ``fatal_call``-th call of a primitive, counted from 1.

    Parameters
    ----------
    files
        The real ones.
    fatal_call
        Which call; the call is not counted where ``only`` names other primitives.
    fault
        ``Killed`` or an error; what is raised.
    when
        ``"before"`` the call does anything, ``"after"`` all of it, or ``"halfway"``: a
        created file has half of its bytes, a removed folder half of its files.
    n_times
        How many calls in a row fail, ``None`` for each from then on. A killed process
        makes no call any more.
    only
        Names of the primitives that count.
    """

    def __init__(
        self,
        files: FileSystem,
        fatal_call: int,
        fault: BaseException,
        *,
        when: str = "before",
        n_times: int | None = 1,
        only: Sequence[str] = PRIMITIVES,
    ) -> None:
        super().__init__(files)
        self.fatal_call, self.fault, self.when, self.n_times, self.only = (
            fatal_call,
            fault,
            when,
            n_times,
            only,
        )
        self.n_calls = 0
        self.is_dead = False

    @property
    def happened(self) -> bool:
        """Whether the fatal call was reached."""
        return self.n_calls >= self.fatal_call

    @contextlib.contextmanager
    def staging(self, path: str) -> Iterator[IO[bytes]]:
        """As the real one, but a killed process leaves its staged file."""
        staging = self._files.staging(path)
        file = staging.__enter__()
        try:
            yield file
        except Killed:
            file.close()
            _abandoned.append(staging)
            raise
        except BaseException as error:
            if not staging.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            staging.__exit__(None, None, None)

    def before(self, name: str, args: tuple[Any, ...]) -> None:
        if self.is_dead:
            raise Killed
        self.n_calls += name in self.only
        if self.when != "after" and self._is_due(name):
            if self.when == "halfway" and name == "create":
                path, data = args
                self._files.create(path, data[: len(data) // 2])
            if self.when == "halfway" and name == "remove":
                names = sorted(self._files.sizes(args[0]))
                for below in names[: len(names) // 2]:
                    self._files.remove(f"{args[0]}/{below}")
            self._fail()

    def after(self, name: str, args: tuple[Any, ...]) -> None:
        if self.when == "after" and self._is_due(name):
            self._fail()

    def _is_due(self, name: str) -> bool:
        last = (
            float("inf") if self.n_times is None else self.fatal_call + self.n_times - 1
        )
        return name in self.only and self.fatal_call <= self.n_calls <= last

    def _fail(self) -> None:
        self.is_dead = isinstance(self.fault, Killed)
        raise self.fault


class Turns:
    """Runs several actions, of which one at a time goes on: from one call of a primitive to its next.

    Parameters
    ----------
    order
        Numbers of the actions, in the order of their turns. A turn of an action that
        has ended is skipped; actions that have not ended after the last turn are run to
        their end, the first one first.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self.order = order
        self._may_go: dict[int, threading.Semaphore] = {}
        self._stopped = threading.Semaphore(0)

    def files(self, number: int, files: FileSystem) -> FileSystem:
        """Return the file system as the action with this number sees it: each call waits for its turn."""
        stepped = WatchedFiles(files)
        stepped.before = lambda name, args: self._wait(number)  # type: ignore[method-assign]
        return stepped

    def run(self, *actions: Callable[[], Any]) -> tuple[list[Any], list[int]]:
        """Return what each action returned or raised, and how many turns each took."""
        outcomes: list[Any] = [None] * len(actions)
        ended = [False] * len(actions)
        n_turns = [0] * len(actions)

        def act(number: int) -> None:
            try:
                self._may_go[number].acquire()
                outcomes[number] = actions[number]()
            except BaseException as error:  # noqa: BLE001 - the outcome of the action
                outcomes[number] = error
            ended[number] = True
            self._stopped.release()

        self._may_go = {
            number: threading.Semaphore(0) for number in range(len(actions))
        }
        threads = [
            threading.Thread(target=act, args=(number,), daemon=True)
            for number in range(len(actions))
        ]
        for thread in threads:
            thread.start()

        def turn(number: int) -> None:
            if not ended[number]:
                n_turns[number] += 1
                assert n_turns[number] < 500, f"action {number} never ends"
                self._may_go[number].release()
                assert self._stopped.acquire(timeout=300), f"action {number} hangs"

        for number in range(len(actions)):
            turn(number)  # Up to the first call, which nobody sees.
        for number in self.order:
            turn(number)
        for number in range(len(actions)):
            while not ended[number]:
                turn(number)
        for thread in threads:
            thread.join()
        return outcomes, n_turns

    def _wait(self, number: int) -> None:
        self._stopped.release()
        self._may_go[number].acquire()
