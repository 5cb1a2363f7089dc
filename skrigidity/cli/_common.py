"""What commands share: extras, errors, exit codes, progress and what they say."""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from skrigidity._extras import require_extra

EXTRAS = "atomistic,plot,cli"
FAILED, BAD_INPUT = 1, 2


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one line."""


def require(*modules: str) -> None:
    """Raise an ImportError if one of them is not installed; none is imported."""
    require_extra(*modules, extra=EXTRAS, needed_by="this command")


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors that are no defects of the program into a line and an exit code.

    The code is 2 for input that cannot be used and for a missing extra, 1 for what the system
    refuses, such as space on a disk. Warnings are lines, too, each of them shown once.
    """
    shown = set()

    def show(message: Warning | str, *args: Any, **options: Any) -> None:
        line = " ".join(str(message).split())
        if line not in shown:
            print(f"skrigidity: warning: {line}", file=sys.stderr)
        shown.add(line)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    except (InputError, ImportError) as error:
        print(f"skrigidity: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except BrokenPipeError:
        raise  # click ends quietly where nobody reads on
    except OSError as error:
        print(f"skrigidity: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None


class Talk(NamedTuple):
    """How much a command says.

    Attributes
    ----------
    quiet : bool
        Nothing but errors and warnings.
    as_json : bool
        One JSON object on stdout instead of text.
    """

    quiet: bool = False
    as_json: bool = False

    @contextmanager
    def progress(self, description: str) -> Iterator[Callable[[float], None]]:
        """Give a function to call with the share of the work that is done.

        The bar is on stderr, and only where that is a terminal. It moves to and fro until a share
        is known.
        """
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield lambda share: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(description, total=None)
            yield lambda share: progress.update(task, completed=share, total=1.0)

    def report(self, text: str, summary: Mapping[str, Any], written: Sequence[Path] = ()) -> None:
        """Say on stdout what came out of a command, and which files it has written."""
        if self.as_json:
            content = {**summary, "written": [str(path) for path in written]}
            print(json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False))
        elif not self.quiet:
            files = ["", "Written:", *(f"  {path}" for path in written)] if written else []
            print("\n".join([text, *files]))


def _plain(value: Any) -> Any:
    """Return it in types that JSON has; what is not finite has no number there."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
