"""What each care of the digests is worth: the source without it, and the tests that then have to fail."""

from __future__ import annotations

from tests.support.mutations import Mutation

FOLDER = "checkpoints/digests/"
UNEQUAL = "unit/test_digests.py::test_values_that_look_alike_have_two_digests"
EQUAL = "unit/test_digests.py::test_equal_values_made_differently_have_one_digest"
SENT = "unit/test_digests.py::test_every_digest_is_the_same_in_another_process_and_after_a_pickle"


def _mutation(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, f"{FOLDER}{file}.py", ((old, new),), tests)


DIGEST_MUTATIONS = (
    _mutation(
        "parts have no length",
        "walk",
        'b"%d:%b" % (len(part), part) for part in parts',
        "part for part in parts",
        UNEQUAL,
    ),
    _mutation(
        "all long encodings are one",
        "walk",
        'return b"#" + hashlib.sha256(encoding).digest()',
        'return b"#"',
        UNEQUAL,
    ),
    _mutation(
        "an object keeps its encoding beyond its life",
        "walk",
        "self._known[key] = (value, encoding)",
        "self._known[key] = (None, encoding)",
        "unit/test_digests.py::test_temporary_objects_do_not_lend_their_encoding",
    ),
    _mutation(
        "cycles do not end",
        "walk",
        "        if key in self._open:\n            raise CycleError\n",
        "",
        UNEQUAL,
    ),
    _mutation(
        "sets in their own order",
        "plain",
        'pack_all("items", sorted(encoded))',
        'pack_all("items", encoded)',
        EQUAL,
        SENT,
    ),
    _mutation(
        "text is joined without a look for the separator",
        "plain",
        '        if joined.count(b"\\0") != len(chunk):\n            return None\n',
        "",
        UNEQUAL,
    ),
    _mutation(
        "fold does not count",
        "plain",
        "zone, atom(value.fold))",
        "zone)",
        UNEQUAL,
    ),
    _mutation(
        "maxlen does not count",
        "plain",
        ", atom(value.maxlen))",
        ")",
        UNEQUAL,
    ),
    _mutation(
        "attributes in the order in which they were set",
        "objects",
        "sorted(attributes, key=str)",
        "attributes",
        EQUAL,
    ),
    _mutation(
        "the class of an object does not count",
        "objects",
        'pack("object", encode_class(kind, walk), encode_state(value, walk))',
        'pack("object", encode_state(value, walk)[-9:])',
        UNEQUAL,
    ),
    _mutation(
        "the value of an enum does not count",
        "objects",
        '        walk.encode_at(value._value_, ".value"),\n',
        "",
        UNEQUAL,
    ),
    _mutation(
        "a property that was read counts",
        "objects",
        "return isinstance(member, functools.cached_property)",
        "return member is functools",
        EQUAL,
    ),
    _mutation(
        "arrays in the order of memory",
        "arrays",
        "        for run in _runs(values):\n            update(hasher, run)\n    return",
        '        update(hasher, values.ravel(order="K"))\n    return',
        UNEQUAL,
        EQUAL,
    ),
    _mutation(
        "shapes do not count",
        "arrays",
        'shape = b"%r" % (values.shape,)\n    return encode_dtype',
        'shape = b""\n    return encode_dtype',
        UNEQUAL,
    ),
    _mutation(
        "each NaN is its own",
        "arrays",
        "    if _has_nan(numbers):\n",
        "    if False:\n",
        EQUAL,
    ),
    _mutation(
        "the mask does not count",
        "arrays",
        "        *_parts(np.ma.getmaskarray(values), walk),\n",
        "",
        UNEQUAL,
    ),
    _mutation(
        "structured arrays with what lies between fields",
        "arrays",
        "    if dtype.names is not None:\n        # One by one",
        "    if False:\n        # One by one",
        EQUAL,
    ),
    _mutation(
        "attrs do not count",
        "frames",
        'attrs = walk.encode_at(value.attrs or None, ".attrs")',
        'attrs = b""',
        UNEQUAL,
    ),
    _mutation(
        "columns without their places",
        "frames",
        "columns.append(dtypes[dtype])",
        "columns.sort()",
        UNEQUAL,
        "unit/test_digests_of_frames.py",
    ),
    _mutation(
        "the index does not count",
        "frames",
        '        "frame",\n        _of_class(frame, pd.DataFrame, walk),\n        walk.encode_at(frame.columns, ".columns"),\n        walk.encode_at(frame.index, ".index"),\n',
        '        "frame",\n        _of_class(frame, pd.DataFrame, walk),\n        walk.encode_at(frame.columns, ".columns"),\n',
        UNEQUAL,
    ),
    _mutation(
        "freq does not count",
        "frames",
        "_encode_series_cells(index, walk), freq)",
        "_encode_series_cells(index, walk))",
        UNEQUAL,
    ),
    _mutation(
        "what lies below a missing number counts",
        "frames",
        "filled = np.where(mask, data.dtype.type(0), data)",
        "filled = data",
        EQUAL,
    ),
    _mutation(
        "sparse cells as they are stored",
        "frames",
        "is_filling = same.all(axis=1) | (np.isnan(stored) & np.isnan(filling))",
        "is_filling = np.zeros(len(stored), bool)",
        EQUAL,
    ),
    _mutation(
        "Arrow text by whole buffers",
        "arrow",
        "memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]]",
        "memoryview(chunk.buffers()[2])",
        EQUAL,
    ),
    _mutation(
        "Arrow text without the lengths of its cells",
        "arrow",
        "            short.update(np.minimum(lengths, _MANY).astype(np.uint8).data)\n",
        "",
        UNEQUAL,
    ),
    _mutation(
        "nulls do not count",
        "arrow",
        'return pack("nulls", n_cells, hashlib.sha256(packed.data).digest())',
        'return pack("nulls", n_cells)',
        UNEQUAL,
    ),
    _mutation(
        "what lies below an Arrow null counts",
        "arrow",
        "values = np.where(_valid(chunk), values, np.zeros(1, cells))",
        "pass",
        EQUAL,
    ),
)
