"""Damage of every kind (P5): what a run does about it, what it says, what it keeps, and what ``verify`` says."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import PandasResultHandler, task
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import DamagedCheckpointError, NewerFormatError
from prefect_ds.file_types.registry import FILE_TYPES
from prefect_ds.storage.layout import hidden_name, manifest_folder
from prefect_ds.storage.manifest import FORMAT_VERSION, Manifest, content_digest
from prefect_ds.storage.part import part_from_json
from tests.support.flows import frame_of
from tests.support.scale import SCALE, some

FOLDER = "folder of parts"
KINDS = [*FILE_TYPES, FOLDER]
OTHERS_MANIFEST = "its manifest is that of other data"
OTHER_BYTES = "its bytes were not those that were written"
TORN = r"the manifest is torn or was altered: its checksum does not match"


@pytest.fixture(autouse=True)
def _reads_read(no_cache):
    """No value comes from memory."""


class Checkpoints:
    """Two children's checkpoints of one kind, ``a`` and ``b``, in a folder."""

    def __init__(self, folder: Path, kind: str, **options) -> None:
        self.folder, self.kind = folder, kind
        suffix = {"excel": "xlsx", "hdf": "h5", FOLDER: "parts"}.get(kind, kind)
        template = f"{folder}/{{key}}.{suffix}"
        self.handler = (
            # Uncompressed, so that the parts of other data are as large.
            DaskDataFrameResultHandler(
                template, write_kwargs={"compression": "none"}, **options
            )
            if kind == FOLDER
            else PandasResultHandler(template, kind, **options)
        )
        self.a, self.b = (folder / f"{key}.{suffix}" for key in "ab")

    def frame(self, key: str, turn: int = 0) -> pd.DataFrame:
        frame = frame_of("ab".index(key) + 2 * turn, n_rows=6)
        return frame.drop(columns=["kind", "at"]) if self.kind == FOLDER else frame

    def value(self, key: str, turn: int = 0):
        frame = self.frame(key, turn)
        return dd.from_pandas(frame, npartitions=2) if self.kind == FOLDER else frame

    def data(self, path: Path) -> Path:
        """The file of ``path``, or its second part."""
        return path / "part.00001.parquet" if self.kind == FOLDER else path

    def manifest(self, path: Path) -> Path:
        [found] = Path(manifest_folder(str(path))).iterdir()
        return found

    def set_aside(self) -> list[Path]:
        folder = self.folder / ".prefect_ds/set-aside"
        return sorted(folder.iterdir()) if folder.exists() else []

    def run(self, run_here) -> tuple[bool, list[str]]:
        """Run the flow; return whether it succeeded with the right values, and the bodies that ran."""
        bodies: list[str] = []

        @task(result=self.handler)
        def make(key):
            bodies.append(key)
            return self.value(key)

        @task
        def use(value):
            return value.compute() if self.kind == FOLDER else value

        with Flow("damage") as flow:
            used = use.map(make.map(["a", "b"]))
        state = run_here(flow)
        if state.is_successful():
            for key, value in zip("ab", state.result[used].result, strict=True):
                wanted = self.frame(key)
                if self.kind == FOLDER:
                    wanted = wanted.astype({"name": value["name"].dtype})
                assert_frame_equal(value, wanted)
        return state.is_successful(), sorted(bodies)


def rewritten(change: Callable[[bytes], bytes], *, seen: bool = True):
    """A damage that changes the bytes of a file; unless ``seen``, with the time of change that they had."""

    def damage(checkpoints: Checkpoints) -> None:
        rewrite(checkpoints.data(checkpoints.a), change, seen=seen)

    return damage


def rewrite(path: Path, change: Callable[[bytes], bytes], *, seen: bool) -> None:
    status = path.stat()
    path.write_bytes(change(path.read_bytes()))
    if not seen:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped(data: bytes, position: int | None = None, bit: int = 4) -> bytes:
    position = len(data) // 2 if position is None else position
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def swapped(checkpoints: Checkpoints) -> None:
    """Two files change names; of a folder two parts."""
    if checkpoints.kind == FOLDER:
        one, other = (checkpoints.a / f"part.0000{number}.parquet" for number in (0, 1))
    else:
        one, other = checkpoints.a, checkpoints.b
    one.rename(f"{one}.")
    other.rename(one)
    Path(f"{one}.").rename(other)


def missing(checkpoints: Checkpoints) -> None:
    checkpoints.data(checkpoints.a).unlink()


def mixed(checkpoints: Checkpoints) -> None:
    """The last part, or the file, is that of another attempt, and of one as large if there is one."""
    other, here = (
        Checkpoints(checkpoints.folder / "other", checkpoints.kind),
        checkpoints.data(checkpoints.a),
    )
    for turn in range(1, 50):
        other.handler.write(other.value("a", turn), key="a")
        if other.data(other.a).stat().st_size == here.stat().st_size:
            break
    shutil.copyfile(other.data(other.a), here)
    shutil.rmtree(other.folder)


def in_manifest(change: Callable[[bytes], bytes]):
    """A damage that changes the manifest."""

    def damage(checkpoints: Checkpoints) -> None:
        rewrite(checkpoints.manifest(checkpoints.a), change, seen=True)

    return damage


def foreign_manifest(checkpoints: Checkpoints) -> None:
    shutil.copyfile(
        checkpoints.manifest(checkpoints.b), checkpoints.manifest(checkpoints.a)
    )


def of_format(version: int):
    """The manifest of another format, whole."""

    def change(text: bytes) -> bytes:
        from tests.support.manifests import sealed

        body = {**json.loads(text)["manifest"], "format_version": version}
        if 1 <= version < 4:
            body = with_bare_digests(body)
        return sealed(body).encode()

    return in_manifest(change)


def with_bare_digests(body: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with the parts that formats before 4 have: of a bare sha256."""
    sha256 = hashlib.sha256(b"").hexdigest()
    parts = [{**part, "sha256": sha256} for part in body["parts"]]
    for part in parts:
        del part["checksum"]
    read = [part_from_json(part, 3) for part in parts]
    content = content_digest(body["file_type"], read, body["schema"])
    return {**body, "parts": parts, "content": content}


@dataclass(frozen=True)
class Damage:
    """A damage, and what is right after it."""

    do: Callable[[Checkpoints], None]
    reason: str
    """What the log line and ``verify`` say; pattern."""
    reason_of_folder: str | None = None
    """Where a folder of parts is told more."""
    shows: bool = True
    """Whether the run sees it before the bytes are read."""
    shows_in_folder: bool = True
    both: bool = False
    """Whether both files are damaged."""


_GONE = "its data were gone, only the manifest was left"
_CUT = r"part 'part\.00001\.parquet' had \d+ bytes, was written with \d+"


def _counted_otherwise(text: bytes) -> bytes:
    return text.replace(b'"n_rows":6', b'"n_rows":7').replace(
        b'"n_rows":3', b'"n_rows":4'
    )


def _other_year(text: bytes) -> bytes:
    return flipped(text, text.index(b'"written_at"') + len('"written_at":"202'), bit=0)


DAMAGES = {
    "truncated": Damage(rewritten(lambda data: data[:-5]), OTHER_BYTES, _CUT),
    "emptied": Damage(rewritten(lambda data: b""), OTHER_BYTES, _CUT),
    "appended": Damage(rewritten(lambda data: data + b"\n"), OTHER_BYTES, _CUT),
    "bit-flipped": Damage(rewritten(flipped), OTHER_BYTES, shows_in_folder=False),
    "bit-flipped without a trace": Damage(
        rewritten(flipped, seen=False), "", shows=False, shows_in_folder=False
    ),
    "swapped": Damage(swapped, OTHER_BYTES, both=True),
    "missing": Damage(missing, _GONE, r"part 'part\.00001\.parquet' was gone"),
    "of another attempt": Damage(mixed, OTHER_BYTES, shows_in_folder=False),
    "manifest truncated": Damage(
        in_manifest(lambda text: text[:-7]), r"not a manifest: JSONDecodeError.*"
    ),
    "manifest emptied": Damage(
        in_manifest(lambda text: b""), r"not a manifest: JSONDecodeError.*"
    ),
    "manifest foreign": Damage(foreign_manifest, OTHERS_MANIFEST),
    "manifest of something else": Damage(
        in_manifest(lambda text: b'{"a": 1}'), r"not a manifest: KeyError.*"
    ),
    "manifest of an older format": Damage(
        of_format(0), "not a manifest: there never was a format 0"
    ),
    "manifest edited by hand": Damage(in_manifest(_counted_otherwise), TORN),
    "manifest bit-flipped": Damage(in_manifest(_other_year), TORN),
}

CASES = [
    pytest.param(
        kind,
        damage,
        id=f"{kind}-{damage}",
        marks=[] if kind in ("csv", FOLDER) else [pytest.mark.slow],
    )
    for kind in KINDS
    for damage in (DAMAGES if kind in ("csv", FOLDER) else some(list(DAMAGES), 4))
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_damage_is_seen_told_in_one_line_set_aside_and_mended(
    run_here, tmp_path, log_lines, kind, name
):
    damage = DAMAGES[name]
    checkpoints = Checkpoints(tmp_path, kind)
    is_folder = kind == FOLDER
    shows = damage.shows and (damage.shows_in_folder or not is_folder)
    reason = (
        damage.reason_of_folder
        if is_folder and damage.reason_of_folder
        else damage.reason
    )
    assert checkpoints.run(run_here) == (True, ["a", "b"])
    assert checkpoints.run(run_here) == (True, [])
    assert checkpoints.handler.verify(str(checkpoints.a)) == []

    damage.do(checkpoints)
    damaged = ["a", "b"] if damage.both and not is_folder else ["a"]
    there = {path.name: content(path) for path in (checkpoints.a, checkpoints.b)}
    if shows and reason != _GONE:
        [problem] = checkpoints.handler.verify(str(checkpoints.a))
        assert re.fullmatch(reason, problem)
    elif not shows:
        assert checkpoints.handler.verify(str(checkpoints.a)) == [
            f"{checkpoints.data(checkpoints.a).name}: its checksum is another"
        ]
    assert checkpoints.set_aside() == []  # Who only asks changes nothing.
    log_lines.clear()

    # What shows is mended at once; else the task that reads it fails, and the next run
    # mends it.
    assert checkpoints.run(run_here) == ((True, damaged) if shows else (False, []))
    lines = [
        line
        for line in log_lines
        if "set aside as" in line and line.startswith(str(tmp_path))
    ]  # Not the task's error.
    aside = checkpoints.set_aside()
    if reason == _GONE and not is_folder:
        assert (lines, aside) == ([], [])
        assert any(f"Ran because {_GONE}" in line for line in log_lines)
    else:
        assert len(lines) == len(aside) == len(damaged)
        for key, path, line in zip(
            damaged, (checkpoints.a, checkpoints.b), sorted(lines), strict=False
        ):
            [went] = [
                each
                for each in aside
                if each.name.startswith(f"{hidden_name(path.name)}.")
            ]
            assert content(went) == there[path.name]
            what = (
                reason
                if shows
                else r"(part '.*' is damaged: )?.*(its checksum|another).*"
            )
            then = (
                rf"task 'make\[{'ab'.index(key)}\]' runs"
                if shows
                else "the next run computes it again"
            )
            said, _, way_back = line.partition("; was it an edit of yours? ")
            assert re.fullmatch(
                f"{re.escape(str(path))}: {what}; set aside as {re.escape(str(went))}; {then}",
                said,
            )
            command = f"mv {went} {path}, then handler.adopt({str(path)!r})"
            # Nobody edits a file so that it is empty.
            is_empty = name == "emptied" and not is_folder
            assert way_back == ("" if is_empty else command)
    if not shows:
        assert checkpoints.run(run_here) == (True, ["a"])
    assert checkpoints.run(run_here) == (True, [])
    for path in (checkpoints.a, checkpoints.b):
        assert checkpoints.handler.verify(str(path)) == []
    assert checkpoints.set_aside() == aside


@pytest.mark.parametrize("kind", ["csv", FOLDER])
def test_a_manifest_of_a_newer_format_fails_the_task_and_nothing_is_touched(
    run_here, tmp_path, log_lines, kind
):
    checkpoints = Checkpoints(tmp_path, kind)
    checkpoints.run(run_here)
    of_format(FORMAT_VERSION + 1)(checkpoints)
    before = content(checkpoints.a), checkpoints.manifest(checkpoints.a).read_bytes()
    log_lines.clear()
    assert checkpoints.run(run_here) == (False, [])
    assert any(
        f"has format {FORMAT_VERSION + 1}, and this prefect_ds reads up to "
        f"{FORMAT_VERSION}: install a newer one" in line
        for line in log_lines
    )
    with pytest.raises(NewerFormatError, match="install a newer one"):
        checkpoints.handler.verify(str(checkpoints.a))
    assert (
        content(checkpoints.a),
        checkpoints.manifest(checkpoints.a).read_bytes(),
    ) == before
    assert checkpoints.set_aside() == []


@pytest.mark.parametrize("kind", ["csv", "parquet", FOLDER])
@pytest.mark.parametrize(
    "name", ["bit-flipped", "bit-flipped without a trace", "of another attempt"]
)
def test_with_checksums_on_every_hit_no_read_fails(
    run_here, tmp_path, log_lines, kind, name
):
    checkpoints = Checkpoints(tmp_path, kind, check="checksum")
    assert checkpoints.run(run_here) == (True, ["a", "b"])
    manifest = checkpoints.manifest(checkpoints.a)
    before = manifest.stat()
    assert checkpoints.run(run_here) == (True, [])
    assert manifest.stat() == before  # A hit writes nothing.
    DAMAGES[name].do(checkpoints)
    log_lines.clear()
    assert checkpoints.run(run_here) == (True, ["a"])
    [line] = [line for line in log_lines if "set aside as" in line]
    assert line.startswith(f"{checkpoints.a}: {OTHER_BYTES}; ")
    assert "; task 'make[0]' runs; was it an edit of yours? " in line
    assert checkpoints.run(run_here) == (True, [])


@pytest.mark.parametrize("handler", [PandasResultHandler, DaskDataFrameResultHandler])
def test_an_unknown_check_is_refused(handler):
    arguments = ["x.csv", "csv"] if handler is PandasResultHandler else ["x"]
    with pytest.raises(ValueError, match="check='all': give one of 'size', 'checksum'"):
        handler(*arguments, check="all")


def test_a_part_gone_from_a_hive_folder_is_seen_before_anything_reads_it(
    run_here, tmp_path, log_lines
):
    """The time of change of the folder itself stays as it was."""
    handler = DaskDataFrameResultHandler(tmp_path / "events", partition_on="id")
    bodies = []

    @task(result=handler)
    def events():
        bodies.append("events")
        return dd.from_pandas(
            pd.DataFrame({"id": [1, 1, 2], "value": [1.0, 2.0, 3.0]}), npartitions=1
        )

    with Flow("hive") as flow:
        events()
    assert run_here(flow).is_successful()
    (tmp_path / "events/id=1/part.00000.parquet").unlink()
    assert run_here(flow).is_successful()
    assert len(bodies) == 2
    assert (
        sum(
            "part 'id=1/part.00000.parquet' was gone; set aside as" in line
            for line in log_lines
        )
        == 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_is_ever_read_as_data(tmp_path, kind):
    """In the data with the time of change put back, so that only the bytes themselves can tell, and in the manifest."""
    checkpoints = Checkpoints(tmp_path, kind)
    checkpoints.handler.write(checkpoints.value("a"), key="a")
    path, load = str(checkpoints.a), checkpoints.handler.load
    wanted = values(load(path))
    parts = sorted(checkpoints.a.iterdir()) if kind == FOLDER else [checkpoints.a]
    manifest = checkpoints.manifest(checkpoints.a)
    sound = {file: file.read_bytes() for file in [*parts, manifest]}
    told = Manifest.from_json(sound[manifest])
    stamp = checkpoints.a.stat().st_mtime_ns
    choose = random.Random(kind)
    outcomes = {"data": 0, "manifest": 0}
    for turn in range(100 * SCALE):
        # The manifest is a part of every second turn: what a flip there does is found
        # without reading the data.
        file = manifest if turn % 2 else choose.choice(parts)
        position, bit = choose.randrange(len(sound[file])), choose.randrange(8)
        rewrite(
            file, lambda data, at=position, bit=bit: flipped(data, at, bit), seen=False
        )
        os.utime(checkpoints.a, ns=(stamp, stamp))
        try:
            assert_frame_equal(values(load(path)), wanted)
        except (DamagedCheckpointError, FileNotFoundError):
            outcomes["manifest" if turn % 2 else "data"] += 1
        else:  # The last digit of a float may say the same as another.
            outcomes["manifest"] += (
                turn % 2 and Manifest.from_json(manifest.read_bytes()) == told
            )
        for each in checkpoints.set_aside():
            each.rename(checkpoints.a)
        for each in {file, *([] if kind == FOLDER else [checkpoints.a])}:
            each.write_bytes(sound[each])
        os.utime(checkpoints.a, ns=(stamp, stamp))
    assert_frame_equal(values(load(path)), wanted)
    assert outcomes["manifest"] == 50 * SCALE
    # Some bits of a parquet file say nothing of the data; of a single file every byte
    # is hashed.
    assert (
        outcomes["data"] == 50 * SCALE
        if kind != FOLDER
        else outcomes["data"] > 40 * SCALE
    )


def values(loaded) -> pd.DataFrame:
    # By one thread: another would still read where the first has failed, and the next
    # bit is flipped under its eyes.
    return (
        loaded.compute(scheduler="sync") if isinstance(loaded, dd.DataFrame) else loaded
    )


def content(path: Path) -> object:
    """The bytes of a file, or of each in a folder; None for nothing."""
    if path.is_dir():
        return {
            str(each.relative_to(path)): each.read_bytes()
            for each in sorted(path.rglob("*"))
            if each.is_file()
        }
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def test_the_table_of_damages_leaves_whole_manifests_of_the_right_format_readable(
    tmp_path,
):
    checkpoints = Checkpoints(tmp_path, "csv")
    checkpoints.handler.write(checkpoints.value("a"), key="a")
    of_format(1)(checkpoints)
    assert (
        Manifest.from_json(checkpoints.manifest(checkpoints.a).read_bytes()).n_rows == 6
    )
