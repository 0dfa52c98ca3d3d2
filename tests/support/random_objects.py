"""Random values of each type of file for objects, the same ones in each process."""

from __future__ import annotations

import datetime
import decimal
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from prefect_ds import ObjectResultHandler
from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.objects.same import difference

N_VALUES = 40
ENDINGS = (".json", ".npy", ".npz", ".pkl", ".joblib", ".txt", ".bin")
_CHARACTERS = ["a", "Z", "7", " ", '"', "\\", "\n", "\r", "\0", "é", "\u2028", "🍕"]
_DTYPES = (*"?bBhHiIlLqQefdgFD", "<U5", ">i4", ">f8", "S3", "M8[ns]", "m8[D]", "V4")


def text(random_: random.Random) -> str:
    return "".join(random_.choices(_CHARACTERS, k=random_.randrange(12)))


def date_and_time(random_: random.Random) -> datetime.datetime:
    start = datetime.datetime(2024, 1, 1)
    return start + datetime.timedelta(microseconds=random_.randrange(10**14))


_SCALARS: tuple[Callable[[random.Random], Any], ...] = (
    text,
    date_and_time,
    lambda random_: random_.randrange(-(10 ** random_.randrange(1, 40)), 10**9),
    lambda random_: random_.uniform(-1, 1) * 10.0 ** random_.randrange(-300, 300),
    lambda random_: random_.choice([float("nan"), float("inf"), -0.0, 0.0, 1.0]),
    lambda random_: random_.choice([None, True, False]),
    lambda random_: np.float32(random_.random()),
    lambda random_: np.int8(random_.randrange(-128, 128)),
    lambda random_: decimal.Decimal(random_.randrange(10**9)).scaleb(-4),
    lambda random_: date_and_time(random_).date(),
    lambda random_: datetime.timedelta(seconds=random_.randrange(10**9)),
    lambda random_: pd.Timestamp(date_and_time(random_), tz="Europe/Rome"),
)


def nested(random_: random.Random, depth: int = 4) -> Any:
    """Return scalars in lists, tuples, dicts and sets."""
    kind = random_.choice(["scalar", "list", "tuple", "dict", "set"])
    n_items = random_.randrange(5)
    if kind == "scalar" or depth == 0:
        return random_.choice(_SCALARS)(random_)
    if kind == "dict":
        keys = [random_.choice(_SCALARS)(random_) for _ in range(n_items)]
        return {key: nested(random_, depth - 1) for key in keys}
    if kind == "set":
        return {random_.choice(_SCALARS)(random_) for _ in range(n_items)}
    items = [nested(random_, depth - 1) for _ in range(n_items)]
    return items if kind == "list" else tuple(items)


def array(random_: random.Random) -> np.ndarray:
    """Return an array of any dtype and shape, in any order of its axes."""
    dtype = np.dtype(random_.choice(_DTYPES))
    shape = [random_.randrange(5) for _ in range(random_.randrange(4))]
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    data = random_.randbytes(n_bytes)
    if dtype.kind == "U":
        data = np.array([text(random_)] * int(np.prod(shape)), dtype).tobytes()
    if dtype.kind == "b":
        data = bytes(byte & 1 for byte in data)
    if dtype.char == "g":
        data = np.array([random_.random()] * int(np.prod(shape)), dtype).tobytes()
    values = np.frombuffer(data, dtype).reshape(shape)
    if shape and random_.random() < 0.5:
        return values[::-1]
    return values.transpose()


def value_of(ending: str, random_: random.Random) -> Any:
    if ending == ".json":
        return nested(random_)
    if ending == ".npy":
        return array(random_)
    if ending == ".npz":
        return {text(random_): array(random_) for _ in range(random_.randrange(4))}
    if ending == ".txt":
        return text(random_) * random_.randrange(50)
    if ending == ".bin":
        return random_.randbytes(random_.randrange(5000))
    return {"nested": nested(random_), "array": array(random_)}


def values(ending: str) -> Iterator[Any]:
    """Yield values without end."""
    random_ = random.Random(ending)
    while True:
        yield value_of(ending, random_)


def write(folder: str) -> dict[str, list[str]]:
    """Write the values of all types; return what was said of those that are refused."""
    said: dict[str, list[str]] = {}
    for ending in ENDINGS:
        handler = ObjectResultHandler(f"{folder}/{{n}}{ending}")
        of_type = values(ending)
        said[ending] = []
        n_kept = 0
        for n in range(3 * N_VALUES):
            try:
                handler.write(next(of_type), n=n)
                n_kept += 1
            except (RoundTripError, ResultTypeError) as error:
                said[ending].append(str(error))
        assert n_kept >= N_VALUES, said[ending]
    return said


def differences(folder: str) -> list[str]:
    """Read what another process has written, and return how it differs, in words."""
    found = []
    for ending in ENDINGS:
        handler = ObjectResultHandler(f"{folder}/{{n}}{ending}")
        of_type = values(ending)
        for n in range(3 * N_VALUES):
            expected = next(of_type)
            path = handler.render({"n": n})
            if handler.look_up(path).manifest is None:
                continue
            differs = difference(expected, handler.load(path))
            if differs is not None:
                found.append(f"{path}: {differs}")
    return found
