"""Random Prefect flows, as the source text of a program.

Every flow that this makes has one right outcome: a task changes in place only what no
other task takes, and what fails does so by its inputs or its attempt.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

FILE_TYPES = ("parquet", "parquet", "feather", "csv", "json", "pickle", "orc")
SLOW_FILE_TYPES = ("excel", "hdf", "html", "xml", "stata")
ENDINGS = {
    "excel": "xlsx",
    "hdf": "h5",
    "pickle": "pkl",
    "stata": "dta",
    "text": "txt",
    "outputs": "json",
}
FRAME_KINDS = ("numbers", "text", "times", "categories", "missing", "empty")
TRIGGERS = (
    "all_finished",
    "any_successful",
    "any_failed",
    "all_failed",
    "some_failed(at_least=1)",
    "some_successful(at_least=1)",
    "not_all_skipped",
)

GIVES_FRAME = {
    "one": "frame(n, {kind!r})",
    "concat": "stacked(frame(n, {kind!r}), a, b)",
    "keys": "stacked(frame(n, {kind!r}), a, keys=True)",
    "part": "frame(n, {kind!r}).iloc[::-2]",
    "none": "frame(n, {kind!r}) if n % 3 else None",
}
GIVES_OTHER = {
    "scalar": "n % 5",
    "text": "str(n % 7) + '/\\u00fc'",
    "items": "[number(n, i) % 3 for i in range(n % 4)]",
    "frames": "[frame(n + i, {kind!r}) for i in range(1 + n % 3)]",
    "nested": "[[n], (n % 2, frame(n, {kind!r})), {{'k': [n, n]}}]",
    "lists": "[[n % 3, i] for i in range(1 + n % 3)]",
    "dict": "{{'x': frame(n, {kind!r}), 'y': n % 4, 'z': {{n % 3, 'q', None}}}}",
    "twice": "[[one, one] for one in [frame(n, {kind!r})]][0]",
    "array": "np.arange(n % 5)[::-1]",
}
GIVES_OBJECT = {
    "record": "{{'y': n % 4, 2: [n % 3, [n % 2, -0.0]], 't': (n, None), 's': {{n % 3, 'q'}}}}",
    "arrays": "{{'a': np.arange(n % 5), 'b': np.ones((n % 3, 2))[:, ::-1]}}",
    "shared": "[[one, (one, [one])] for one in [[n % 3, frame(n, {kind!r})]]][0]",
    "held": "[Held(one, [one, n % 3]) for one in [frame(n, {kind!r})]][0]",
    "outputs": "{{'x': frame(n, {kind!r}), 'y': {{'v': n % 4}}, 'z': [[n % 3], n]}}",
}
"""Only where objects are kept, too."""
OBJECT_TYPES = {
    "scalar": ("json", "pickle"),
    "text": ("json", "text", "pickle"),
    "items": ("json", "pickle"),
    "frames": ("pickle",),
    "nested": ("pickle",),
    "lists": ("json", "pickle"),
    "dict": ("pickle",),
    "twice": ("pickle",),
    "array": ("npy", "pickle"),
    "record": ("json", "pickle"),
    "arrays": ("npz", "pickle"),
    "shared": ("pickle",),
    "held": ("pickle",),
    "handed on": ("pickle",),
    "outputs": ("outputs",),
}
"""What is no frame, and the types of files that keep it."""
COLLECTED = {
    "[{0}, {1}]": "a[0]",
    "({0}, [{1}, 3])": "a[1]",
    "[[{0}], [{0}, {1}]]": "a[-1]",
    "{{'k': {0}, 'l': [{1}, {0}]}}": "a['l']",
}
"""Collections of two results, and a part of each that a task may hand on."""
SEQUENCES = ("items", "frames", "lists", "twice", "shared")
"""Outcomes that Prefect can map over without an error."""


@dataclass
class Variable:
    """A task's outcome, as later tasks of the flow may take it."""

    name: str
    outcome: str
    is_mapped: bool
    is_fresh: bool
    """Whether its objects are its own: no other task's outcome has them too."""
    by_parameter: bool
    """Whether it changes when the flow's parameters do."""
    n_uses: int = 0


@dataclass(frozen=True)
class Program:
    """A flow's source and what a comparison has to know of it."""

    seed: int
    definitions: dict[str, str]
    """Source of each task."""
    wiring: tuple[str, ...]
    """The lines that put the flow together."""
    parameters: dict[str, Any]
    changed_parameters: dict[str, Any]
    kept: dict[str, str] = field(default_factory=dict)
    """Task to the template of its checkpoint."""
    changed_in_place: tuple[str, ...] = ()
    """Tasks whose values in the final state may have been changed by a later one."""
    stages: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Of a chain: what of a stage's frame is the same run for run."""

    @property
    def source(self) -> str:
        """Return the source of the function that makes the flow."""
        lines = [
            "def build(folder, kept):",
            "    notes = Notes(folder)",
            '    is_stock = not kept("any")',
            *("    " + text for text in self.definitions.values()),
            '    with Flow("random") as flow:',
            '        p = Parameter("p", default=1)',
            '        xs = Parameter("xs", default=[1])',
            '        s = Parameter("s", default="s")',
            "        for parameter in (p, xs, s):",
            "            flow.add_task(parameter)",
            *("        " + line for line in self.wiring),
            "    return flow",
        ]
        return "\n".join(lines) + "\n"

    def facts(self) -> dict[str, Any]:
        """Return what a comparison has to know, as plain values."""
        return {
            "parameters": self.parameters,
            "changed": self.changed_parameters,
            "kept": self.kept,
            "changed_in_place": self.changed_in_place,
            "flattened": sorted({*re.findall(r"flatten\((\w+)\)", self.source)}),
            "stages": self.stages,
        }


class FlowGenerator:
    """Writes one flow, task by task.

    Parameters
    ----------
    seed
        The same seed gives the same flow.
    with_slow_types
        Also file types that take pandas long to write.
    with_objects
        Tasks keep whatever they return, not frames alone.
    """

    def __init__(
        self, seed: int, *, with_slow_types: bool = False, with_objects: bool = False
    ) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.gives_other = GIVES_OTHER | (GIVES_OBJECT if with_objects else {})
        self.object_types = OBJECT_TYPES if with_objects else {}
        self.file_types = FILE_TYPES + (SLOW_FILE_TYPES if with_slow_types else ())
        self.definitions: dict[str, str] = {}
        self.wiring: list[str] = []
        self.variables: list[Variable] = []
        self.kept: dict[str, str] = {}
        self.changed_in_place: set[str] = set()
        self.share_kept = self.chance.choice([0.3, 0.6, 0.9])
        self.indent = ""

    def program(self) -> Program:
        """Return the flow."""
        for name, outcome in (("p", "scalar"), ("xs", "items"), ("s", "scalar")):
            self.variables.append(Variable(name, outcome, False, False, True))
        for _ in range(self.chance.randint(4, 11)):
            self._add()
        parameters, changed = self._parameters()
        return Program(
            self.seed,
            self.definitions,
            tuple(self.wiring),
            parameters,
            changed,
            self.kept,
            tuple(sorted(self.changed_in_place)),
        )

    def _parameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        n_children = self.chance.choice([0, 1, 2, 3, 3, 4])
        xs = [self.chance.randrange(4) for _ in range(n_children)]
        parameters = {"p": self.chance.randrange(5), "xs": xs, "s": "a/b"}
        changed = json.loads(json.dumps(parameters))
        name = self.chance.choice(["p", "xs", "s"])
        if name == "p":
            changed["p"] += 1
        elif name == "s":
            changed["s"] = "a_b"
        else:
            changed["xs"] = [*xs[1:], self.chance.randrange(6)]
        return parameters, changed

    # The choice of the next task

    def _add(self) -> None:
        way = self.chance.random()
        if way < 0.12:
            self._add_change()
        elif way < 0.22:
            self._add_cases()
        elif way < 0.3:
            self._add_handed_on()
        else:
            self._add_task()

    def _add_task(self, *, may_map: bool = True) -> Variable:
        is_mapped = may_map and self.chance.random() < 0.45
        outcome = self._outcome()
        name = f"t{len(self.definitions)}"
        if is_mapped:
            arguments, taken, scalar_map = self._mapped_arguments()
            call = f"{name}.map({', '.join(arguments)})"
        else:
            arguments, taken = self._arguments(self.chance.randint(0, 3))
            scalar_map = False
            call = f"{name}({', '.join(arguments)})"
        variable = self._define(name, outcome, is_mapped, taken, scalar_map)
        self.wiring.append(f"{self.indent}{name} = {call}")
        if outcome == "twice" and not is_mapped and self.chance.random() < 0.7:
            self._add_items(variable)
        if outcome == "outputs" and not is_mapped and self.chance.random() < 0.7:
            self._add_outputs(variable)
        return variable

    def _add_items(self, of: Variable) -> None:
        """Add the two items of a pair, as variables of their own."""
        items = [f"{of.name}_0", f"{of.name}_1"]
        if "nout=2" in self.definitions[of.name]:
            self.wiring.append(f"{self.indent}{', '.join(items)} = {of.name}")
        else:
            for at, item in enumerate(items):
                self.wiring.append(f"{self.indent}{item} = {of.name}[{at}]")
        for item in items:
            self.variables.append(Variable(item, "one", False, False, of.by_parameter))
        of.n_uses += 1

    def _add_outputs(self, of: Variable) -> None:
        """Add the members of a dict, as variables of their own."""
        for key, outcome in (("x", "one"), ("y", "dict"), ("z", "nested")):
            name = f"{of.name}_{key}"
            self.wiring.append(f"{self.indent}{name} = {of.name}[{key!r}]")
            self.variables.append(
                Variable(name, outcome, False, False, of.by_parameter)
            )
        of.n_uses += 1

    def _outcome(self) -> str:
        if self.chance.random() < 0.12:
            return "same"
        share_of_frames = 0.35 if self.object_types else 0.55
        kinds = GIVES_FRAME
        if self.chance.random() >= share_of_frames:
            kinds = self.gives_other
        return self.chance.choice(list(kinds))

    def _add_change(self) -> None:
        """Add a task that changes in place what another one gives to it alone."""
        source = self._add_fresh()
        if self.chance.random() < 0.3:
            # On its way it is handed on as it is.
            source = self._add_hand_on(source)
        name = f"t{len(self.definitions)}"
        source.n_uses += 1
        self.changed_in_place.add(source.name)
        is_mapped = source.is_mapped and self.chance.random() < 0.6
        forms = ["{0}", "[{0}]", "{0}, {0}", "{{'k': {0}}}"]
        call = self.chance.choice(forms).format(source.name)
        if is_mapped:
            call = source.name
        outcome = self.chance.choice(["changed", "changed", "scalar", "one"])
        self._define(name, outcome, is_mapped, [source], False, changes=True)
        mapped = ".map" if is_mapped else ""
        self.wiring.append(f"{self.indent}{name} = {name}{mapped}({call})")

    def _add_fresh(self) -> Variable:
        """Add a task whose outcome only the next one is to take."""
        made = self._add_task()
        while not made.is_fresh or made.n_uses:
            made = self._add_task()
        self.variables.remove(made)
        return made

    def _add_hand_on(self, source: Variable) -> Variable:
        name = f"t{len(self.definitions)}"
        self.changed_in_place.add(source.name)
        source.n_uses += 1
        made = self._define(name, "same", source.is_mapped, [source], False)
        self.variables.remove(made)
        mapped = ".map" if source.is_mapped else ""
        self.wiring.append(f"{self.indent}{name} = {name}{mapped}({source.name})")
        return made

    def _add_handed_on(self) -> None:
        """Add a collection, tasks that hand it on, and one that takes all of them."""
        changes = self.chance.random() < 0.3
        sources = [self._add_fresh() if changes else self._source() for _ in range(2)]
        form = self.chance.choice(list(COLLECTED))
        name = f"c{len(self.wiring)}"
        collection = form.format(*[source.name for source in sources])
        self.wiring.append(f"{self.indent}{name} = as_task({collection})")
        by_parameter = any(source.by_parameter for source in sources)
        taken = [Variable(name, "collected", False, False, by_parameter)]
        for source in sources:
            source.n_uses += 1
        for _ in range(self.chance.randint(1, 2)):
            of = self.chance.choice(taken)
            given = ["a", "a", "[a]", "{'h': a, 'n': [n]}"]
            if of is taken[0]:
                given.append(COLLECTED[form])
            handed = f"t{len(self.definitions)}"
            expression = self.chance.choice(given)
            made = self._define(
                handed, "handed on", False, [of], False, handing_on=expression
            )
            self.variables.remove(made)
            self.wiring.append(f"{self.indent}{handed} = {handed}({of.name})")
            taken.append(made)
        self.chance.shuffle(taken)
        taker = f"t{len(self.definitions)}"
        outcome = self.chance.choice(["changed", "scalar", "one", "concat"])
        if changes and outcome in ("changed", "concat"):
            # Between processes what it takes are copies, in Prefect too: of what it
            # makes of them, nothing is to hang on which of them are one.
            outcome = "scalar"
        self._define(taker, outcome, False, taken, False, changes=changes)
        arguments = ", ".join(one.name for one in taken)
        self.wiring.append(f"{self.indent}{taker} = {taker}({arguments})")
        if changes:
            # The collection itself is a task of Prefect's.
            self.changed_in_place.update(
                one.name for one in [*sources, *taken] if one.outcome != "collected"
            )
        else:
            self.variables[-1:-1] = taken

    def _add_cases(self) -> None:
        """Add two branches, of which one is taken, and what merges them."""
        condition = self._define(
            f"t{len(self.definitions)}", "condition", False, [self.variables[0]], False
        )
        self.variables.remove(condition)
        self.wiring.append(f"{self.indent}{condition.name} = {condition.name}(p)")
        if self.chance.random() < 0.3:
            branches = [self._add_task(may_map=False).name for _ in range(2)]
            chosen = f"{{True: {branches[0]}, False: {branches[1]}}}"
            self.wiring.append(f"{self.indent}switch({condition.name}, {chosen})")
        else:
            branches = [
                self._add_case(condition.name, value) for value in (True, False)
            ]
        name = f"m{len(self.wiring)}"
        self.wiring.append(f"{self.indent}{name} = merge({', '.join(branches)})")
        self.variables.append(Variable(name, "merged", False, False, True))

    def _add_case(self, condition: str, value: bool) -> str:
        """Add the tasks that run if the condition has the value, and return one."""
        known = list(self.variables)
        self.wiring.append(f"{self.indent}with case({condition}, {value}):")
        self.indent += "    "
        last = self._add_task(may_map=False)
        if self.chance.random() < 0.4:
            self._add_task()
        self.indent = self.indent[:-4]
        if self.chance.random() < 0.7:
            # What follows stays inside of the branch, mostly.
            self.variables = known
        return last.name

    # Arguments

    def _arguments(self, n: int) -> tuple[list[str], list[Variable]]:
        arguments, taken = [], []
        is_flat: dict[str, bool] = {}
        for _ in range(n):
            if self.chance.random() < 0.2:
                arguments.append(self._constant())
                continue
            source = self._source()
            taken.append(source)
            form = self.chance.choice(["{0}"] * 6 + ["[{0}, {0}]", "({0}, 1)"])
            flatten = source.is_mapped and self.chance.random() < self._share_flat(
                source
            )
            # With and without `flatten` in one task, Prefect gives one of them to both.
            if is_flat.setdefault(source.name, flatten):
                form = "flatten({0})"
            elif self.chance.random() < 0.15:
                other = self._source()
                taken.append(other)
                form = f"{{{{'a': {{0}}, 'b': [{other.name}, 2]}}}}"
            arguments.append(form.format(source.name))
        return arguments, taken

    def _share_flat(self, source: Variable) -> float:
        # Over frames Prefect goes label by label, which ends most flows.
        return 0.25 if source.outcome in SEQUENCES else 0.01

    def _mapped_arguments(self) -> tuple[list[str], list[Variable], bool]:
        """Return arguments of which the first is mapped over."""
        sequences = [
            one for one in self.variables if one.is_mapped or one.outcome in SEQUENCES
        ]
        source = self.chance.choice(sequences)
        taken = [source]
        scalar = source.outcome == "items" and not source.is_mapped
        scalar = scalar or (source.is_mapped and source.outcome == "scalar")
        form = "{0}"
        nests = source.outcome in SEQUENCES and (
            source.is_mapped or source.outcome == "lists"
        )
        if nests and self.chance.random() < 0.7:
            form = "flatten({0})"
            scalar = False
        arguments = [form.format(source.name)]
        if self.chance.random() < 0.1:
            arguments = [self._constant_list()]
            taken, scalar = [], True
        for _ in range(self.chance.randint(0, 1)):
            other = self._source()
            taken.append(other)
            if other.is_mapped and self.chance.random() < 0.5:
                arguments.append(other.name)
                scalar = False
            else:
                arguments.append(f"unmapped({other.name})")
        return arguments, taken, scalar

    def _source(self) -> Variable:
        # Late ones more often: flows are deep rather than wide.
        weights = range(1, len(self.variables) + 1)
        return self.chance.choices(self.variables, weights)[0]

    def _constant(self) -> str:
        return self.chance.choice(
            [
                "None",
                "7",
                "'text'",
                "[1, [2, 'x']]",
                "{'k': (1, None), 2: {3, 'three'}}",
                "frame(3, 'text')",
                "1.0",
                "True",
            ]
        )

    def _constant_list(self) -> str:
        return self.chance.choice(["[1, 2]", "[0, 0, 1]", "['a', 'b/c']", "[]"])

    # The task itself

    def _define(
        self,
        name: str,
        outcome: str,
        is_mapped: bool,
        taken: list[Variable],
        scalar_map: bool,
        changes: bool = False,
        handing_on: str = "",
    ) -> Variable:
        for source in taken:
            source.n_uses += 1
        # In a branch a parameter decides whether there is anything to take.
        by_parameter = any(source.by_parameter for source in taken) or bool(self.indent)
        options = [f'name="{name}"']
        before, raises = self._raises(name, outcome, changes)
        options += raises
        if outcome == "twice" and self.chance.random() < 0.5:
            options.append("nout=2")
        trigger = ""
        if self.chance.random() < 0.15 and outcome != "condition":
            trigger = self.chance.choice(TRIGGERS)
            options.append(f"trigger=triggers.{trigger}")
        if self.chance.random() < 0.06:
            options.append("skip_on_upstream_skip=False")
            trigger = "any"
        expression = handing_on or self._expression(outcome)
        is_frame = outcome in GIVES_FRAME or outcome in ("same", "changed")
        is_kept = is_frame and self.chance.random() < self.share_kept
        if is_kept:
            options.append(
                self._kept(name, is_mapped, scalar_map, by_parameter, trigger)
            )
            if outcome != "none":
                expression = f"as_frame({expression})"
            if outcome == "same":
                # Two checkpoints are two objects, whatever was handed on.
                expression += ".copy()"
        elif outcome in self.object_types and self.chance.random() < self.share_kept:
            options.append(
                self._kept(
                    name,
                    is_mapped,
                    scalar_map,
                    by_parameter,
                    trigger,
                    self.chance.choice(self.object_types[outcome]),
                )
            )
            if outcome == "handed on":
                expression = f"copy.deepcopy({expression})"
        body = [f'notes.took("{name}", a, b, c)', "n = number(a, b, c)", *before]
        if changes:
            body.append("change([a, b], n)")
        body.append(f'return notes.gave("{name}", {expression})')
        head = [f"@task({', '.join(options)})", f"def {name}(a=None, b=None, c=None):"]
        lines = ["    " + line for line in body]
        self.definitions[name] = "\n    ".join([*head, *lines])
        is_fresh = outcome in (*GIVES_FRAME, *SEQUENCES, "dict", "record", "outputs")
        variable = Variable(name, outcome, is_mapped, is_fresh, by_parameter)
        self.variables.append(variable)
        return variable

    def _expression(self, outcome: str) -> str:
        kind = self.chance.choice(FRAME_KINDS)
        if outcome == "condition":
            return "n % 2 == 0"
        if outcome in ("same", "changed"):
            return "a"
        known = {**GIVES_FRAME, **self.gives_other}
        return known[outcome].format(kind=kind)

    def _raises(
        self, name: str, outcome: str, changes: bool
    ) -> tuple[list[str], list[str]]:
        """Return lines that may end the body early, and options of the task."""
        if outcome == "condition":
            return [], []
        lines, options = [], []
        if not changes and self.chance.random() < 0.15:
            n_failures = self.chance.randint(1, 2)
            options = ["max_retries=2", "retry_delay=timedelta(0)"]
            lines += [
                f"if prefect.context.task_run_count <= {n_failures}:",
                f'    raise ValueError("{name} early")',
            ]
        if self.chance.random() < 0.2:
            # What is mapped over a number may have it in its path.
            given = "n % 5" if outcome == "scalar" else 'frame(n, "text")'
            if outcome in self.object_types and outcome in self.gives_other:
                given = self._expression(outcome)
            error = self.chance.choice(
                [
                    f'ValueError("{name}")',
                    f'signals.SKIP("{name}")',
                    f'signals.FAIL("{name}")',
                    f'signals.SUCCESS("{name}", result=notes.gave("{name}", {given}))',
                ]
            )
            lines += [f"if n % {self.chance.randint(1, 4)} == 0:", f"    raise {error}"]
        if self.chance.random() < 0.08:
            lines += [
                'turn = prefect.context.get("task_loop_count", 1)',
                "if turn < 3:",
                "    raise signals.LOOP(result=[turn, n])",
                'n = number(n, prefect.context["task_loop_result"])',
            ]
        return lines, options

    def _kept(
        self,
        name: str,
        is_mapped: bool,
        scalar_map: bool,
        by_parameter: bool,
        trigger: str,
        object_type: str = "",
    ) -> str:
        file_type = object_type or self.chance.choice(self.file_types)
        fields = ""
        if is_mapped:
            fields = "_{map_index}"
            if scalar_map and not trigger and self.chance.random() < 0.6:
                fields = "_{a}"
        if self.chance.random() < 0.2:
            fields += "_{s}"
        ending = ENDINGS.get(file_type, file_type)
        if (
            file_type in ("csv", "json")
            and not object_type
            and self.chance.random() < 0.3
        ):
            ending += ".gz"
        template = f"{name}{fields}.{ending}"
        match = self.chance.choice(["inputs", "inputs", "code", "path"])
        if match == "path" and by_parameter:
            match = "code"
        self.kept[name] = template
        more = ", by_target=True" if self.chance.random() < 0.15 else ""
        if file_type == "outputs":
            more = ""  # Its paths are its own.
        elif object_type:
            more += ", is_object=True"
        return f'**kept("{template}", "{file_type}", match="{match}"{more})'


def flow_program(
    seed: int, *, with_slow_types: bool = False, with_objects: bool = False
) -> Program:
    """Return the random flow of a seed."""
    generator = FlowGenerator(
        seed, with_slow_types=with_slow_types, with_objects=with_objects
    )
    return generator.program()
