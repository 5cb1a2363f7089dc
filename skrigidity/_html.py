"""Tables of what matters of a fitted estimator, which notebooks show below its diagram."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

_LEFT = 'style="text-align: left"'
_SHOWN = 4  # values of an array; of a longer one, the least and the largest


def on_host(value: Any) -> Any:
    """Return numbers of an array of any library, on whatever device, as a NumPy array.

    Examples
    --------
    >>> from skrigidity._html import on_host
    >>> on_host([1, 2])
    array([1, 2])
    """
    if getattr(value, "ndim", 0) == 1 and not isinstance(value, np.ndarray):
        return np.array([float(each) for each in value])
    return np.asarray(value)


def number(value: Any) -> str:
    """Return a number, several of them, or numbers by name as short text.

    Examples
    --------
    >>> from skrigidity._html import number
    >>> number(0.012345), number([1.0, 2.0]), number({"energy": 2e-7})
    ('0.0123', '1, 2', 'energy 2e-07')
    >>> number([3.0, 1.0, 2.0, 7.0, 5.0])
    '1 to 7 (5 values)'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number(each)}" for name, each in value.items())
    if value is None or isinstance(value, str):
        return str(value)
    values = np.ravel(on_host(value))
    if values.dtype.kind not in "iuf":
        return str(value)
    if values.dtype.kind in "iu" and values.size == 1:
        return str(values[0])
    if len(values) > _SHOWN:
        return f"{values.min():.3g} to {values.max():.3g} ({len(values)} values)"
    return ", ".join(f"{each:.3g}" for each in values)


def table(title: str, lines: Mapping[str, Any]) -> str:
    """Return an HTML table of two columns; texts are escaped.

    Examples
    --------
    >>> from skrigidity._html import table
    >>> table("Model", {})
    '<table><caption style="text-align: left">Model</caption></table>'
    >>> "<td" in table("Model", {"alpha": 0.1})
    True
    """
    rows = "".join(
        f'<tr><th scope="row" {_LEFT}>{escape(name)}</th>'
        f"<td {_LEFT}>{escape(number(value))}</td></tr>"
        for name, value in lines.items()
    )
    return f"<table><caption {_LEFT}>{escape(title)}</caption>{rows}</table>"


class SummaryMixin:
    """Show `_summary` below scikit-learn's diagram, once the estimator is fitted.

    Stands before `BaseEstimator`, whose `_repr_html_` asks for `_repr_html_inner`.
    """

    def _summary(self) -> dict[str, Any]:
        """Return what is shown, by name."""
        return {}

    def _summary_html(self) -> str:
        try:
            check_is_fitted(self)
        except NotFittedError:
            return ""
        return table(f"Fitted {type(self).__name__}", self._summary())

    def _repr_html_inner(self) -> str:
        return super()._repr_html_inner() + self._summary_html()  # type: ignore[misc]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += self._summary_html()
        return bundle
