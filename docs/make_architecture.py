"""Draw images/architecture.svg again: the layers that pyproject.toml lets import downwards only.

    python docs/make_architecture.py

Boxes have colors of their own and stand on nothing, so that the picture reads in light and dark.
"""

import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
PICTURE = DOCS / "images" / "architecture.svg"
WIDTH, HEIGHT, GAP = 720, 46, 14
ABOUT = {
    "cli": "commands",
    "active_learning": "the loop on the fly",
    "plotting": "displays",
    "atomistic": "descriptors, potentials, embedding",
    "sample_selection": "PRSelector",
    "metrics": "scores that see through pipelines",
    "linear_model": "ridge",
    "kernel_ridge": "kernels",
    "with_rigidity": "models of scikit-learn",
    "last_layer": "networks",
    "calculators": "ASE",
    "frames": "labels of frames",
    "gradients": "g: rows of predictions; RigidityMixin",
    "distributed": "Dask",
    "hessian": "H: rows in, a factor out",
    "environments": "structures of rows",
    "calibration": "C and σ",
    "datasets": "bundled data",
}


def layers() -> list[list[str]]:
    """Return the packages of every layer, the highest first."""
    pyproject = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
    for contract in pyproject["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            rows = [layer.replace("(", "").replace(")", "") for layer in contract["layers"]]
            split = [[name.strip() for name in row.split("|")] for row in rows]
            return [row for row in split if not row[0].startswith("_")]
    raise SystemExit("pyproject.toml has no contract of layers")


def drawn() -> str:
    """Return the picture as SVG."""
    rows = layers()
    height = len(rows) * (HEIGHT + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 40} {height}" '
        'font-family="sans-serif" text-anchor="middle" role="img">',
        "<title>Packages of skrigidity; imports point down</title>",
    ]
    for i, row in enumerate(rows):
        y, width = i * (HEIGHT + GAP), (WIDTH - GAP * (len(row) - 1)) / len(row)
        for j, name in enumerate(row):
            x = j * (width + GAP)
            fill = "#ffe0a3" if name in ("hessian", "gradients") else "#cfe3f5"
            lines += [
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="6" '
                f'fill="{fill}" stroke="#7a8794"/>',
                f'<text x="{x + width / 2:.0f}" y="{y + 20}" font-size="15" font-weight="bold" '
                f'fill="#1b2733">{name}</text>',
                f'<text x="{x + width / 2:.0f}" y="{y + 37}" font-size="12" '
                f'fill="#1b2733">{ABOUT.get(name, "")}</text>',
            ]
    end = height - GAP
    lines += [
        f'<path d="M {WIDTH + 20} 4 V {end - 8}" stroke="#7a8794" stroke-width="2"/>',
        f'<path d="M {WIDTH + 13} {end - 12} L {WIDTH + 20} {end} L {WIDTH + 27} {end - 12} Z" '
        'fill="#7a8794"/>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(drawn(), "utf-8")
