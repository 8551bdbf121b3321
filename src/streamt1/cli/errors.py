"""Errors as a user sees them: one sentence on stderr, and an exit code."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import typer

from streamt1.core.errors import ConfigError, DoesNotFitError, PromptError, StreamT1Error, StreamT1Warning
from streamt1.core.stopping import SIGNALLED, interruptible

P = ParamSpec("P")
R = TypeVar("R")

FAILED, USAGE = 1, 2
SHOWN = 200
"""Characters of a path that a message repeats."""


def exit_code(error: StreamT1Error) -> int:
    """2 for what the user typed, 1 for what went wrong with it."""
    return USAGE if isinstance(error, (ConfigError, PromptError)) else FAILED


def one_line(error: BaseException) -> str:
    """An error's message, whatever a user's text has put into it."""
    return " ".join(str(error).split())


_plainly = warnings.showwarning


def _show(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Our warnings are one line for the user; the others keep their form."""
    if issubclass(category, StreamT1Warning):
        typer.echo(f"warning: {message}", err=True)
    else:
        _plainly(message, category, *where)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """A command that ends in one line and an exit code instead of a traceback, for the errors we raise on purpose."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        warnings.showwarning = _show
        try:
            with interruptible():
                return command(*args, **kwargs)
        except StreamT1Error as error:
            table = error.table if isinstance(error, DoesNotFitError) else ()
            typer.echo("\n".join([f"error: {one_line(error)}", *table]), err=True)
            raise typer.Exit(exit_code(error)) from error
        except OSError as error:  # of a path that the user named: too long, a loop of links, not for this user
            named = "" if error.filename is None else f"{str(error.filename)[:SHOWN]!r}: "
            typer.echo(f"error: {named}{error.strerror or error}; give a path that can be used", err=True)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            typer.echo(f"ended by {signal.SIGINT.name}", err=True)
            raise typer.Exit(SIGNALLED + signal.SIGINT) from error
        except MemoryError as error:
            typer.echo("error: this machine has too little memory for it; ask for less", err=True)
            raise typer.Exit(FAILED) from error

    return wrapper
