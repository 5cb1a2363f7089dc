"""What `foundation_study` returns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ._energies import FORCE, NORM, SHUFFLED, STD
from ._forces import DRAWS, LOCAL

# By how much a score has to be better than another one, and than chance, to be called so.
_CLEARLY, _BY_CHANCE = 0.02, 0.1
# Of every table the scores that rigidities give, and the measures that count.
_MEASURES = {
    "energies": ((STD,), ("within", "dnll")),
    "foreign": ((STD,), ("auc",)),
    "forces": ((DRAWS, LOCAL), ("spearman", "auc", "dnll")),
}
# The headline numbers, and of which score they are.
_NUMBERS = {
    "energies": (
        STD,
        ("mae_meV", "spearman", "within", "partial", "dnll", "coverage_1", "coverage_2"),
    ),
    "foreign": (STD, ("auc",)),
    "forces": (DRAWS, ("mae", "spearman", "auc", "partial", "dnll")),
}
_COSTS_NOTHING = {FORCE: "force", NORM: "norm"}


@dataclass(frozen=True, eq=False)
class FoundationStudy:
    r"""Scores of last-layer rigidities, with those of simpler estimates and controls beside.

    In all tables ``score`` says what estimates the error: "std" (C / sqrt(R)), "draws" (the spread
    of forces over draws of the readout), "local R" (of the atom), "\|F\|" (norm of the force that
    the network predicts; root mean square for a frame), "\|J\|" (norm of the gradient without any
    Hessian: of the mean features for energies, of the force rows for forces) or "shuffled" (the
    first, in random order). ``partial`` is the rank correlation that is left given "\|F\|".
    ``variant`` says whose errors they are: those of a closed-form readout of the wide layers, or of
    the network's own last layer ("refit"), or of the network as it is, shifted to the energy zero
    of every set ("own, pretrained"); for foreign frames, whose features: "wide" or "own".

    Parameters
    ----------
    energies : DataFrame
        A row per variant, score and split: ``mae_meV`` per atom, ``spearman`` over all test
        frames, ``within`` (its mean within sets), ``partial`` (within sets), ``dnll`` (negative
        log-likelihood less that of a constant variance), ``coverage_1``, ``coverage_2``, and
        ``limit``, the Spearman correlation that exactly Gaussian errors would have.
    foreign : DataFrame
        A row per variant, foreign set, level (frame, atom) and score: ``auc``, the
        probability that a foreign one looks more uncertain than one of the test frames. Sets of the
        study are foreign to the others where "(left out)" is added.
    forces : DataFrame
        A row per variant, set and score: ``mae`` in eV/Å; ``spearman`` and ``partial`` with the
        errors of atoms, ``auc`` of the worst tenth; ``dnll`` and coverages with one C for all sets.
    controls : DataFrame
        What matters, side by side: for every table, variant, score and measure its ``value``, a
        mean over splits or sets; the same of "shuffled", "\|F\|" and "\|J\|", in columns of these
        names; whether "\|F\|" or "\|J\|" alone is as good (``force_is_as_good``,
        ``norm_is_as_good``).
    settings : dict
        What the study was asked for, and what it was made with.

    Examples
    --------
    >>> import pandas as pd
    >>> from skrigidity.atomistic import FoundationStudy
    >>> nothing = pd.DataFrame()
    >>> study = FoundationStudy(nothing, nothing, nothing, nothing, {"n_splits": 12})
    >>> study.settings["n_splits"]
    12
    """

    energies: pd.DataFrame
    foreign: pd.DataFrame
    forces: pd.DataFrame
    controls: pd.DataFrame
    settings: dict[str, Any]

    def summary(self) -> pd.DataFrame:
        """Return the headline numbers: a row for each, over splits or sets.

        Returns
        -------
        DataFrame
            Columns ``table``, ``variant``, ``number``, ``mean``, ``min`` and ``max``.
        """
        rows = []
        for name, (score, numbers) in _NUMBERS.items():
            table = _of_frames(getattr(self, name))
            if not len(table):
                continue
            table = table[table["score"] == score]
            for variant, part in table.groupby("variant", sort=False):
                for number in numbers:
                    found = part[number]
                    rows.append(
                        {"table": name, "variant": variant, "number": number}
                        | {"mean": found.mean(), "min": found.min(), "max": found.max()}
                    )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        with pd.option_context("display.width", 120):
            table = self.summary().round(3).to_string(index=False)
            controls = self.controls.round(3).to_string(index=False)
        words = [f"{key}: {value}" for key, value in self.settings.items()]
        return "\n".join([*words, "", table, "", controls, "", *self.statements()])

    def statements(self) -> list[str]:
        """Return in words where a rigidity tells more than what costs nothing, and where not.

        Returns
        -------
        list of str
            A sentence for every row of ``controls``.
        """
        return [
            f"{row['table']}, {row['variant']}, {row['score']}, {row['measure']} "
            f"{row['value']:.2f}: {told(row)}"
            for row in self.controls.to_dict("records")
        ]


def _of_frames(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of frames, where there are rows of atoms as well."""
    return table[table["level"] == "frame"] if "level" in table else table


def told(row: dict[str, Any]) -> str:
    """Return in words how the score of a rigidity compares with those of what costs nothing."""
    if np.isnan(row["value"]):
        return "not known, there are too few frames"
    if row["measure"] == "dnll":
        useless = row["value"] > -_CLEARLY
    else:
        useless = row["value"] < row["shuffled"] + _BY_CHANCE
    if useless:
        other = "a constant error bar" if row["measure"] == "dnll" else "chance"
        return f"hardly better than {other}"
    as_good = [
        f"{score} alone ({row[score]:.2f})"
        for score, name in _COSTS_NOTHING.items()
        if row[f"{name}_is_as_good"]
    ]
    if not as_good:
        return "neither |F| nor |J| alone is as good"
    return f"{' and '.join(as_good)} {'is' if len(as_good) == 1 else 'are'} as good"


def control_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of rigidities beside those of |F|, |J| and chance."""
    rows = []
    for name, (scores, measures) in _MEASURES.items():
        table = _of_frames(tables[name])
        if not len(table):
            continue
        means = table.groupby(["variant", "score"], sort=False)[list(measures)].mean()
        for variant, score, measure in product(table["variant"].unique(), scores, measures):
            found = means.loc[variant, measure]
            row = {"table": name, "variant": variant, "score": score, "measure": measure}
            row |= {"value": found[score], "shuffled": found[SHUFFLED]}
            row |= {other: found[other] for other in _COSTS_NOTHING}
            sign = -1 if measure == "dnll" else 1
            for other, key in _COSTS_NOTHING.items():
                row[f"{key}_is_as_good"] = bool(sign * (found[score] - found[other]) < _CLEARLY)
            rows.append(row)
    return pd.DataFrame(rows)
