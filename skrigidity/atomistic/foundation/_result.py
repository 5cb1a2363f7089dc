"""What `foundation_study` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ._energies import FORCE, NORM, SHUFFLED, STD
from ._forces import DRAWS

# By how much a score has to be better than another one to be called so.
_CLEARLY = 0.02
_MEASURES = {"energies": ("within", STD), "foreign": ("auc", STD), "forces": ("spearman", DRAWS)}


@dataclass(frozen=True, eq=False)
class FoundationStudy:
    """Scores of last-layer rigidities, with those of simpler estimates and controls beside.

    In all tables ``score`` says what estimates the error: "std" (C / sqrt(R)), "draws" (the spread
    of forces over draws of the readout), "local R" (of the atom), "|F|" (norm of the force that
    the network predicts; root mean square for a frame), "|J|" (norm of the gradient without any
    Hessian: of the mean features for energies, of the force rows for forces) or "shuffled" (the
    first, in random order). ``partial`` is the rank correlation that is left given "|F|".
    ``variant`` says whose errors they are: those of a closed-form readout of the wide layers, or of
    the network's own last layer ("refit"), or of the network as it is, shifted to the energy zero
    of every set ("own, pretrained").

    Attributes
    ----------
    energies : DataFrame
        A row per variant, score and split: ``mae_meV`` per atom, ``spearman`` over all test
        frames, ``within`` (its mean within sets), ``partial`` (within sets), ``dnll`` (negative
        log-likelihood less that of a constant variance), ``coverage_1``, ``coverage_2``, and
        ``limit``, the Spearman correlation that exactly Gaussian errors would have.
    foreign : DataFrame
        A row per kind of features, foreign set, level (frame, atom) and score: ``auc``, the
        probability that a foreign one looks more uncertain than one of the test frames. Sets of the
        study are foreign to the others where "(left out)" is added.
    forces : DataFrame
        A row per variant, set and score: ``mae`` in eV/Å; ``spearman`` and ``partial`` with the
        errors of atoms, ``auc`` of the worst tenth; ``dnll`` and coverages with one C for all sets.
    controls : DataFrame
        What matters, side by side: for every table and variant the score of the rigidity, of
        "|F|", of "|J|" and shuffled, and whether "|F|" alone is as good.
    settings : dict
        What the study was asked for, and what it was made with.
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
        plan = (
            ("energies", "variant", STD, _ENERGIES),
            ("foreign", "layers", STD, ("auc",)),
            ("forces", "variant", DRAWS, _FORCES),
        )
        for name, by, score, numbers in plan:
            table = getattr(self, name)
            if not len(table):
                continue
            table = table[table["score"] == score]
            if name == "foreign":
                table = table[table["level"] == "frame"]
            for variant, part in table.groupby(by, sort=False):
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
        """Return in words where a rigidity tells more than the size of forces, and where not."""
        out = []
        for row in self.controls.itertuples():
            what = f"{row.table}, {row.variant} ({row.measure} {row.rigidity:.2f})"
            if row.force_is_as_good:
                out.append(f"{what}: |F| alone is as good ({row.force:.2f})")
            else:
                out.append(f"{what}: more than |F| tells ({row.force:.2f})")
        return out


_ENERGIES = ("mae_meV", "spearman", "within", "partial", "dnll", "coverage_1", "coverage_2")
_FORCES = ("mae", "spearman", "auc", "partial", "dnll")


def control_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of rigidities beside those of |F|, |J| and chance."""
    rows = []
    for name, (measure, own) in _MEASURES.items():
        table = tables[name]
        if not len(table):
            continue
        by = "layers" if name == "foreign" else "variant"
        means = table.groupby([by, "score"], sort=False)[measure].mean().unstack("score")
        for variant, found in means.iterrows():
            rows.append(
                {"table": name, "variant": variant, "measure": measure}
                | {"rigidity": found[own], "force": found[FORCE], "norm": found[NORM]}
                | {"shuffled": found[SHUFFLED]}
                | {"force_is_as_good": bool(found[FORCE] > found[own] - _CLEARLY)}
            )
    return pd.DataFrame(rows)
