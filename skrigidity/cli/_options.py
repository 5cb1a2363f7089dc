"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from skrigidity.cli._common import InputError

# typer 0.12 does not know `|`.
MaybeText = Optional[str]  # noqa: UP045
MaybePath = Optional[Path]  # noqa: UP045
MaybePaths = Optional[list[Path]]  # noqa: UP045
MaybeNumber = Optional[float]  # noqa: UP045
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print a summary as JSON on stdout instead of text.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that there are already.")]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the picture.")]
Frames = Annotated[
    Path,
    typer.Argument(
        metavar="FRAMES", help="Structures: extended XYZ, or any other format that ASE reads."
    ),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A potential that `skrigidity fit` has written.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of what is drawn at random.")]
Kind = Annotated[
    MaybeText,
    typer.Option(
        "--descriptor",
        metavar="ace|soap",
        help="How atoms see their neighbors. Without this and the next three options the "
        "potential's default, made for the training set.",
    ),
]
Cutoff = Annotated[
    MaybeNumber,
    typer.Option(help="How far an atom sees, in Å.", metavar="ÅNGSTRÖM"),
]
Degree = Annotated[
    MaybeText,
    typer.Option(
        metavar="N,N,...",
        help="ACE: largest total degrees of products of 1, 2, ... functions, such as 20,16,12. "
        "SOAP: largest radial and angular index, such as 8,6.",
    ),
]
AceKind = Annotated[
    MaybeText,
    typer.Option(
        "--kind",
        metavar="self-interacting|purified",
        help="ACE: whether the factors of a product may belong to the same neighbor.",
    ),
]


def parse_baseline(text: str) -> str | dict[str, float] | None:
    """Return the baseline of a potential, or raise InputError."""
    if text in ("composition", "none"):
        return None if text == "none" else text
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {species.strip(): float(energy) for species, energy in pairs}
    except ValueError:
        raise InputError(
            f"--baseline: expected composition, none or energies as in Si=-0.8,O=-1.9, got {text}"
        ) from None


def parse_alpha(text: str) -> float | str:
    """Return a regularization strength or "loo", or raise InputError."""
    if text == "loo":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--alpha: expected a number or loo, got {text}") from None
