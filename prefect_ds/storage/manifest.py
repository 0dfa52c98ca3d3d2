"""The manifest of a checkpoint: its parts, its schema, its origin.

``docs/format.md`` describes the JSON. It is an input like any other:
:meth:`Manifest.from_json` takes nothing on trust.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.checksum import SHA256
from prefect_ds.storage.history import (
    Event,
    Upstream,
    history_from_json,
    history_to_json,
    upstream_from_json,
    upstream_to_json,
)
from prefect_ds.storage.identity import Identity, identity_from_json, identity_to_json
from prefect_ds.storage.part import MOST, Part, check_count, part_from_json

FORMAT_VERSION = 5
"""Raised by every change to the JSON that an older reader would misread."""

_READABLE_VERSIONS = (1, 2, 3, 4, 5)

DESCRIPTION = "description"
"""The key of a schema that says what the data are, where they are no frame."""

JSONObject: TypeAlias = dict[str, Any]
"""A JSON object, as :mod:`json` reads it."""


class Owner(NamedTuple):
    """Who wrote a checkpoint: a task of a run of a flow."""

    flow: str = ""
    run_id: str = ""
    task: str = ""
    """The task's slug, which is unique in its flow; without a slug, its name."""
    map_index: int | None = None

    def __str__(self) -> str:
        index = "" if self.map_index is None else f"[{self.map_index}]"
        return f"{self.task}{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a checkpoint comes from, in the words of its manifest."""

    owner: Owner = field(default_factory=Owner)
    identity: Identity | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """The text of every field of the path template."""
    upstream: Mapping[str, tuple[Upstream, ...]] = field(default_factory=dict)
    """The checkpoints that the inputs are, or have in them."""
    compute_s: float | None = None
    """Seconds of computing; ``None``: not known."""
    refused: str = ""
    """The attempt that wrote the checkpoint which was there and did not count. It is
    replaced, also if its identity is the same."""


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's parts, schema and origin.

    It is written before the data are put in place, and never changed.
    """

    path: str
    """Where the data were written. For people: a folder may move with its manifests."""
    attempt: str
    """Names the attempt that wrote it; no other manifest has it."""
    kind: Literal["file", "folder"]
    file_type: str
    parts: tuple[Part, ...]
    n_columns: int
    written_at: str
    """ISO 8601 in UTC."""
    schema: JSONObject | None = None
    """The properties of the frame that the file type does not hold.

    See :mod:`prefect_ds.frames.table`; ``None``: the file holds everything.
    """
    template: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    owner: Owner = field(default_factory=Owner)
    identity: Identity | None = None
    """``None``: not known, as Prefect itself wrote the data, or a person."""
    adopted: bool = False
    """A person put the data there; the manifest was made when we first saw them."""
    compute_s: float | None = None
    write_s: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    stamp: str | None = None
    """Size and time of change of the data, in one text; ``None``: not known yet."""
    upstream: Mapping[str, tuple[Upstream, ...]] = field(default_factory=dict)
    """The checkpoints that the inputs are, or have in them."""
    history: tuple[Event, ...] = ()
    """What was done with the checkpoint since it was written."""
    is_accepted: bool = False
    """A user accepted it: it counts for the code and options of the next run."""
    freed_at: str | None = None
    """When its data were removed to free their space, ISO 8601 in UTC."""
    value_digest: str = ""
    """Digest of the value of a pickle: equal values may have other bytes.

    Empty: the bytes are what counts.
    """

    @functools.cached_property
    def content(self) -> str:
        """Digest of what a reader gets: the parts' bytes, their order, the schema.

        With a digest of the value, it takes the place of the bytes.
        """
        if self.value_digest:
            return _content_of_value(self.file_type, self.value_digest, self.schema)
        return content_digest(self.file_type, self.parts, self.schema)

    @property
    def n_rows(self) -> int:
        """Rows in all parts."""
        return sum(part.n_rows for part in self.parts)

    @property
    def description(self) -> str:
        """What the data are, such as "dict of 5"; empty for a frame."""
        return str((self.schema or {}).get(DESCRIPTION, ""))

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)

    def is_partly_freed(self, there: Iterable[str]) -> bool:
        """Return whether some of the parts are left, after the freeing was stopped."""
        names = {part.name for part in self.parts}
        return self.freed_at is not None and names > {*there}

    def to_json(self) -> str:
        """Return the manifest as JSON text with its own checksum."""
        # Not `dataclasses.asdict`, which copies deeply: a manifest can have ten
        # thousand parts.
        body: JSONObject = {"format_version": FORMAT_VERSION, "content": self.content}
        body.update({name: getattr(self, name) for name in _FIELDS})
        body["owner"], body["parts"] = (
            self.owner._asdict(),
            [part._asdict() for part in self.parts],
        )
        body["identity"] = self.identity and identity_to_json(self.identity)
        body["upstream"] = upstream_to_json(self.upstream)
        body["history"] = history_to_json(self.history)
        text = _dumps(body)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        return f"{_BEFORE_CHECKSUM}{checksum}{_AFTER_CHECKSUM}{text}}}"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Return the manifest in ``text``.

        Raises
        ------
        NewerFormatError
            A later prefect_ds wrote it.
        ManifestError
            It is torn, altered, or not a manifest.
        """
        try:
            if isinstance(text, bytes):
                text = text.decode()
            document = _loads(text)
            body = document["manifest"]
            version = body.pop("format_version")
            expected = document["sha256"]
            # The text as it is first: to write a body of many parts again takes long.
            is_whole = expected == _written_checksum(text) or expected == _checksum(
                {"format_version": version, **body}
            )
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ManifestError(f"not a manifest: {error!r}") from error
        if not is_whole:
            raise ManifestError(
                "the manifest is torn or was altered: its checksum does not match"
            )
        # After the checksum: a flipped bit must not look like a newer format.
        if type(version) is int and version > FORMAT_VERSION:
            raise NewerFormatError(
                f"the manifest has format {version}, and this prefect_ds reads up to "
                f"{FORMAT_VERSION}: install a newer one"
            )
        if type(version) is not int or version not in _READABLE_VERSIONS:
            raise ManifestError(f"not a manifest: there never was a format {version!r}")
        try:
            return cls._from_body(body, text, version)
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ManifestError(
                f"the manifest does not have the form of format {version}: {error!r}"
            ) from error

    @classmethod
    def _from_body(cls, body: JSONObject, text: str, version: int) -> Manifest:
        if version < 3:
            body = {**body, **_BEFORE_FORMAT_3}
        if version < 4:
            body = {**body, "value_digest": ""}
        values = {name: body[name] for name in _FIELDS}
        # Well-formed JSON may still hold any types, and readers rely on these.
        for name, types in _TYPES.items():
            if type(values[name]) not in types:
                raise TypeError(f"{name} is a {type(values[name]).__name__}")
        check_count("n_columns", values["n_columns"])
        for seconds in (values["compute_s"], values["write_s"]):
            if seconds is not None and not 0 <= seconds < MOST:
                raise ValueError(f"{str(seconds)[:50]} seconds")
        _texts("fields", *values["fields"].values())
        _texts("versions", *values["versions"].values())
        # A list is made in half the time of a generator, and a folder has many parts.
        values["parts"] = tuple(
            [part_from_json(part, version) for part in values["parts"]]
        )
        content = body.get("content")
        if content is not None:  # Not filed by earlier versions.
            _check_content(content, values, text)
        owner = values["owner"] = Owner(**values["owner"])
        _texts("owner", owner.flow, owner.run_id, owner.task)
        if owner.map_index is not None:
            check_count("map_index", owner.map_index)
        if values["identity"] is not None:
            values["identity"] = identity_from_json(values["identity"], version)
        values["upstream"] = upstream_from_json(values["upstream"])
        values["history"] = history_from_json(values["history"])
        if values["kind"] not in ("file", "folder"):
            raise ValueError(f"kind {values['kind']!r}")
        # A reader takes the only part of a file without looking.
        if values["kind"] == "file" and len(values["parts"]) != 1:
            raise ValueError(f"a file of {len(values['parts'])} parts")
        # Every field has its value, and all were checked. The constructor of a frozen
        # class sets one after another: 3 % of what a hit takes.
        manifest = object.__new__(cls)
        vars(manifest).update(values)
        if content is not None:
            # Checked already. To make it once more takes as long as the schema is.
            vars(manifest)["content"] = content
        return manifest


_FIELDS = tuple(attribute.name for attribute in fields(Manifest))
_TEXTS = (
    "path",
    "attempt",
    "file_type",
    "written_at",
    "template",
    "value_digest",
)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(("fields", "versions", "owner"), (dict,)),
    **dict.fromkeys(("compute_s", "write_s"), (int, float, type(None))),
    "schema": (dict, type(None)),
    "stamp": (str, type(None)),
    "freed_at": (str, type(None)),
    "adopted": (bool,),
    "is_accepted": (bool,),
    "parts": (list,),
}

_BEFORE_FORMAT_3: JSONObject = {
    "upstream": {},
    "history": [],
    "is_accepted": False,
    "freed_at": None,
}


def _texts(what: str, *values: object) -> None:
    for value in values:
        if type(value) is not str:
            raise TypeError(f"{what} is a {type(value).__name__}")


_is_sha256 = re.compile("[0-9a-f]{64}").fullmatch


def content_digest(
    file_type: str, parts: Iterable[Part], schema: JSONObject | None
) -> str:
    """Return the digest of what a reader gets, see :attr:`Manifest.content`."""
    return hashlib.sha256(
        _dumps([file_type, _checksums(parts), schema]).encode()
    ).hexdigest()


def _content_of_value(
    file_type: str, value_digest: str, schema: JSONObject | None
) -> str:
    of_text = _dumps([file_type, {"value": value_digest}, schema])
    return hashlib.sha256(of_text.encode()).hexdigest()


def _checksums(parts: Iterable[Part]) -> list[str]:
    # The content of a manifest of an earlier format is made of bare digests.
    return [part.checksum.removeprefix(f"{SHA256}:") for part in parts]


def _check_content(content: object, values: JSONObject, text: str) -> None:
    """Raise ``ValueError`` if the content is not the digest of parts and schema."""
    if not _is_sha256(str(content)):
        raise ValueError(f"content is {str(content)[:80]!r}")
    if values["value_digest"]:
        of_value = values["file_type"], values["value_digest"], values["schema"]
        if content != _content_of_value(*of_value):
            raise ValueError("content is not the digest of its value and schema")
        return
    file_type, parts = values["file_type"], values["parts"]
    # The schema as it was written: no need to write it again, it may be long.
    start = f',"path":{_dumps(values["path"])},"schema":'
    end = f',"stamp":{_dumps(values["stamp"])},"template":'
    _, _, rest = text.partition(start)
    written = rest.rpartition(end)[0]
    checksums = _dumps(_checksums(parts))
    of_text = f"[{_dumps(file_type)},{checksums},{written}]"
    if content == hashlib.sha256(of_text.encode()).hexdigest():
        return
    if content != content_digest(file_type, parts, values["schema"]):
        raise ValueError("content is not the digest of its parts and schema")


_BEFORE_CHECKSUM = '{"sha256":"'
_AFTER_CHECKSUM = '","manifest":'


def _written_checksum(text: str) -> str:
    """Return the checksum of the body in a text of :meth:`Manifest.to_json`.

    The body need not be written again to be compared.
    """
    start = len(_BEFORE_CHECKSUM) + 64 + len(_AFTER_CHECKSUM)
    return hashlib.sha256(text[start:-1].encode()).hexdigest()


_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_loads = json.JSONDecoder().decode


def _checksum(body: JSONObject) -> str:
    return hashlib.sha256(_dumps(body).encode()).hexdigest()
