"""The commands; a command maps its options onto one call of prefect_ds.

That call is imported inside the command, so that the help of a command is there at
once.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from prefect_ds_command.flow_names import is_flow_name, load_flow
from prefect_ds_command.options import (
    as_json,
    parameters,
    place,
    say,
    storage_options,
    where,
)
from prefect_ds_command.running import Calls, run

STATES = (
    "valid",
    "stale",
    "missing",
    "orphan",
    "freed",
    "adopted",
    "damaged",
    "unknown",
)
"""Those of `prefect_ds.listing.rows`, which would import Prefect; a test compares."""

_TO_DO = {"stale", "missing", "damaged"}
"""States whose checkpoints the next run computes."""


def main() -> None:
    """Run the command and leave with its exit code."""
    sys.exit(run(commands))


@click.group(
    "prefect-ds",
    cls=Calls,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="prefect_ds")
def commands() -> None:
    """See the checkpoints of Prefect flows, and keep them in order.

    A FLOW is file.py, file.py:name or module:name. A PATH is a checkpoint, or a folder
    or URL with checkpoints.

    Exit codes: 0; 1 for a finding (see the help of a command); 2 for an error.
    Results go to stdout, problems to stderr.
    """


@commands.command()
@click.argument("flow", type=click.Path())
@parameters
@click.option("--refresh", multiple=True, metavar="TASK", help="A task to run anyway.")
@click.option("--check", is_flag=True, help="Exit with 1 if a task would run.")
@click.option("--html", metavar="FILE", help="Write a page with a graph of the flow.")
@as_json
def explain(
    flow: str,
    parameters: dict[str, Any],
    refresh: tuple[str, ...],
    check: bool,
    html: str | None,
    is_json: bool,
) -> int:
    """List what the next run of FLOW would load and run, and why."""
    import prefect_ds

    explained = prefect_ds.explain(load_flow(flow), parameters, refresh=refresh)
    if html is not None:
        explained.to_html(html)
    values = {
        "flow": explained.flow,
        "counts": explained.counts,
        "n_runs": explained.n_runs,
        "seconds": explained.seconds,
        "tasks": [asdict(step) for step in explained.steps],
    }
    say(values, is_json, str(explained))
    return int(check and explained.n_runs[1] > 0)


@commands.command()
@where
@parameters
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Of this state."
)
@click.option("--missing", is_flag=True, help="Those that are not there.")
@click.option("--task", help="Of the task of this name.")
@click.option("--older-than", metavar="AGE", help="Older than 30d, 12h, 30min.")
@click.option("--summary", is_flag=True, help="One line for every task.")
@click.option("--check", is_flag=True, help="Exit with 1 if any has to be computed.")
@storage_options
@as_json
def ls(
    where: tuple[str, ...],
    parameters: dict[str, Any],
    states: tuple[Any, ...],
    missing: bool,
    task: str | None,
    older_than: str | None,
    summary: bool,
    check: bool,
    storage_options: dict[str, Any],
    is_json: bool,
) -> int:
    """List the checkpoints in folders, or those of FLOW. Reads no data."""
    import prefect_ds

    listing = prefect_ds.checkpoints(
        place(where), parameters, storage_options=storage_options
    )
    if missing:
        states = (*states, "missing")
    listing = listing.filter(*states, task=task, older_than=older_than)
    # Only one of them is made: thousands of checkpoints take a while.
    if is_json:
        say(listing.to_dicts(), is_json)
    elif summary:
        say(None, is_json, listing.summary())
    else:
        say(None, is_json, listing.table())
    return int(check and not _TO_DO.isdisjoint(listing.counts))


@commands.command()
@click.argument("path", type=click.Path())
@click.option("--alone", is_flag=True, help="Do not look for what was made from it.")
@storage_options
@as_json
def show(
    path: str, alone: bool, storage_options: dict[str, Any], is_json: bool
) -> None:
    """Show one checkpoint: its origin, inputs, history, and what was made from it."""
    import prefect_ds

    details = prefect_ds.show(
        path, followers=not alone, storage_options=storage_options
    )
    say(details.to_dict(), is_json, str(details))


@commands.command()
@where
@parameters
@storage_options
@as_json
def verify(
    where: tuple[str, ...],
    parameters: dict[str, Any],
    storage_options: dict[str, Any],
    is_json: bool,
) -> int:
    """Read every byte of checkpoints; exit with 1 if any is damaged."""
    import prefect_ds

    verified = prefect_ds.verify(
        place(where), parameters, storage_options=storage_options
    )
    say(verified.to_dict(), is_json, str(verified))
    return int(not verified.is_sound)


@commands.command()
@where
@parameters
@click.option("--orphans", is_flag=True, help="What no task of FLOW renders any more.")
@click.option("--freed", is_flag=True, help="Data of FLOW that nothing needs.")
@click.option("--older-than", metavar="AGE", help="Older than 30d, 12h, 30min.")
@click.option("--max-size", metavar="SIZE", help="The oldest, until 50GB are left.")
@click.option("--set-aside", is_flag=True, help="Data that were set aside.")
@click.option("--leftovers/--no-leftovers", default=True, help="Of stopped writes; on.")
@click.option(
    "--leftovers-older-than",
    metavar="AGE",
    default="1d",
    show_default=True,
    help="Younger leftovers may be of a writer at work.",
)
@click.option("--yes", is_flag=True, help="Remove it. Without, it is only listed.")
@storage_options
@as_json
def prune(
    where: tuple[str, ...],
    parameters: dict[str, Any],
    yes: bool,
    storage_options: dict[str, Any],
    is_json: bool,
    **choices: Any,
) -> int:
    """List what may go from folders or from FLOW; with --yes, remove it.

    Never files that a person put there, unproved data, or writes under way. Exits with
    1 if something that was to go stayed.
    """
    import prefect_ds

    pruned = prefect_ds.prune(
        place(where),
        parameters,
        dry_run=not yes,
        storage_options=storage_options,
        **choices,
    )
    say(pruned.to_dict(), is_json, str(pruned))
    # On stderr, so that a pipe gets the list alone.
    if pruned.is_dry and pruned.items:
        click.echo("Give --yes to remove it.", err=True)
    return int(bool(pruned.kept))


@commands.command()
@click.argument(
    "where", nargs=-1, required=True, type=click.Path(), metavar="FLOW | PATH..."
)
@parameters
@click.option("--task", "tasks", multiple=True, help="A task of FLOW.")
@click.option("--inputs", is_flag=True, help="Also where an input has another value.")
@storage_options
@as_json
def accept(
    where: tuple[str, ...],
    parameters: dict[str, Any],
    tasks: tuple[str, ...],
    inputs: bool,
    storage_options: dict[str, Any],
    is_json: bool,
) -> int:
    """Say that a change of code does not matter: stale checkpoints count again.

    Every byte is verified first. Exits with 1 if there was nothing to accept.
    """
    import prefect_ds
    from prefect_ds.listing.accepting import accept_paths

    if not is_flow_name(where[0]):
        paths = accept_paths(where, storage_options)
        say(paths, is_json, "\n".join(f"accepted {path}" for path in paths))
        return 0
    if not tasks:
        raise click.UsageError("name the tasks of the flow: --task NAME")
    flow = load_flow(where[0])
    accepted = prefect_ds.accept(flow, tasks, parameters, inputs=inputs)
    lines = [
        f"accepted {checkpoint.path} ({checkpoint.task}): {checkpoint.difference}"
        for checkpoint in accepted
    ]
    text = "\n".join(lines) or "nothing was accepted"
    say([asdict(checkpoint) for checkpoint in accepted], is_json, text)
    return int(not accepted)


@commands.command()
@click.argument("events", nargs=-1, required=True, type=click.Path())
@click.option("--run", "run_id", metavar="ID", help="A run; the last one without it.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write it as a page.")
@as_json
def report(
    events: tuple[str, ...], run_id: str | None, html: str | None, is_json: bool
) -> int:
    """Give the report of a run from its EVENTS, files of JSON lines.

    Exits with 1 if the run failed.
    """
    import prefect_ds

    of_run = prefect_ds.read_events(events).report(run_id)
    if html is not None:
        of_run.to_html(html)
    # As objects, a missing number can be `None`: JSON has no NaN.
    rows = of_run.to_frame().astype(object)
    say(rows.where(rows.notna(), None).to_dict("records"), is_json, str(of_run))
    return int(bool(of_run.error) or any(task.n_failed for task in of_run.tasks))
