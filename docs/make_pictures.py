"""Draw the pictures of guide/pictures.md again: runs its code, and saves what every picture shows.

    python docs/make_pictures.py

A picture belongs to the block of code above it, and shows the figure of `display` there; that of
structures is a photograph of the page, and is left as it is where there is no Chromium. The
structures that start/structures.md shows are made again as well, by its own code.
"""

import contextlib
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib as mpl
from PIL import Image

DOCS = Path(__file__).parent
PAGE = DOCS / "guide" / "pictures.md"
PART = re.compile(r"^```python\n(.*?)^```|^!\[[^]]*\]\(\.\./(images/[\w-]+\.png)\)", re.M | re.S)
START = DOCS / "start" / "structures.md"
LARGEST = 60_000  # bytes
SHOWN = 6  # structures


def drawn(names: dict) -> io.BytesIO:
    """Draw the last display."""
    picture = io.BytesIO()
    names["display"].figure_.savefig(picture, dpi=100)
    return picture


def photographed(names: dict) -> io.BytesIO | None:
    """Write the page of the last block, and open it in headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder, "page.html"), Path(folder, "picture.png")
        names["write_rigidity"](page, names["frames"], names["rigidity"])
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--enable-unsafe-swiftshader", f"--user-data-dir={folder}/profile"]
        options += ["--window-size=1000,560", "--virtual-time-budget=10000"]
        command = [chromium, *options, f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        return io.BytesIO(picture.read_bytes())


def write_structures(path: Path) -> None:
    """Run start/structures.md on the structures that it brings along, and save what it shows."""
    names: dict = {}
    code = "".join(re.findall(r"^```python\n(.*?)^```", START.read_text("utf-8"), re.M | re.S))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(compile(code, str(START), "exec"), names)
    names["write_rigidity"](path, names["new"][:SHOWN], names["local_rigidity"][:SHOWN])


def main() -> None:
    """Run the pages and save their pictures."""
    write_structures(DOCS / "images" / "local-rigidity.json.gz")
    mpl.use("Agg")
    mpl.rcParams["figure.figsize"] = (6.0, 4.0)
    names: dict = {}
    for code, image in PART.findall(PAGE.read_text("utf-8")):
        if code:
            exec(compile(code, str(PAGE), "exec"), names)
            continue
        path = DOCS / image
        path.parent.mkdir(exist_ok=True)
        picture = photographed(names) if path.stem == "structures" else drawn(names)
        if picture is None:
            print(f"{image}: not made again, there is no Chromium")
            continue
        # Of few colors: a third of the size, and no difference to the eye.
        Image.open(picture).convert("RGB").quantize(128).save(path, optimize=True)
        if path.stat().st_size > LARGEST:
            raise SystemExit(f"{image} has {path.stat().st_size} bytes, more than {LARGEST}")
        print(f"{image}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
