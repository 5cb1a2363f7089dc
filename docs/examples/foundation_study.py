"""CHGNet on data of your own: what the rigidities of its last layer tell, and what not.

CHGNet comes with weights inside its package, so that all of this runs offline. Three things are
compared on labelled silicon:

- the network as it is, with the 64 features of its last layer and a Hessian of these data;
- a linear readout of the same 64 features, solved in closed form on 60 % of the data;
- a linear readout of the inputs of all four layers of its head (256 features).

Carbon and water are foreign to all of them, and should stand out. Beside every score stand those of
what costs nothing: the size of the predicted force, |F|, and the norm of the gradient without any
Hessian, |J|; and of error bars in random order. Where |F| or |J| alone is as good, the report says
so.

What comes out for mlearn silicon (means of 12 divisions; forces of 12 frames; rank correlations
with errors, AUC of the worst tenth of the atoms):

- energies: errors of 84 meV/atom as it is (but for a shift), 14 with a readout of the last layer,
  5.5 with the wide one. Its error bars rank errors (.69; |F| .47, |J| .65) and describe them: the
  negative log-likelihood is .87 below that of a constant error bar, .52 above it in random order.
  Those of the refitted last layer know nothing of its errors (.0).
- carbon and water: AUC 1.00 (.96 by |F| alone: forces are large in these frames).
- force errors of the network as it is: the rigidity of an atom ranks them no better than chance
  (-.08, AUC .59). Draws of its readout do (.50, .89), and |F| alone is as good (.50, .88).
- force errors of the wide readout: 10 draws .64, .91, of which .51 are left once |F| is known;
  |F| .45, .87.
- a free atom has 4e-7 of the rigidity of the crystals, one stretched by 10 % a thirtieth of it.
- 40 frames chosen by rigidity leave held-out errors (root mean square) of 12 meV/atom, 40 random
  ones 21.
- single precision changes rigidities by up to .1 %.

The silicon frames are those of the mlearn repository (Zuo et al., J. Phys. Chem. A 124, 731, 2020):
`mlearn_Si.extxyz.xz`, in the folder that the environment variable SKRIGIDITY_TEST_DATA names, or
anywhere with `--frames`. Without them, bundled silicon clusters take their place, which have no
forces.

    python docs/examples/foundation_study.py                  a minute or two
    python docs/examples/foundation_study.py --full           forces of more frames
    python docs/examples/foundation_study.py --tables FOLDER  tables in files

For other networks and data: `skrigidity.atomistic.foundation_study`; for CHGNet and files:
`skrigidity study Si.extxyz Ge.extxyz --foreign Cu.extxyz`.
"""

import argparse
import importlib.util
import io
import lzma
import os
from pathlib import Path

import ase.io

from skrigidity.atomistic import (
    compare_precisions,
    fine_tuning_choice,
    foundation_study,
    network_features,
    stretching_scan,
)
from skrigidity.datasets import load_carbon, load_silicon, load_water


def silicon(path):
    """Labelled silicon: crystals from a file, or bundled clusters."""
    if path is None:
        data = load_silicon(return_frames=True)
        return [frame for frame in data.frames if len(frame) > 2][::4]
    content = Path(path).read_bytes()
    if Path(path).suffix == ".xz":
        content = lzma.decompress(content)
    return ase.io.read(io.StringIO(content.decode()), ":", format="extxyz")


def foreign_frames():
    """Frames of other elements; their labels do not matter."""
    carbon, water = (load(return_frames=True).frames for load in (load_carbon, load_water))
    return {"carbon": carbon[::40], "water": water[::20]}


def study(path=None, full=False, n_splits=12):
    """Everything that the example computes; the network runs once over all frames."""
    known = network_features({"Si": silicon(path)})
    foreign = network_features(foreign_frames(), model=known.wide_adapter, labelled=False)
    return {
        "study": foundation_study(
            known, foreign=foreign, n_splits=n_splits, n_force_frames=24 if full else 12
        ),
        "stretching": stretching_scan(known),
        "choice": fine_tuning_choice(known),
        "precision": compare_precisions(known.frames[::12]),
    }


def report(found):
    """Print the tables, in words where they are long."""
    print(found["study"])
    print("\nRigidity of a stretched crystal, and of a free atom (inf), relative to the crystals'")
    scan = found["stretching"]
    print(scan.pivot(index="factor", columns="layers", values="relative").to_string())
    print("\nHeld-out errors by how many frames are fitted, and how they are chosen (meV/atom)")
    choice = found["choice"].groupby(["size", "choice"])[["mae_meV", "rmse_meV", "worst_meV"]]
    print(choice.mean().round(1).to_string())
    print("\nChange of rigidities in single precision")
    print(found["precision"].to_string(index=False))


def default_frames():
    """The silicon frames, where they are at hand."""
    path = Path(os.environ.get("SKRIGIDITY_TEST_DATA", "."), "mlearn_Si.extxyz.xz")
    return path if path.exists() else None


def main(arguments=None):
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, default=default_frames(), help="silicon frames")
    parser.add_argument("--full", action="store_true", help="more frames whose forces are tested")
    parser.add_argument("--tables", type=Path, help="folder to write tables to")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("chgnet") is None:
        raise SystemExit('this needs CHGNet: pip install "skrigidity[atomistic,chgnet]"')
    found = study(options.frames, options.full)
    report(found)
    if options.tables is not None:
        options.tables.mkdir(parents=True, exist_ok=True)
        for name in ("energies", "foreign", "forces", "controls"):
            getattr(found["study"], name).to_csv(options.tables / f"{name}.csv", index=False)
        for name in ("stretching", "choice", "precision"):
            found[name].to_csv(options.tables / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
