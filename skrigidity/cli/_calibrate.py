"""Error bars adjusted to held-out frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skrigidity.cli._division import FrameSet
from skrigidity.cli._output import replaced_together
from skrigidity.cli._potential import load_potential, scales_of
from skrigidity.cli._structures import inspect_frames


def run_calibrate(model: Path, frames: Path, output: Path, *, group: str | None) -> dict[str, Any]:
    """Calibrate a potential and write it; return the scales before and after."""
    potential = load_potential(model)
    inspect_frames(frames, potential.species_)
    held_out = FrameSet.read(frames)
    labels = None if group is None else held_out.labels(group)
    before = scales_of(potential)
    with held_out.where():
        potential.calibrate(held_out.frames, by=labels)
    with replaced_together(output.parent, [output.name]) as staged:
        potential.save(staged / output.name)
    return {"n_frames": len(held_out), "before": before, "after": scales_of(potential)}


def description(summary: dict[str, Any]) -> str:
    """Say how the scales have changed."""
    lines = [f"Error bars adjusted to {summary['n_frames']} frames: std = sqrt(C² q + σ²)"]
    for name, after in summary["after"].items():
        before = summary["before"][name]
        scale, noise = (f"{before[key]:.3g} -> {after[key]:.3g}" for key in ("C", "σ"))
        lines.append(f"  {name}: C {scale}, σ {noise} {after['unit']}")
    return "\n".join(lines)
