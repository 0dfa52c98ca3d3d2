"""Random chains of Dask operations over several tasks, as the source of a program."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import Any

from tests.differential.flow_programs import Program

COLUMNS = {
    "n": "int",
    "k": "key",
    "x": "float",
    "w": "text",
    "c": "category",
    "t": "time",
    "i": "nullable",
    "f": "bool",
}
ODD_LABELS = ("a.b", "a", "'", "n m", "\u00fc", "a/b=c", "None", "0")


@dataclass
class Frame:
    """A stage's outcome, as far as the next ones and the comparison need to know it."""

    name: str
    columns: dict[str, str]
    """Label to kind."""
    is_ordered: bool = True
    """Whether the order of rows is plain Dask's, run for run."""
    has_index: bool = True
    """Whether the index belongs to the rows, and does not count them."""
    has_layout: bool = True
    """Whether partitions and divisions are plain Dask's."""
    is_sorted: bool = True
    """Whether Dask knows the divisions."""
    index_kind: str = "int"
    index_name: str | None = None


@dataclass
class ChainGenerator:
    """Writes one chain: stages, each kept, and tasks that read from them."""

    seed: int
    definitions: dict[str, str] = field(default_factory=dict)
    wiring: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    stages: dict[str, dict[str, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"chain {self.seed}")

    def program(self) -> Program:
        """Return the chain."""
        self._add_first("s0")
        if self.chance.random() < 0.4:
            self._add_first("o0")
        for number in range(1, self.chance.randint(2, 4)):
            self._add_stage(f"s{number}")
        if self.chance.random() < 0.2:
            self._add_duplicate_labels("d0")
        for number in range(self.chance.randint(1, 4)):
            self._add_read(f"r{number}")
        p = self.chance.randrange(5)
        parameters: dict[str, Any] = {"p": p, "xs": [], "s": "s"}
        return Program(
            self.seed,
            self.definitions,
            tuple(self.wiring),
            parameters,
            {**parameters, "p": p + 1},
            self.kept,
            stages=self.stages,
        )

    def _add_first(self, name: str) -> None:
        n_partitions = self.chance.randint(1, 5)
        sizes = [self.chance.choice([0, 1, 3, 8]) for _ in range(n_partitions)]
        known = self.chance.random() < 0.6 and sizes[-1] > 0
        frame = Frame(name, dict(COLUMNS), is_sorted=known)
        body = [f"out = first_frame(p + {self.seed % 7}, {sizes}, notes, {known})"]
        if self.chance.random() < 0.4:
            body += self._project(frame)
        self._define(frame, "p", body)
        self.wiring.append(f"{name} = {name}(p)")

    def _add_stage(self, name: str) -> None:
        source = self.chance.choice(self.frames[-2:])
        frame = dataclasses.replace(source, name=name, columns=dict(source.columns))
        body = ["out = a"]
        for _ in range(self.chance.randint(1, 4)):
            body += self._operation(frame)
        arguments = source.name
        if self.chance.random() < 0.35:
            other = self.chance.choice(self.frames)
            body += self._with_other(frame, other)
            arguments += f", {other.name}"
        self._define(frame, "a, b=None, p=None", body)
        by_parameter = ", p=p" if self.chance.random() < 0.3 else ""
        self.wiring.append(f"{name} = {name}({arguments}{by_parameter})")

    def _add_duplicate_labels(self, name: str) -> None:
        """Add a stage that no other takes, as few operations know such frames."""
        source = self.chance.choice(self.frames)
        if len(source.columns) < 2:
            return
        first, second = self.chance.sample(list(source.columns), 2)
        others = {one: kind for one, kind in source.columns.items() if one != second}
        others.pop(first)
        frame = dataclasses.replace(source, name=name, columns=others)
        body = [f"out = a.rename(columns={{{first!r}: {second!r}}})"]
        self._define(frame, "a", body)
        self.frames.pop()
        self.wiring.append(f"{name} = {name}({source.name})")

    def _define(self, frame: Frame, arguments: str, body: list[str]) -> None:
        name = frame.name
        self.frames.append(frame)
        lines = [
            f'@task(name="{name}", {self._kept(frame)})',
            f"def {name}({arguments}):",
            f'    notes.took("{name}")',
            *("    " + line for line in body),
            # Computed at each stage, as with us: across stages Dask's optimizer has
            # errors of its own (a column of a part of a concat loses rows).
            "    return out.persist() if is_stock else out",
        ]
        self.definitions[name] = "\n    ".join(lines)
        self.stages[name] = {
            "is_ordered": frame.is_ordered,
            "has_index": frame.has_index,
            "has_layout": frame.has_layout,
        }

    def _kept(self, frame: Frame) -> str:
        options = []
        way = self.chance.random()
        keys = [one for one, kind in frame.columns.items() if kind in ("key", "bool")]
        if way < 0.15 and keys and len(frame.columns) > 1 and "/" not in keys[0]:
            options.append(f"partition_on=[{keys[0]!r}]")
            frame.is_ordered = frame.has_layout = False
        elif way < 0.4:
            size = self.chance.choice(["300B", "2kB", "1MB"])
            options.append(f'partition_size="{size}"')
            frame.has_layout = False
        if self.chance.random() < 0.2:
            options.append('write_kwargs={"compression": "gzip"}')
        if self.chance.random() < 0.2:
            options.append(f"match={self.chance.choice(['code', 'inputs'])!r}")
        self.kept[frame.name] = frame.name
        return "**kept(" + ", ".join([f'"{frame.name}"', *options]) + ")"

    # Operations; each returns its lines, and says in the frame what they change

    def _operation(self, frame: Frame) -> list[str]:
        operations = [
            self._filter,
            self._filter,
            self._project,
            self._assign,
            self._rename,
            self._repartition,
            self._categories,
            self._set_index,
            self._shuffle,
            self._group,
            self._unique,
            self._reset_index,
        ]
        lines = self.chance.choice(operations)(frame)
        return lines or self._filter(frame)

    def _column(self, frame: Frame, *kinds: str) -> str | None:
        columns = [one for one, kind in frame.columns.items() if kind in kinds]
        return self.chance.choice(columns) if columns else None

    def _condition(self, frame: Frame) -> str:
        column = self.chance.choice(list(frame.columns))
        kind = frame.columns[column]
        of = f"out[{column!r}]"
        number = self.chance.randint(-10, 60)
        conditions = {
            "int": [f"{of} > {number}", f"{of}.isin([1, 5, {number}])", f"{of} != 7"],
            "key": [f"{of} == 2", f"{of} >= 1", f"{of} * 2 < 5"],
            "float": [f"{of} > 0", f"{of}.isna()", f"~({of} <= 0.5)"],
            "text": [f"{of} == 'a'", f"{of}.isna()", f"{of} > 'a'", f"{of} != ''"],
            "category": [f"{of} == 'x'", f"{of}.isin(['y', 'q'])"],
            "time": [f"{of} >= pd.Timestamp('2024-01-05')", f"{of}.notnull()"],
            "nullable": [f"({of} > 1).fillna(False)", f"{of}.isna()"],
            "bool": [of, f"~{of}", f"{of} == True"],
        }
        any_kind = [f"{of}.isna()", f"{of}.notnull()"]
        return f"({self.chance.choice(conditions.get(kind, any_kind))})"

    def _filter(self, frame: Frame) -> list[str]:
        condition = self._condition(frame)
        if self.chance.random() < 0.3:
            condition += self.chance.choice([" & ", " | "]) + self._condition(frame)
        return [f"out = out[{condition}]"]

    def _project(self, frame: Frame) -> list[str]:
        n_columns = self.chance.randint(1, len(frame.columns))
        columns = self.chance.sample(list(frame.columns), n_columns)
        frame.columns = {column: frame.columns[column] for column in columns}
        return [f"out = out[{columns!r}]"]

    def _assign(self, frame: Frame) -> list[str]:
        number = self._column(frame, "int", "key")
        if number is None:
            return []
        name = f"y{len(frame.columns)}"
        expression, kind = self.chance.choice(
            [("* 2", "int"), ("/ 2", "float"), ("% 3", "key"), ("> 10", "bool")]
        )
        frame.columns[name] = kind
        return [f"out = out.assign({name}=out[{number!r}] {expression})"]

    def _rename(self, frame: Frame) -> list[str]:
        column = self.chance.choice(list(frame.columns))
        free = [label for label in ODD_LABELS if label not in frame.columns]
        label = self.chance.choice(free)
        frame.columns = {
            (label if one == column else one): kind
            for one, kind in frame.columns.items()
        }
        return [f"out = out.rename(columns={{{column!r}: {label!r}}})"]

    def _repartition(self, frame: Frame) -> list[str]:
        return [f"out = out.repartition(npartitions={self.chance.randint(1, 6)})"]

    def _categories(self, frame: Frame) -> list[str]:
        column = self._column(frame, "text", "key")
        if column is None:
            return []
        del frame.columns[column]
        frame.columns[column] = "other"
        way = self.chance.random()
        line = f"out = out.assign(**{{{column!r}: out[{column!r}].astype('category')}})"
        moved = f"out = out[{list(frame.columns)!r}]"
        if way < 0.4:
            return [line, moved]
        if way < 0.7:
            return [line, "out = in_order(out.categorize())", moved]
        ordered = f"out[{column!r}].cat.as_known().cat.as_ordered()"
        known = f"out = in_order(out.assign(**{{{column!r}: {ordered}}}))"
        return [line, known, moved]

    def _set_index(self, frame: Frame) -> list[str]:
        column = self._column(frame, "int", "time", "key")
        if column is None or len(frame.columns) < 2:
            return []
        frame.index_kind = frame.columns.pop(column)
        frame.index_name = column
        frame.is_ordered, frame.has_index, frame.is_sorted = False, True, True
        return [f"out = out.set_index({column!r})"]

    def _shuffle(self, frame: Frame) -> list[str]:
        column = self._column(frame, "int", "key", "time", "bool")
        if column is None:
            return []
        frame.is_ordered = frame.is_sorted = False
        return [f"out = out.shuffle({column!r})"]

    def _group(self, frame: Frame) -> list[str]:
        by = self._column(frame, "key", "bool", "text")
        values = {
            "int": ["sum", "max", "mean"],
            "float": ["sum", "min", "count"],
            "nullable": ["max", "count"],
            "time": ["min", "max"],
        }
        columns = {
            column: self.chance.choice(values[kind])
            for column, kind in frame.columns.items()
            if kind in values
        }
        if by is None or not columns:
            return []
        split = self.chance.choice(["", "", "split_out=2"])
        kinds = {"count": "int", "mean": "float"}
        kept = {one: kinds.get(how, frame.columns[one]) for one, how in columns.items()}
        frame.columns = {by: frame.columns[by], **kept}
        frame.is_ordered = frame.has_index = frame.is_sorted = False
        frame.index_kind, frame.index_name = "int", None
        extra = f", {split}" if split else ""
        return [
            f"out = out.groupby({by!r}).agg({columns!r}{extra}).reset_index()",
            f"out = out[{list(frame.columns)!r}]",
        ]

    def _unique(self, frame: Frame) -> list[str]:
        column = self._column(frame, "key", "bool", "text")
        if column is None:
            return []
        frame.columns = {column: frame.columns[column]}
        frame.is_ordered = frame.has_index = frame.is_sorted = False
        return [f"out = out[[{column!r}]].drop_duplicates()"]

    def _reset_index(self, frame: Frame) -> list[str]:
        if not frame.is_ordered or not frame.has_layout:
            frame.has_index = False
        frame.is_sorted = False
        frame.index_kind, frame.index_name = "int", None
        return ["out = out.reset_index(drop=True)"]

    def _with_other(self, frame: Frame, other: Frame) -> list[str]:
        shared = [
            one
            for one, kind in frame.columns.items()
            if other.columns.get(one) == kind and kind in ("int", "key", "bool", "text")
        ]
        if shared and self.chance.random() < 0.6:
            by = self.chance.choice(shared)
            how = self.chance.choice(["inner", "left", "outer"])
            sizes = f"b.groupby({by!r}).size().rename('size').reset_index()"
            lines = [f"right = {sizes}"]
            if how != "inner":
                # Dask's meta does not know of the types that missing values have.
                lines.append(
                    f"out, right = nullable(out, {by!r}), nullable(right, {by!r})"
                )
                frame.columns = {
                    one: kind if kind in ("text", "time", "float") else "other"
                    for one, kind in frame.columns.items()
                }
            frame.columns["size"] = "int" if how == "inner" else "nullable"
            frame.is_ordered = frame.has_index = frame.is_sorted = False
            frame.index_kind, frame.index_name = "int", None
            return [*lines, f"out = out.merge(right, on={by!r}, how={how!r})"]
        if frame.index_kind != other.index_kind:
            return []  # No index in a file is of both.
        if frame.index_name != other.index_name:
            return []  # Dask's meta has another name than the parts.
        frame.is_sorted = False
        frame.is_ordered = frame.is_ordered and other.is_ordered
        frame.has_layout = frame.has_layout and other.has_layout
        frame.has_index = frame.has_index and other.has_index
        columns = {**frame.columns, **other.columns}
        frame.columns = {
            one: kind if frame.columns.get(one) == other.columns.get(one) else "other"
            for one, kind in columns.items()
        }
        return ["out = dd.concat([out, b])"]

    # Tasks that read from a stage, and keep nothing

    def _add_read(self, name: str) -> None:
        source = self.chance.choice(self.frames)
        frame = dataclasses.replace(source, name=name, columns=dict(source.columns))
        frame.columns = {
            one: kind for one, kind in frame.columns.items() if kind != "other"
        } or dict(source.columns)
        body = ["out = a"]
        way = self.chance.random()
        if way < 0.2 and frame.is_sorted and frame.index_kind == "int":
            low = self.chance.randrange(0, 200)
            body.append(f"out = out.loc[{low}:{low + 150}]")
        if way < 0.7 and set(frame.columns.values()) != {"other"}:
            body += self._filter(frame)
        if self.chance.random() < 0.5:
            body += self._project(frame)
        if way > 0.9:
            body = ["out = len(a)"]
        else:
            if not (frame.is_ordered and frame.has_layout):
                body.append("unknown = unknown_of(out)")
            body.append("out = out.compute()")
        unknown = ", unknown" if "unknown = unknown_of(out)" in body else ""
        lines = [
            f'@task(name="{name}")',
            f"def {name}(a):",
            f'    notes.took("{name}")',
            *("    " + line for line in body),
            f"    return read(out{unknown})",
        ]
        self.definitions[name] = "\n    ".join(lines)
        self.wiring.append(f"{name} = {name}({source.name})")


def chain_program(seed: int) -> Program:
    """Return the random chain of a seed."""
    return ChainGenerator(seed).program()
