"""How a run of active learning goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skrigidity.active_learning._labels import Executor, SerialExecutor


@dataclass(kw_only=True)
class Options:
    """How `ActiveLearner` runs; its parameters but the first three."""

    dynamics: Callable[..., Any]
    dynamics_options: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float | str] = field(default_factory=lambda: {"force_std": "100%"})
    interval: int = 10
    quiet_time: float = 1000.0
    max_time: float | None = None
    trajectory_time: float | None = None
    max_labels: int | None = None
    embed: Callable[..., Any] | None = None
    n_labels: int = 1
    max_force: float = 100.0
    bias: float = 0.0
    executor: Executor = field(default_factory=SerialExecutor)
    label_timeout: float | None = None
    random_state: int = 0
    progress: bool = True

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
