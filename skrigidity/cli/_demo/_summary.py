"""The results of the demo in a few lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from skrigidity.cli import _fit, _rigidity, _select
from skrigidity.cli._demo._data import BOND, DENSE
from skrigidity.cli._demo._run import CUTOFF, KEYS, N_NEXT

if TYPE_CHECKING:
    from skrigidity.cli._demo._result import DemoResult


def by_kind(result: DemoResult) -> pd.DataFrame:
    """Return rigidities and error bars of each kind of structure."""
    table = result.structures
    per_atom = 1000 * table["energy_std_eV"] / table["n_atoms"]
    kinds = table.assign(energy_std_meV_per_atom=per_atom).groupby("kind", sort=False)
    medians = kinds[["rigidity", "energy_std_meV_per_atom", "max_forces_std_eV_per_A"]].median()
    atoms = result.atoms.groupby("kind", sort=False)
    medians.insert(0, "n_structures", kinds.size())
    return medians.assign(
        local_rigidity=atoms["local_rigidity"].median(),
        energies_std_eV=atoms["energies_std"].median(),
    )


def summary(result: DemoResult) -> dict[str, Any]:
    """Return what was found, by name; names end in their units."""
    return {
        **result.facts,
        "errors": result.errors.table.to_dict("records"),
        "medians": by_kind(result).to_dict("index"),
        "rigidity": _rigidity.summary_of(result.structures),
        "next": _select.summary_of(result.chosen, "variance"),
        "dynamics": result.dynamics.to_dict("records"),
    }


def summary_text(result: DemoResult) -> str:
    """Say what was fitted, how good it is, what it does not know, and what can be done next.

    Parameters
    ----------
    result : DemoResult

    Returns
    -------
    str
        Several lines of at most 85 characters. The commands among them, in the folder of the
        results, do the same again.
    """
    table, errors = result.structures, result.potential.errors_
    rigidities = _rigidity.summary_of(table)
    chosen = _select.summary_of(result.chosen, "variance")
    kinds = result.chosen["kind"].value_counts().to_dict()
    bulk = table[table["kind"] == "bulk"]
    spread = 1000 * (bulk["energy_gfn1_eV"] / bulk["n_atoms"]).std()
    medians = by_kind(result)
    blocks = [
        _BEGINNING,
        f"{_FIT}\n{_fit.summary_text(result.facts, result.errors)}\n"
        f"For comparison: energies of new bulk spread by {spread:.0f} meV/atom (std), its forces "
        f"are\n{bulk['rms_forces_gfn1_eV_per_A'].mean():.1f} eV/Å (rms).",
        f"{_EXPLANATION.format(**errors)}\n{_rigidity.summary_text(rigidities, table)}",
        f"Medians by kind of structure\n{_text(medians.rename(columns=_WORDS).T)}",
        _KNOWN.format(**medians["rigidity"].map("{:.2g}".format)),
        f"Median local rigidity of atoms by coordination (neighbors within {BOND} Å)\n"
        f"{_local(result)}",
        f"{_SELECT}\n{_select.summary_text(chosen, Path('new.extxyz'))}\n"
        f"Of these are {', '.join(f'{n} {kind}' for kind, n in kinds.items())}.\n{_GAIN}",
        f"{_DYNAMICS}\n{_heated(result.dynamics)}",
        _NEXT,
    ]
    return "\n\n".join(blocks)


_BEGINNING = f"""\
Four questions to a machine-learned potential. It is fitted to amorphous carbon above
{DENSE} g/cm³ alone (train.extxyz: energies and forces of GFN1-xTB, a quick quantum-
chemical method), and then sees other structures (new.extxyz): bulk from other
melt-quench runs (bulk), surfaces (slab), and your own, if given (target). Lines with
$ are the commands that did it, in the folder of the results; --force repeats them."""

_FIT = f"""\
1. How large are its errors, and do its error bars say so?
$ skrigidity fit train.extxyz --validation new.extxyz --group trajectory --by kind \\
    --energy-key {KEYS["energy_key"]} --forces-key {KEYS["forces_key"]} --cutoff {CUTOFF} -o ."""

_EXPLANATION = """\
2. What does it not know? That needs no reference calculation of the new structures.
Their rigidity R says how firmly the training data, with the regularizer, pin a
prediction. High is firm. R = 1: as firmly as one reference calculation would, with
the error assumed of it (energies {energy:g} eV/atom, forces {forces:g} eV/Å); R = 100: as
firmly as a hundred. Error bars follow, std = sqrt(C² q + σ²), q = (error)² / R, with
C, σ from trajectories that were left out. The local rigidity is that of one atom's
share of the energy.
$ skrigidity rigidity potential.npz new.extxyz -o structures.extxyz"""

_KNOWN = """\
The energy of new bulk is pinned as by {bulk} reference calculations (median), that of a
surface as by {slab}: the potential has seen no surface, and R knows it beforehand.
Rigidities of single atoms need not (medians above). R does not say that the form of
the model is right, and cannot see what the features cannot see: a lone atom, which
has no features, can even have an infinite R."""

_SELECT = f"""\
3. Which structures should be computed next, so that all new ones are known better?
$ skrigidity select new.extxyz --train train.extxyz -n {N_NEXT} --cutoff {CUTOFF} \\
    -o next.extxyz"""

_GAIN = """\
The objective is the mean of 1/R over all new structures, and falls that far once
these are computed, whatever comes out: it is known now, from positions alone."""

_DYNAMICS = """\
4. When does a simulation leave what the potential knows? Bulk that gets hotter and
hotter: the largest error bar of a force, the least rigid atom, and how often one of
these is beyond all of the training set. Where it is, stop, and compute such frames"""

_NEXT = """\
With your own data (energies in eV, forces in eV/Å): fit a potential, look at it, ask
it for error bars of new structures and of their atoms, choose what to compute next
  skrigidity fit train.extxyz --validation 0.1 -o fit
  skrigidity info fit/potential.npz
  skrigidity rigidity fit/potential.npz new.extxyz -o rigidity.extxyz
  skrigidity select new.extxyz --train train.extxyz -n 20 -o next.extxyz"""

_WORDS = {
    "n_structures": "number of structures",
    "rigidity": "rigidity of the energy",
    "energy_std_meV_per_atom": "energy_std (meV/atom)",
    "max_forces_std_eV_per_A": "largest forces_std (eV/Å)",
    "local_rigidity": "local rigidity of an atom",
    "energies_std_eV": "energies_std of an atom (eV)",
}


def _local(result: DemoResult) -> str:
    medians = result.atoms.pivot_table(
        "local_rigidity", "kind", "coordination", aggfunc="median", sort=False
    )
    return _text(medians.sort_index(axis=1))


def _heated(dynamics: pd.DataFrame) -> str:
    stages = dynamics.assign(beyond=dynamics["beyond"] != "").groupby("thermostat_K")
    shown = pd.DataFrame(
        {
            "thermostat (K)": list(stages.groups),
            "mean (K)": stages["temperature_K"].mean().astype(int).to_numpy(),
            "forces_std (eV/Å)": stages["max_forces_std_eV_per_A"].max().to_numpy(),
            "local rigidity": stages["min_local_rigidity"].min().to_numpy(),
            "beyond": stages["beyond"].mean().map("{:.0%}".format).to_numpy(),
        }
    )
    return _text(shown, index=False)


def _text(table: pd.DataFrame, **options: Any) -> str:
    table = table.rename_axis(index=None, columns=None)
    options |= {"na_rep": "–", "col_space": 8, "float_format": "{:.2g}".format}
    return "\n".join(line.rstrip() for line in table.to_string(**options).splitlines())
