"""What the cache of a process promises: a bound in bytes, and frames that nobody changes."""

import gc
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from prefect_ds.checkpoints import memory_cache as cache


@pytest.fixture(autouse=True)
def empty_cache():
    cache.resize(0)
    cache.resize(1_000_000)
    yield
    cache.resize(0)
    cache.resize(cache.DEFAULT_BYTES)


def frame(n_bytes=8_000, value=0.0):
    return pd.DataFrame(np.full((n_bytes // 480, 60), value)).rename(
        columns="x{}".format
    )


def test_what_was_put_comes_back_equal():
    kept = pd.DataFrame(
        {"x": [1.0, None], "s": ["a", None], "d": pd.to_datetime(["2024-01-01", None])},
        index=[5, 7],
    )
    cache.put("a", kept)
    pd.testing.assert_frame_equal(cache.get("a"), kept)
    assert cache.get("b") is None


def test_the_oldest_go_where_the_bound_is_reached():
    for number in range(20):
        cache.put(str(number), frame(100_000, number))
        cache.get("0")
    there = [number for number in range(20) if cache.get(str(number)) is not None]
    assert 0 in there, "what is used is kept"
    assert 8 <= len(there) <= 11
    assert 19 in there


def test_a_frame_of_more_than_half_of_the_bound_is_not_kept():
    cache.put("a", frame(400_000))
    cache.put("big", frame(600_000))
    assert cache.get("big") is None
    assert cache.get("a") is not None


def test_a_smaller_bound_evicts_and_0_switches_the_cache_off():
    for number in range(5):
        cache.put(str(number), frame(100_000))
    cache.resize(250_000)
    assert sum(cache.get(str(number)) is not None for number in range(5)) == 2
    cache.resize(0)
    cache.put("new", frame(500))
    cache.put("empty", pd.DataFrame())
    assert all(cache.get(key) is None for key in ("0", "4", "new", "empty"))


def test_a_change_of_what_was_handed_out_reaches_nobody():
    cache.put(
        "a",
        pd.DataFrame(
            {"x": [1, 2], "s": ["p", "q"], "m": pd.array([1, None], dtype="Int64")}
        ),
    )
    got = cache.get("a")
    got.loc[0, "x"] = 99
    got["x"].array[1] = 99
    got["m"].array[0] = 99
    got["s"].array[0] = "changed"
    got.columns = ["u", "v", "w"]
    got.attrs["note"] = "changed"
    again = cache.get("a")
    expected = pd.DataFrame(
        {"x": [1, 2], "s": ["p", "q"], "m": pd.array([1, None], dtype="Int64")}
    )
    pd.testing.assert_frame_equal(again, expected)
    assert again.attrs == {}


def test_a_change_of_what_was_put_reaches_nobody():
    given = pd.DataFrame(
        {"x": [1, 2], "m": pd.array([1, 2], dtype="Int64")}, index=pd.Index([1, 2])
    )
    given.attrs["note"] = ["as it was"]
    cache.put("a", given)
    given["x"].array[1] = 99
    given["m"].array[0] = 99
    given.loc[1, "x"] = 98
    given.attrs["note"].append("changed")
    got = cache.get("a")
    assert got["x"].tolist() == [1, 2]
    assert got["m"].tolist() == [1, 2]
    assert got.attrs == {"note": ["as it was"]}


@pytest.mark.parametrize(
    "kept",
    [
        pd.DataFrame({"x": [[1], [2]]}),
        pd.DataFrame(
            {"x": [1]}, index=pd.Index([(1, 2)], dtype=object, tupleize_cols=False)
        ),
        pd.DataFrame({"x": [1]}, index=pd.MultiIndex.from_tuples([(1, "a")])),
    ],
    ids=["column", "index", "MultiIndex"],
)
def test_python_objects_are_not_kept(kept):
    cache.put("a", kept)
    assert cache.get("a") is None


def test_a_few_rows_of_a_big_frame_do_not_hold_the_big_one():
    tracemalloc.start()
    for number in range(10):
        cache.put(str(number), frame(4_000_000, number).iloc[:10])
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3_000_000


def test_a_few_strings_of_many_do_not_hold_the_many():
    import pyarrow as pa

    before = pa.total_allocated_bytes()
    for number in range(10):
        cache.put(
            str(number),
            pd.DataFrame(
                {"s": pd.array(["x" * 100 + str(number)] * 20_000, dtype="str")}
            ).iloc[:10],
        )
    gc.collect()
    assert pa.total_allocated_bytes() - before < 3_000_000


def test_many_threads_share_it():
    errors = []

    def use(number):
        try:
            for turn in range(60):
                cache.put(f"{turn % 7}", frame(60_000, turn % 7))
                got = cache.get(f"{turn % 7}")
                assert got is None or (got["x0"] == turn % 7).all()
                if number == 0:
                    cache.resize(300_000 + 100_000 * (turn % 3))
        except BaseException as error:  # noqa: BLE001 - to be shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize(
    "heavy",
    [
        pd.DataFrame({"x": pd.Categorical(["t" * 2_000_000])}),
        pd.DataFrame({"x": [1]}, index=pd.CategoricalIndex(["t" * 2_000_000])),
        pd.DataFrame({"x": [1]}, index=["t" * 2_000_000]),
        pd.DataFrame({"t" * 2_000_000: [1]}),
        pd.DataFrame({"x": pd.Categorical([("t" * 2_000_000,)])}),
    ],
)
def test_what_hangs_on_a_frame_counts(heavy):
    cache.put("heavy", heavy)
    assert cache.get("heavy") is None


def test_attrs_count():
    given = pd.DataFrame({"x": [1]})
    given.attrs["text"] = "t" * 2_000_000
    cache.put("heavy", given)
    assert cache.get("heavy") is None


def test_an_index_is_handed_out_as_a_copy_and_keeps_its_freq():
    given = pd.DataFrame(
        {"x": [1, 2]}, index=pd.date_range("2024", periods=2, name="day")
    )
    cache.put("a", given)
    got = cache.get("a")
    values = got.index.to_numpy()
    values.flags.writeable = True
    values[:] = values[0]
    pd.testing.assert_frame_equal(cache.get("a"), given)
    assert cache.get("a").index.freq == given.index.freq
