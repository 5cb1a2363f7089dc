"""What a potential is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def description(facts: Mapping[str, Any]) -> str:
    """Return facts as lines of text, those inside of others indented."""
    return "\n".join(_lines(facts))


def _lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_A', ' (Å)').replace('_', ' ')}:"
        if isinstance(value, Mapping):
            lines += [label, *_lines(value, indent + "  ")]
        else:
            lines.append(f"{label} {_shown(value)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
