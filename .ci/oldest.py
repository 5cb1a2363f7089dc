"""Print the oldest versions that pyproject.toml allows, as constraints for pip."""

import tomllib
from pathlib import Path

pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
for requirement in pyproject["project"]["dependencies"]:
    name, floor = requirement.split(">=")
    print(f"{name}=={floor}")
