"""Writers at one path at one time: one result is there whole, whatever the order of their steps."""

import itertools
import random

import pytest

from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
)
from prefect_ds.storage.describe import describe_file
from prefect_ds.storage.layout import manifest_folder
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import Turns
from tests.support.scale import SCALE
from tests.support.stores import (
    NEW,
    OLD,
    OTHER,
    LocalStoreCase,
    MemoryStoreCase,
    in_force,
    read,
    set_aside,
    write,
)

pytestmark = pytest.mark.usefixtures("no_cache", "no_waiting")


class WritersContract:
    """What several writers at one path get on every file system."""

    def race(self, store, path, order, *writers):
        """Run commits in turns; return what each returned, and how many turns each took."""
        turns = Turns(order)

        def writer(number, data, about):
            mine = CheckpointStore(turns.files(number, store.files))
            return lambda: write(mine, path, data, **about)

        return turns.run(
            *(
                writer(number, data, about)
                for number, (data, about) in enumerate(writers)
            )
        )

    def check_race(self, store, path, outcomes, relation, data, *, is_first=True):
        if relation == "collision":
            errors = [
                outcome for outcome in outcomes if isinstance(outcome, BaseException)
            ]
            assert errors
            for error in errors:
                assert isinstance(error, CollisionError)
                assert "'task[0]'" in str(error)
                assert "'task[1]'" in str(error)
            assert (
                store.look_up(path).manifest is None
                or store.look_up(path).manifest.owner.run_id != "r"
            )
            return
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        assert store.files.status(path) is not None
        assert store.files.names(manifest_folder(path)), (
            "finished data without a manifest"
        )
        committed = store.files.read_bytes(in_force(store, path))
        found = store.look_up(path)
        assert found.kind == "committed"
        assert Manifest.from_json(committed) == found.manifest
        there = read(store, path)
        winner = data.index(there)
        assert (
            found.manifest.parts[0].checksum == describe_file(path, there, 1).checksum
        )
        assert found.manifest.owner.map_index == winner
        assert store.verify(path) == []
        assert set_aside(store, path) == []
        if relation == "same" and is_first:
            assert {outcome.attempt for outcome in outcomes} == {
                found.manifest.attempt
            }, "both hand on what stands"

    def writers(self, relation, data):
        runs = ("r", "r") if relation == "collision" else ("r", "s")
        inputs = ("1", "1", "1") if relation == "same" else ("1", "2", "3")
        return [
            (
                each,
                {
                    "inputs": inputs[number],
                    "run": [*runs, "t"][number],
                    "map_index": number,
                },
            )
            for number, each in enumerate(data)
        ]

    def orders(self, limit):
        """Give every order in which two commits of up to ``limit`` calls share three changes of turn at most."""
        for first, second, third in itertools.product(
            range(limit), range(0, limit, 2), (1, 2, 20)
        ):
            yield (0,) * first + (1,) * second + (0,) * third + (1,) * 20

    @pytest.mark.parametrize("old", [None, OTHER], ids=["nothing", "stale"])
    @pytest.mark.parametrize("relation", ["other", "same", "collision"])
    def test_of_two_writers_one_result_stands_whole(self, store, path, relation, old):
        self.sweep_two(store, path, relation, old, self.orders(self.n_steps))

    @pytest.mark.slow
    @pytest.mark.parametrize("old", [None, OTHER], ids=["nothing", "stale"])
    @pytest.mark.parametrize("relation", ["other", "same", "collision"])
    def test_of_two_writers_in_every_order_one_result_stands_whole(
        self, store, path, relation, old
    ):
        places = itertools.combinations(range(2 * self.n_steps), self.n_steps)
        orders = [
            tuple(int(turn in place) for turn in range(2 * self.n_steps))
            for place in map(set, places)
        ]
        if len(orders) > 150 * SCALE:
            orders = random.Random(0).sample(orders, 150 * SCALE)
        self.sweep_two(store, path, relation, old, orders)

    def sweep_two(self, store, path, relation, old, orders):
        data = [OLD, NEW]
        problems = []
        for number, order in enumerate(orders):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            if old is not None:
                write(store, here, old, inputs="0", run="before", map_index=9)
            outcomes, _ = self.race(store, here, order, *self.writers(relation, data))
            try:
                self.check_race(
                    store, here, outcomes, relation, data, is_first=old is None
                )
            except Exception as error:  # noqa: BLE001 - collected
                problems.append((order, repr(error)[:300]))
            store.files.remove(here.rpartition("/")[0])
        assert problems == []

    def sample_three(self, store, path, n_rounds):
        random_order = random.Random(0)
        data = [OLD, NEW, OTHER]
        for number in range(n_rounds):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            relation = ["other", "same"][number % 2]
            if number % 4 < 2:
                write(store, here, b"before", inputs="0", run="before", map_index=9)
            order = [random_order.randrange(3) for _ in range(30)]
            outcomes, _ = self.race(store, here, order, *self.writers(relation, data))
            try:
                self.check_race(store, here, outcomes, "other", data)
            except AssertionError:
                print("order", order, relation, outcomes)
                raise
            store.files.remove(here.rpartition("/")[0])

    def test_of_three_writers_one_result_stands_whole(self, store, path):
        self.sample_three(store, path, 60)

    @pytest.mark.slow
    def test_of_three_writers_in_many_orders_one_result_stands_whole(self, store, path):
        self.sample_three(store, path, 50 * SCALE)

    @pytest.mark.parametrize("n_writers", [1, 2])
    def test_a_reader_beside_writers_gets_one_whole_result_or_is_told_that_it_was_replaced(
        self, store, path, n_writers
    ):
        data = [OLD, NEW, OTHER]
        problems = []
        random_order = random.Random(1)
        limit = self.n_steps
        if n_writers == 1:
            orders = [
                (0,) * k + (1,) * j + (0,) * 20
                for k in range(limit)
                for j in range(limit)
            ]
        else:
            orders = [
                [random_order.choice([0, 1, 1, 2, 2]) for _ in range(30)]
                for _ in range(80)
            ]
        for number, order in enumerate(orders):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            write(store, here, OLD, inputs="0", run="before", map_index=0)
            turns = Turns(order)

            def reader(turns=turns, here=here):
                mine = CheckpointStore(turns.files(0, store.files))
                found = mine.look_up(here)
                if found.manifest is None:
                    return found
                return found.manifest, mine.read_data(here, found.manifest.parts[0])

            def writer(number, turns=turns, here=here):
                mine = CheckpointStore(turns.files(number, store.files))
                about = {
                    "inputs": str(number),
                    "run": f"r{number}",
                    "map_index": number,
                }
                return lambda: write(mine, here, data[number], **about)

            outcomes, _ = turns.run(
                reader, *(writer(number) for number in range(1, n_writers + 1))
            )
            got = outcomes[0]
            if isinstance(got, tuple):
                fine = got[1] == data[got[0].owner.map_index] and not got[0].adopted
            else:
                fine = isinstance(got, CheckpointNotFoundError)
            left = store.look_up(here)
            if not fine or left.kind != "committed" or set_aside(store, here):
                problems.append(
                    (order, repr(got)[:200], left.kind, set_aside(store, here))
                )
            store.files.remove(here.rpartition("/")[0])
        assert problems == []


class TestLocalStore(LocalStoreCase, WritersContract):
    pass


class TestMemoryStore(MemoryStoreCase, WritersContract):
    pass
