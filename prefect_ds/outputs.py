"""Several results of one task, each kept by a handler of its own."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from prefect_ds.checkpoints.draft import ANOTHER_WAS_FIRST, Draft, Kept
from prefect_ds.checkpoints.not_there import replaced
from prefect_ds.checkpoints.output_paths import JointTemplate, list_beside
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.errors import (
    CheckpointNotFoundError,
    PrefectDSError,
    ResultTypeError,
)
from prefect_ds.output_checks import (
    are_there,
    check_files,
    check_handler,
    check_paths,
    checked_values,
)
from prefect_ds.output_list import (
    in_order,
    joined,
    joint_reference,
    kept_files_last,
    listed_contents,
    staged_list,
    why_not_all,
)
from prefect_ds.path_template import PathTemplate
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.commit import ANY_ATTEMPT
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest, Origin
from prefect_ds.storage.retries import with_retries

_MOST_TRIES = 6


class Outputs(ResultHandler):
    """Keeps several results of one task, each in a file or folder of its own.

    The task returns a dict with the names of the outputs, or, where they have no names,
    a tuple or list. The result counts if all outputs are there and are of one run of
    the task; otherwise the task runs, and all are written again.

    A task that takes one output, as in ``report(out["model"])``, reads the file of that
    output alone.

    Parameters
    ----------
    *handlers
        The handlers of a tuple or list, in its order.
    **named
        The handlers of a dict, by key.

    Raises
    ------
    TypeError
        There are no handlers, some have names and some none, or one is no handler.
    ValueError
        They differ in ``match``, ``ignore``, ``show`` or ``max_age``; two have the same
        path; or one has a path that a function makes, or none.

    Notes
    -----
    A small hidden file beside the first output lists the paths of all of them. It is
    written last, and nothing counts without it. A file that a person puts in the place
    of an output counts as that output.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> from prefect_ds import PandasResultHandler
    >>> folder = tempfile.mkdtemp()
    >>> handler = Outputs(
    ...     train=PandasResultHandler(f"{folder}/train_{{seed}}.csv"),
    ...     test=PandasResultHandler(f"{folder}/test_{{seed}}.csv"),
    ... )
    >>> frame = pd.DataFrame({"x": [1, 2, 3]})
    >>> written = handler.write({"train": frame[:2], "test": frame[2:]}, seed=7)
    >>> sorted(handler.read(written.location).value)
    ['test', 'train']
    """

    kind = "file"
    file_type = "outputs"

    def __init__(self, *handlers: ResultHandler, **named: ResultHandler) -> None:
        if bool(handlers) == bool(named):
            raise TypeError(
                "give Outputs the handlers of a dict by name, Outputs(train=..., "
                "model=...), or those of a tuple in their order, Outputs(..., ...)"
            )
        self.is_named = bool(named)
        self.handlers: dict[str, ResultHandler] = dict(named)
        if not named:
            # "0", "1" and so on, so that all that follows is by name.
            self.handlers = {str(i): handler for i, handler in enumerate(handlers)}
        first = next(iter(self.handlers.values()))
        for name, handler in self.handlers.items():
            check_handler(name, handler, first)
            if isinstance(handler, Outputs):
                raise TypeError(f"output {name} is an Outputs: give its handlers here")
        check_paths(self.handlers)
        assert first.location is not None
        super().__init__(
            list_beside(first.location),
            storage_options=first.storage_options,
            match=first.match,
            ignore=first.ignore,
            show=first.show,
            durability=first.durability,
            check=first.check,
            max_age=first.max_age,
        )
        # A relative path counts from where the handlers were made.
        self.base_folder = first.base_folder

    @property
    def template(self) -> PathTemplate | None:
        """The template of the list; it has the fields of all outputs' paths."""
        of_list = super().template
        assert of_list is not None
        templates = [handler.template for handler in self.handlers.values()]
        return JointTemplate(of_list.template, [*filter(None, templates)])

    @property
    def options(self) -> tuple[object, ...]:
        """What shapes the files, for the identity of a checkpoint."""
        by_name = {name: handler.options for name, handler in self.handlers.items()}
        return (type(self).__name__, self.is_named, by_name)

    def all_handlers(self) -> list[ResultHandler]:
        """Return this handler, and those of the outputs."""
        return [self, *self.handlers.values()]

    def kept_classes(self) -> tuple[type, ...]:
        """Return dict, or tuple and list."""
        if self.is_named:
            return (dict,)
        return (tuple, list)

    def accepts(self, value: Any) -> bool:
        """Return whether a value has exactly these outputs, of types that are kept."""
        try:
            checked_values(self.handlers, value, is_named=self.is_named)
        except ResultTypeError:
            return False
        return True

    def check_options(self) -> None:
        """Raise an error where the options of an output do not fit its path."""
        for handler in self.handlers.values():
            handler.check_options()

    def at(self, location: str) -> Self:
        """Refuse a ``target``: it is one path, for several outputs."""
        raise PrefectDSError(
            f"the target {location!r} is one path, and the task has several outputs, "
            "each with a path of its own: leave the target out"
        )

    def format(self, **kwargs: Any) -> Self:
        """Prefect's ``Result.format``: a copy with all paths for these values."""
        formatted = super().format(**kwargs)
        formatted.handlers = {
            name: handler.format(**kwargs) for name, handler in self.handlers.items()
        }
        return formatted

    # --- write ---

    def keep(
        self,
        value: Any,
        path: str,
        *,
        origin: Origin | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Kept:
        """Commit all outputs, then the list of them, see :class:`ResultHandler`.

        If the file system fails for a moment, only the step that failed is tried again:
        a file that the task wrote may have left its place.
        """
        origin = origin or Origin()
        values = checked_values(self.handlers, value, is_named=self.is_named)
        paths = {name: self._path_of(name, origin.fields) for name in values}
        check_files(self.handlers, values, paths)
        for n_tries in range(_MOST_TRIES):
            there = self._complete(path, origin)
            if there is not None:
                reference = self._refer(path, there, origin, remarks)
                return Kept(reference, reference.load(), ANOTHER_WAS_FIRST)
            # A task's own files have left their place with the first try.
            if n_tries and not are_there(self.handlers, values):
                break
            kept, manifest = self._write(values, type(value), path, paths, origin)
            # Another run may have replaced an output, or the list, since: only outputs
            # that are those of our list are handed on.
            in_place = self._listed(path)
            if in_place is not None and in_place.attempt == manifest.attempt:
                reference = self._refer(path, in_place, origin, remarks)
                return joined(kept, type(value), reference)
            # Another run writes other results to the same paths: one has to be last.
            # Both wait at random, and longer each time, so that they do not meet again.
            time.sleep(random.uniform(0, 0.2 * 2**n_tries))
        raise PrefectDSError(
            f"the outputs listed at {path!r} were replaced by another run while they "
            "were written: run the task again when that one has ended"
        )

    def _listed(self, path: str) -> Manifest | None:
        return with_retries("read", path, self.look_at, path).manifest

    def _complete(self, path: str, origin: Origin) -> Manifest | None:
        """Return the list of outputs that another run wrote for the same inputs."""
        manifest = self._listed(path)
        if manifest is None or origin.identity is None:
            return None
        # The refused one is what this run replaces: it was stale, or a refresh was
        # asked for.
        is_same = manifest.identity == origin.identity
        if not is_same or manifest.attempt == origin.refused:
            return None
        return manifest

    def _refer(
        self, path: str, manifest: Manifest, origin: Origin, remarks: tuple[str, ...]
    ) -> CheckpointReference:
        refer = functools.partial(self.refer, is_loaded=False, remarks=remarks)
        return with_retries("read", path, refer, path, manifest, origin=origin)

    def _write(
        self,
        values: dict[str, Any],
        kind: type,
        path: str,
        paths: dict[str, str],
        origin: Origin,
    ) -> tuple[dict[str, Kept], Manifest]:
        """Write the outputs, then the list of them, which makes them count."""
        # Whatever lies at the paths of the outputs gives way: the list decides whether
        # an earlier result counts, and it has not.
        of_outputs = replace(origin, refused=ANY_ATTEMPT)
        started = time.perf_counter()
        kept = kept_files_last(self.handlers, values, paths, of_outputs)
        compute_s = sum(output.compute_s for output in kept.values())
        if origin.compute_s is not None:
            origin = replace(origin, compute_s=origin.compute_s + compute_s)
        write_s = time.perf_counter() - started - compute_s
        return kept, with_retries(
            "write", path, self._write_list, (kept, kind), path, origin, write_s
        )

    def _write_list(
        self, kept: Any, path: str, origin: Origin, write_s: float
    ) -> Manifest:
        with self._stage(kept, path, origin) as draft:
            ours = self._manifest(path, draft, origin, write_s=write_s)
            assert draft.staged is not None
            return self.store.commit(
                path,
                draft.staged,
                ours,
                durable=self.durability == "power",
                refused=ANY_ATTEMPT,
            )

    def _stage(
        self, value: Any, path: str, origin: Origin
    ) -> contextlib.AbstractContextManager[Draft]:
        kept, form = value
        return staged_list(self.store, path, kept, form)

    # --- read ---

    def look_at(self, path: str, *, mends: bool = True) -> Found:
        """Say what lies at ``path``: the list counts if all outputs are those in it."""
        at_path = super().look_at(path, mends=mends)
        # A list without a manifest may be of any time, and its outputs of any run.
        if at_path.kind == "foreign":
            reason = "it has no manifest, and only a run of the task can list outputs"
            return Found("damaged", reason=reason, stamp=at_path.stamp)
        if at_path.manifest is None:
            return at_path
        looks = self._looks(at_path.manifest, mends)
        return why_not_all(at_path.manifest, looks, self.handlers) or at_path

    def _look_up(self, path: str, only_looks: bool = False) -> Found:
        manifest = super().look_at(path, mends=not only_looks).manifest
        if manifest is not None and not only_looks:
            for name, output in self.paths_of(manifest).items():
                # A person's file becomes a checkpoint.
                self.handlers[name].look_up(output)
        return super()._look_up(path, only_looks)

    def _looks(self, manifest: Manifest, mends: bool) -> dict[str, Found | None]:
        """Return what lies at the outputs' paths; ``None``: an output is not listed."""
        looks: dict[str, Found | None] = dict.fromkeys(self.handlers)
        for name, path in self.paths_of(manifest).items():
            looks[name] = self.handlers[name].look_at(path, mends=mends)
        return looks

    def paths_of(self, manifest: Manifest) -> dict[str, str]:
        """Return the paths of the outputs that the list has, as they are today.

        The folder may have moved. An output whose path has a field that the list does
        not know is a new one.
        """
        paths = {}
        # An output without a handler is one that the task no longer has.
        for name in self.handlers.keys() & listed_contents(manifest).keys():
            with contextlib.suppress(KeyError):
                paths[name] = self._path_of(name, manifest.fields)
        return paths

    def refer(
        self,
        path: str,
        manifest: Manifest,
        *,
        origin: Origin,
        is_loaded: bool,
        remarks: tuple[str, ...] = (),
    ) -> CheckpointReference:
        """Return one reference to all outputs, which holds theirs."""
        outputs: dict[str, CheckpointReference] = {}
        looks = self._looks(manifest, mends=False)
        for name in in_order(manifest, looks):
            of_output = looks[name]
            of_file = of_output and (of_output.manifest or of_output.freed)
            if of_file is None:
                raise CheckpointNotFoundError(
                    f"the outputs listed at {path!r} were replaced: output {name} is "
                    "gone; run the task again"
                )
            outputs[name] = self.handlers[name].refer(
                self._path_of(name, manifest.fields),
                of_file,
                origin=origin,
                is_loaded=is_loaded,
            )
        listed = super().refer(
            path, manifest, origin=origin, is_loaded=is_loaded, remarks=remarks
        )
        return joint_reference(listed, manifest, outputs)

    def load(self, path: str, content: str | None = None) -> Any:
        """Return all outputs, see :meth:`ResultHandler.load`."""
        at_path = self.look_up(path)
        if at_path.manifest is None:
            raise self._not_there(path, at_path)
        reference = self.refer(path, at_path.manifest, origin=Origin(), is_loaded=True)
        if content is not None and reference.content != content:
            raise replaced(path, at_path.manifest)
        return reference.load()

    def _load(self, path: str, manifest: Manifest) -> Any:
        return self.refer(path, manifest, origin=Origin(), is_loaded=True).load()

    def _path_of(self, name: str, fields: Mapping[str, str]) -> str:
        template = self.handlers[name].template
        assert template is not None
        return template.path_of(fields)

    def _describe_foreign(self, path: str) -> Draft:
        raise ValueError("it lists outputs, and only a run of the task can write it")

    # --- upkeep ---

    def verify(self, path: str) -> list[str]:
        """Read every byte of all outputs and return their faults in words."""
        path = self._absolute(path)
        problems = self.store.verify(path)
        manifest = super().look_at(path).manifest
        if problems or manifest is None:
            return problems
        for name, output in self.paths_of(manifest).items():
            faults = self.handlers[name].verify(output)
            problems += [f"output {name}: {fault}" for fault in faults]
        return problems

    def free(self, path: str) -> Manifest:
        """Remove the data of all outputs; the manifests stay, see :class:`Upkeep`."""
        manifest = self.manifest(path)
        for name, output in self.paths_of(manifest).items():
            self.handlers[name].free(output)
        return manifest
