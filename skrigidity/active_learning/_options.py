"""How a run of active learning goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skrigidity.active_learning._labels import Executor


@dataclass(kw_only=True)
class Options:
    """How `ActiveLearner` runs; its parameters but the first three."""

    dynamics: Callable[..., Any]
    dynamics_options: Mapping[str, Any]
    thresholds: Mapping[str, float | str]
    interval: int
    quiet_time: float
    max_time: float | None
    trajectory_time: float | None
    max_labels: int | None
    embed: Callable[..., Any] | None
    n_labels: int
    max_force: float
    bias: float
    executor: Executor
    label_timeout: float | None
    random_state: int
    progress: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.thresholds:
            raise ValueError("thresholds: there must be one at least")
        positive = ("interval", "quiet_time", "n_labels", "max_force")
        maybe = ("max_time", "trajectory_time", "max_labels", "label_timeout")
        for name in (*positive, *maybe):
            value = getattr(self, name)
            if value is None and name in maybe:
                continue
            if not (isinstance(value, (int, float)) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
