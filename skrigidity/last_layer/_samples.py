"""Data sets of torch in their own order, and tensors on a device."""

from __future__ import annotations

from typing import Any


class Samples:
    """A data set in its own order, whatever the loader that it comes from does with it."""

    def __init__(self, dataset: Any, collate: Any) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, part: slice) -> tuple[Any, ...]:
        """Return inputs and target (None where there is none) of some samples."""
        numbers = range(len(self.dataset))[part]
        given = self.collate([self.dataset[i] for i in numbers])
        return tuple(given) if isinstance(given, (list, tuple)) else (given, None)


def placed(x: Any, device: Any, dtype: Any) -> Any:
    """Return a tensor, or tensors in a dict, on a device; floating-point ones in its type."""
    if isinstance(x, dict):
        return {key: placed(value, device, dtype) for key, value in x.items()}
    if not hasattr(x, "to"):
        return x
    return x.to(device, dtype) if x.is_floating_point() else x.to(device)
