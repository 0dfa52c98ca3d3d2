"""What a manifest keeps, and what it refuses: its JSON is an input like any other."""

import contextlib
import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.history import Event, Upstream
from prefect_ds.storage.identity import Code
from prefect_ds.storage.manifest import FORMAT_VERSION, Identity, Manifest, Owner
from prefect_ds.storage.part import Part
from tests.support.manifests import sealed

property_test = settings(
    derandomize=True, deadline=None, max_examples=200, database=None
)

CODE = Code("digest", "cpython 3.11", {"f()": "ab"}, {"global 'LIMIT'": "=0.5"})

MANIFEST = Manifest(
    path="/data/a.csv",
    attempt="4f",
    kind="file",
    file_type="csv",
    parts=(Part("a.csv", 12, "blake3:" + "ab" * 32, 3),),
    n_columns=2,
    written_at="2024-02-29 12:00:00+00:00",
    schema={"n_rows": 3, "columns": [{"name": "é"}]},
    template="/data/{id}.csv",
    fields={"id": "a"},
    owner=Owner("flow", "run", "task-1", 3),
    identity=Identity(
        "task", {"id": "1"}, ("client",), "options", CODE, "v2", {"id": "1"}
    ),
    compute_s=0.5,
    write_s=0.25,
    versions={"python": "3.11"},
    stamp="c-17",
    upstream={"frame": (Upstream("cd" * 32, "/data/b.csv", "ef" * 16),)},
    history=(Event("accepted", "2024-03-01 12:00:00+00:00", "code changed", "ab"),),
    freed_at="2024-03-02 12:00:00+00:00",
)

text = st.text(max_size=8)
counts = st.integers(0, 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
    ),
    max_leaves=6,
)
part_names = st.text(
    st.characters(exclude_characters="/\\\0"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
checksums = st.one_of(
    st.builds("{}:{}".format, st.sampled_from(["blake3", "sha256"]), digests),
    st.builds("blake3-4MiB:{}{}".format, digests, digests),
)
parts = st.builds(Part, part_names, counts, checksums, counts, json_values, json_values)
texts_by_name = st.dictionaries(text, text, max_size=3)
identities = st.builds(
    Identity,
    text,
    st.dictionaries(text, text, max_size=3),
    st.lists(text, max_size=3).map(tuple),
    text,
    st.builds(Code, text, text, texts_by_name, texts_by_name),
    text,
    texts_by_name,
)
seconds = st.none() | st.floats(0, 1e9)
manifests = st.builds(
    Manifest,
    path=text,
    attempt=text,
    kind=st.just("folder"),
    file_type=text,
    parts=st.lists(parts, min_size=1, max_size=3, unique_by=lambda part: part.name).map(
        tuple
    ),
    n_columns=counts,
    written_at=text,
    schema=st.none() | st.dictionaries(text, json_values, max_size=3),
    template=text,
    fields=st.dictionaries(text, text, max_size=3),
    owner=st.builds(Owner, text, text, text, st.none() | counts),
    identity=st.none() | identities,
    adopted=st.booleans(),
    compute_s=seconds,
    write_s=seconds,
    versions=st.dictionaries(text, text, max_size=2),
    stamp=st.none() | text,
    upstream=st.dictionaries(
        text,
        st.lists(st.builds(Upstream, text, text, text), max_size=2).map(tuple),
        max_size=2,
    ),
    history=st.lists(
        st.builds(Event, st.sampled_from(["accepted", "freed"]), text, text, text),
        max_size=2,
    ).map(tuple),
    is_accepted=st.booleans(),
    freed_at=st.none() | text,
    value_digest=text,
)


def body():
    return json.loads(MANIFEST.to_json())["manifest"]


def with_part(**changes):
    changed = body()
    changed["parts"][0].update(changes)
    return sealed(changed)


@property_test
@given(manifests)
def test_a_manifest_comes_back_from_its_json(manifest):
    back = Manifest.from_json(manifest.to_json())
    assert back.to_json() == manifest.to_json()
    assert back.content == manifest.content
    assert (back.n_rows, back.size_bytes) == (manifest.n_rows, manifest.size_bytes)
    assert dataclasses.replace(back, parts=()) == dataclasses.replace(
        manifest, parts=()
    )


def test_a_manifest_comes_back_with_its_types():
    back = Manifest.from_json(MANIFEST.to_json().encode())
    assert back == MANIFEST
    assert isinstance(back.parts[0], Part)
    assert isinstance(back.identity.unstable_inputs, tuple)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("blake3", "d49d1546a493c794e4dabd43690527abe60f6beb04a21be347bdc2099ca44121"),
        # As formats 1 to 3 have it.
        ("sha256", "4c0c76017d36297646d5d69808ee4dde2f1adc29bde6aedb7262a555a0772bc5"),
    ],
)
def test_the_digest_of_the_content_holds_for_ever(kind, content):
    # A stored digest: it stands in the identities of checkpoints on people's disks.
    part = MANIFEST.parts[0]._replace(checksum=f"{kind}:{'ab' * 32}")
    assert dataclasses.replace(MANIFEST, parts=(part,)).content == content


def test_the_digest_of_the_content_is_of_bytes_order_and_schema_alone():
    first, second = Part("p0", 1, "aa", 1), Part("p1", 2, "bb", 1)
    manifest = dataclasses.replace(MANIFEST, parts=(first, second))
    elsewhere = dataclasses.replace(
        manifest, path="/b", attempt="other", identity=None, owner=Owner(), stamp=None, written_at="", adopted=True,
        parts=(first._replace(name="q0"), second),
    )  # fmt: skip
    assert elsewhere.content == manifest.content
    for change in (
        {"parts": (second, first)},
        {"parts": (first,)},
        {"schema": {"n_rows": 4}},
        {"schema": None},
        {"file_type": "json"},
    ):
        assert dataclasses.replace(manifest, **change).content != manifest.content


def test_the_digest_of_the_content_is_filed_and_made_where_it_is_not():
    assert body()["content"] == MANIFEST.content
    for missing in (
        {**body(), "content": None},
        {name: each for name, each in body().items() if name != "content"},
    ):
        assert Manifest.from_json(sealed(missing)).content == MANIFEST.content


@pytest.mark.parametrize("field", ["content", "schema", "file_type", "parts"])
def test_a_content_that_is_no_digest_of_parts_and_schema_is_refused(field):
    part = {**body()["parts"][0], "checksum": "blake3:" + "ef" * 32}
    edited = {
        "content": "cd" * 32,
        "schema": {"n_rows": 5},
        "file_type": "parquet",
        "parts": [part, *body()["parts"][1:]],
    }
    with pytest.raises(ManifestError, match="not the digest of its parts and schema"):
        Manifest.from_json(sealed({**body(), field: edited[field]}))


def test_the_content_is_checked_whatever_the_order_of_the_keys():
    """Also where another tool has written the JSON with its own order and blanks."""
    other = dict(reversed(body().items()))
    document = json.dumps(
        {**json.loads(sealed(body())), "manifest": other}, indent=1, sort_keys=False
    )
    assert Manifest.from_json(document) == MANIFEST
    changed = json.loads(sealed({**body(), "schema": {"n_rows": 5}}))
    with pytest.raises(ManifestError, match="not the digest of its parts and schema"):
        Manifest.from_json(json.dumps(changed, indent=1))


def test_no_flipped_bit_passes_or_is_taken_for_a_newer_format():
    good = MANIFEST.to_json().encode()
    for position in range(len(good)):
        for bit in (0, 1, 3, 7):
            flipped = bytearray(good)
            flipped[position] ^= 1 << bit
            try:
                found = Manifest.from_json(bytes(flipped))
            except NewerFormatError:
                pytest.fail(f"bit {bit} of byte {position} passes for a newer format")
            except ManifestError:
                continue
            assert found == MANIFEST, (
                f"bit {bit} of byte {position}"
            )  # white space between tokens


def test_no_torn_manifest_passes():
    good = MANIFEST.to_json()
    for length in range(len(good)):
        with pytest.raises(ManifestError, match=r"not a manifest|torn"):
            Manifest.from_json(good[:length])


def test_a_newer_format_is_named_with_what_to_do():
    newer = {**body(), "format_version": FORMAT_VERSION + 1, "new": {"a": 1}}
    with pytest.raises(
        NewerFormatError,
        match=f"has format {FORMAT_VERSION + 1}, and this prefect_ds reads up to "
        f"{FORMAT_VERSION}: install a newer one",
    ):
        Manifest.from_json(sealed(newer))


@pytest.mark.parametrize(
    "version", [0, -1, "1", "3", 3.0, None, True, [], float("nan")]
)
def test_a_format_that_never_was_is_no_manifest(version):
    with pytest.raises(ManifestError, match="format"):
        Manifest.from_json(sealed({**body(), "format_version": version}))


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../b",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\\b",
        "..\\b",
        "a\0b",
        5,
        None,
        ["a"],
        {},
    ],
)
def test_a_part_stays_in_its_folder(name):
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(with_part(name=name))


@pytest.mark.parametrize("field", ["size_bytes", "n_rows"])
@pytest.mark.parametrize("count", [-1, 1.5, 1e308, "1", True, [], {}, 10**400])
def test_a_count_is_a_count(field, count):
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(with_part(**{field: count}))


@pytest.mark.parametrize(
    "checksum",
    [None, 5, [], {}, "", "\ud800", "ab", "AB" * 32, "ab" * 32 + "\n", "é" * 64],
)
def test_a_checksum_is_one_of_a_known_kind(checksum):
    for wrong in (checksum, f"blake3:{checksum}", f"md5:{'ab' * 32}"):
        with pytest.raises(ManifestError, match="does not have the form"):
            Manifest.from_json(with_part(checksum=wrong))
    if checksum is not None:  # Not filed by earlier versions.
        with pytest.raises(ManifestError, match="does not have the form"):
            Manifest.from_json(sealed({**body(), "content": checksum}))


@pytest.mark.parametrize(
    "seconds", [-1, -0.5, float("nan"), float("inf"), 10**400, True, "1"]
)
@pytest.mark.parametrize("field", ["compute_s", "write_s"])
def test_seconds_can_be_summed_and_shown(field, seconds):
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(sealed({**body(), field: seconds}))


WRONG_VALUES = {
    "path": 5,
    "attempt": None,
    "kind": "link",
    "file_type": [],
    "parts": {},
    "n_columns": "two",
    "written_at": 5,
    "schema": [1],
    "template": None,
    "fields": ["id"],
    "owner": None,
    "identity": 5,
    "adopted": "no",
    "compute_s": "long",
    "write_s": [],
    "versions": [],
    "stamp": 5,
    "content": 5,
    "upstream": [],
    "history": {},
    "is_accepted": "no",
    "freed_at": 5,
    "value_digest": None,
}


def test_the_table_of_wrong_values_has_every_field():
    assert WRONG_VALUES.keys() == {
        "content",
        *(field.name for field in dataclasses.fields(Manifest)),
    }


@pytest.mark.parametrize("field", WRONG_VALUES)
def test_a_field_of_the_wrong_type_is_refused(field):
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(sealed({**body(), field: WRONG_VALUES[field]}))


def test_the_content_of_a_pickle_is_that_of_its_value():
    by_value = dataclasses.replace(MANIFEST, value_digest="v2:ab")
    other_bytes = (Part("a.csv", 12, "cd" * 32, 3),)
    assert dataclasses.replace(by_value, parts=other_bytes).content == by_value.content
    assert by_value.content != MANIFEST.content
    edited = json.loads(by_value.to_json())["manifest"] | {"value_digest": "v2:ac"}
    with pytest.raises(ManifestError, match="not the digest of its value"):
        Manifest.from_json(sealed(edited))


@pytest.mark.parametrize(
    "change",
    [{"inputs": []}, {"inputs": {"a": [1]}}, {"task": 5}, {"unstable_inputs": [[1]]}, {"unstable_inputs": "ab"},
     {"options": None}, {"code": 5}, {"code": {}}, {"code": {**CODE._asdict(), "digest": 5}},
     {"code": {**CODE._asdict(), "functions": {"f()": 5}}}, {"code": {**CODE._asdict(), "extra": 1}},
     {"scheme": None}, {"extra": 1}, {"values": []}, {"values": {"id": 1}}],
)  # fmt: skip
def test_an_identity_that_could_not_be_compared_is_refused(change):
    changed = body()
    changed["identity"].update(change)
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(sealed(changed))


@pytest.mark.parametrize(
    "change",
    [{"flow": 5}, {"run_id": None}, {"task": []}, {"map_index": "3"}, {"extra": 1}],
)
def test_an_owner_that_could_not_be_compared_is_refused(change):
    changed = body()
    changed["owner"].update(change)
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(sealed(changed))


@pytest.mark.parametrize(
    "change",
    [
        {"upstream": {"frame": {}}},
        {"upstream": {"frame": [{}]}},
        {"upstream": {"frame": [{"content": "a", "path": "b"}]}},
        {"upstream": {"frame": [{"content": "a", "path": "b", "identity": 5}]}},
        {"history": ["accepted"]},
        {"history": [{"what": "forgotten", "at": ""}]},
        {"history": [{"what": "freed", "at": 5}]},
    ],
)
def test_a_provenance_of_another_form_is_refused(change):
    with pytest.raises(ManifestError, match="does not have the form"):
        Manifest.from_json(sealed({**body(), **change}))


def test_a_file_has_one_part():
    for parts in ([], [*body()["parts"], {**body()["parts"][0], "name": "b"}]):
        with pytest.raises(ManifestError, match="does not have the form"):
            Manifest.from_json(sealed({**body(), "parts": parts}))


@pytest.mark.parametrize(
    "depth", [100, 300, 480, 700, 900, 980, 990, 1_000, 3_000, 100_000]
)
@pytest.mark.parametrize(
    "place", ['"schema": null', '"inputs": {"id": "1"}', '"id": "a"']
)
def test_nothing_but_a_manifest_error_comes_of_deep_nesting(place, depth):
    deep = '{"a":' * depth + "1" + "}" * depth
    key = place.partition(":")[0]
    shallow = {**body(), "schema": None}
    bare = json.dumps(shallow).replace(place, f"{key}: {deep}")
    assert deep in bare
    # The checksum by hand: json does not reach as deep.
    canonical = json.dumps(shallow, sort_keys=True, separators=(",", ":"))
    canonical = canonical.replace(place.replace(": ", ":"), f"{key}:{deep}")
    document = f'{{"sha256": "{hashlib.sha256(canonical.encode()).hexdigest()}", "manifest": {bare}}}'
    with contextlib.suppress(ManifestError):
        Manifest.from_json(document)


@property_test
@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60), json_values.map(json.dumps))
)
def test_nothing_but_a_manifest_error_comes_of_any_bytes(anything):
    with pytest.raises(ManifestError, match="manifest"):
        Manifest.from_json(anything)


@st.composite
def altered_bodies(draw):
    """Draw the body of a manifest in which something stands in another's place, sealed with the right checksum."""
    changed = body()
    for _ in range(draw(st.integers(1, 3))):
        target = draw(
            st.sampled_from(
                [changed, changed["parts"][0], changed["owner"], changed["identity"]]
            )
        )
        if not isinstance(target, dict) or not target:
            continue
        key = draw(st.sampled_from(sorted(target)))
        change = draw(st.sampled_from(["drop", "set", "add"]))
        if change == "drop":
            target.pop(key)
        else:
            value = draw(
                json_values
                | st.sampled_from(
                    [float("nan"), float("inf"), 10**400, "\ud800", "1" * 50]
                )
            )
            target[key if change == "set" else draw(text)] = value
        if not isinstance(changed.get("parts"), list) or not changed["parts"]:
            break
        if not all(isinstance(changed.get(key), dict) for key in ("owner", "identity")):
            break
        if not isinstance(changed["parts"][0], dict):
            break
    return changed


@settings(property_test, max_examples=600)
@given(altered_bodies())
def test_an_altered_manifest_is_refused_or_still_whole(changed):
    try:
        found = Manifest.from_json(sealed(changed))
    except ManifestError:
        return
    # Whatever passes can be used without a look at its types.
    Manifest.from_json(found.to_json())
    assert found.n_rows >= 0
    assert found.size_bytes >= 0
    assert isinstance(str(found.owner), str)
    if found.identity is not None:
        assert isinstance(MANIFEST.identity.difference(found.identity, "code"), str)
        assert isinstance(found.identity.difference(MANIFEST.identity, "code"), str)
    assert len(found.content) == 64
