"""Runs a command: exit codes, errors in words, and the streams."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

STDOUT = "prefect_ds_stdout"
"""Key of the real stdout in ``click.Context.meta``."""


class Call(click.Command):
    """A command that leaves stdout to its results.

    What Prefect logs and what a user's file prints goes to stderr.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        ctx.meta[STDOUT] = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            return super().invoke(ctx)


class Calls(click.Group):
    """A group of such commands."""

    command_class = Call


def run(command: click.Command) -> int:
    """Run the command with the arguments of the process and return its exit code."""
    try:
        # In its standalone mode click exits by itself, with codes of its own.
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted.", err=True)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has seen enough, as `head` has. Python flushes stdout at
        # its end, and must not fail then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _in_words() as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    # Some commands return nothing.
    return code if isinstance(code, int) else 0


def _in_words() -> tuple[type[Exception], ...]:
    """Return the errors whose message says all; another one is a bug, and is raised."""
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, TypeError)
    # If nothing has imported the module, nothing has raised an error of it.
    errors = sys.modules.get("prefect_ds.errors")
    if errors is not None:
        kinds = (*kinds, errors.PrefectDSError)
    return kinds
