"""Options that several commands have, and the values that their texts stand for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from prefect_ds_command.flow_names import is_flow_name, load_flow
from prefect_ds_command.running import STDOUT

Command = TypeVar("Command", bound=Callable[..., Any])


def _pairs(
    context: click.Context, option: click.Parameter, texts: Iterable[str]
) -> dict[str, Any]:
    """Return the values of ``name=value``: JSON, or else text as it is."""
    values = {}
    for text in texts:
        # The value may have further signs: `query=a=1`.
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{text!r}: give name=value")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values


parameters = click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="A parameter of the flow; the value is JSON, or else text.",
)

storage_options = click.option(
    "-o",
    "--storage-option",
    "storage_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="An option of fsspec's file system, for a URL.",
)

as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def where(command: Command) -> Command:
    """Add the arguments that name folders, paths, URLs, or a flow."""
    argument = click.argument(
        "where", nargs=-1, type=click.Path(), metavar="[FLOW | PATH...]"
    )
    return argument(command)


def place(names: tuple[str, ...]) -> Any:
    """Return a flow or a list of paths; without a name, this folder."""
    if not names:
        return "."
    if len(names) == 1 and is_flow_name(names[0]):
        return load_flow(names[0])
    for name in names:
        if is_flow_name(name):
            raise click.UsageError("give one flow, or paths, and not both")
    # A single path is the title of the listing as it is.
    if len(names) == 1:
        return names[0]
    return list(names)


def say(value: Any, is_json: bool, text: str | None = None) -> None:
    """Print a result: its JSON, or the text for people."""
    if is_json:
        # Times and paths as text.
        text = json.dumps(value, indent=2, default=str)
    click.echo(text, file=click.get_current_context().meta[STDOUT])
