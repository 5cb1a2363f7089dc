"""Packages that only some parts need: imported on demand, missed with a clear message."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def import_extra(name: str, *, extra: str, needed_by: str = "this") -> ModuleType:
    """Import a module that comes with an optional extra of this package.

    Parameters
    ----------
    name : str
        The module, by its full name.
    extra : str
        The extra of skrigidity that installs it.
    needed_by : str, default="this"
        What needs it, for the message.

    Returns
    -------
    module
        The module called ``name``.

    Raises
    ------
    ImportError
        The module is not installed; the message names the command that installs it. An error
        inside an installed module is raised as it is.

    Examples
    --------
    >>> from skrigidity._extras import import_extra
    >>> import_extra("math", extra="plot").sqrt(4.0)
    2.0
    >>> import_extra("no_such_module", extra="plot", needed_by="RigidityDisplay")
    Traceback (most recent call last):
        ...
    ImportError: RigidityDisplay needs no_such_module: pip install "skrigidity[plot]"
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise _missing(error.name, extra, needed_by) from error


def require_extra(*names: str, extra: str, needed_by: str = "this") -> None:
    """Raise the error of `import_extra` for the first module that is missing; import none.

    Parameters
    ----------
    *names : str
        Top-level modules.
    extra : str
        The extra of skrigidity that installs them.
    needed_by : str, default="this"
        What needs them, for the message.

    Raises
    ------
    ImportError
        A module is not installed.

    Examples
    --------
    >>> from skrigidity._extras import require_extra
    >>> require_extra("math", extra="plot")
    """
    for name in names:
        if find_spec(name) is None:
            raise _missing(name, extra, needed_by)


def _missing(name: str, extra: str, needed_by: str) -> ImportError:
    return ImportError(f'{needed_by} needs {name}: pip install "skrigidity[{extra}]"', name=name)
