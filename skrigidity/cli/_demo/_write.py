"""The files of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skrigidity._extras import import_extra
from skrigidity.cli._demo._figure import draw
from skrigidity.cli._output import DEMO_FILES, replaced_together

if TYPE_CHECKING:
    from skrigidity.cli._demo._run import DemoResult

TABLE, PICTURE, FRAMES = DEMO_FILES


def write(result: DemoResult, folder: Path, *, plot: bool = True) -> list[Path]:
    """Write the table, the picture and the frames; on failure leave everything as it was.

    Parameters
    ----------
    result : DemoResult
    folder : Path
        Made if it does not exist. Results of an earlier run are replaced, other files are kept.
    plot : bool, default=True
        Whether to draw the picture.

    Returns
    -------
    list of Path
        The files.
    """
    with replaced_together(folder, DEMO_FILES) as staged:
        result.structures.to_csv(staged / TABLE, index=False, float_format="%.8g")
        if plot:
            draw(result).savefig(staged / PICTURE, dpi=150)
        io = import_extra("ase.io", extra="atomistic", needed_by="skrigidity demo")
        io.write(staged / FRAMES, result.frames, format="extxyz")
    return [folder / name for name in DEMO_FILES if plot or name != PICTURE]
