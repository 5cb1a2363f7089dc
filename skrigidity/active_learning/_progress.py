"""A bar of progress, where there is tqdm."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Self


class Progress:
    """Simulated time, events, labels, and the least local rigidity of the last look.

    Parameters
    ----------
    wanted : bool
    total : float or None
        Simulated time in fs.
    """

    def __init__(self, wanted: bool, total: float | None) -> None:
        self._bar: Any = None
        if wanted and find_spec("tqdm") is not None:
            from tqdm.auto import tqdm

            form = "{desc}: {n:.6f} ns [{elapsed}{postfix}]"
            self._bar = tqdm(total=total and total * 1e-6, desc="learning", bar_format=form)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, state: dict[str, Any]) -> None:
        """Show a state."""
        if self._bar is None:
            return
        self._bar.n = state["time_fs"] * 1e-6
        least = state["seen"].get("min_rigidity")
        rigidity = "" if least is None else f"{least:.3g}"
        self._bar.set_postfix(
            events=state["n_events"], labels=state["n_labels"], least_LPR=rigidity, refresh=False
        )
        self._bar.refresh()
