"""What commands share: extras, errors and progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skrigidity._extras import require_extra

EXTRAS = "atomistic,plot,cli"
BAD_INPUT = 2


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one line."""


def require(*modules: str) -> None:
    """Raise an ImportError if one of them is not installed; none is imported."""
    require_extra(*modules, extra=EXTRAS, needed_by="this command")


@contextmanager
def errors_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors that the user can mend into a message and the exit code of bad input."""
    try:
        yield
    except kinds as error:
        print(f"skrigidity: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[float], None]]:
    """Give a function to call with the share of the work that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=1.0)
        yield lambda share: progress.update(task, completed=share)
