"""Virtual environments of other packages, one each, made when asked for."""

import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".venv-peers"


def interpreter(peer, packages, folder, install, without=()):
    """Return the Python of a peer's environment, made if `install`; raise where it is not there.

    Without packages it is this one. Those in `without` are taken out again.
    """
    if not packages:
        return Path(sys.executable)
    python = folder / peer / "bin" / "python"
    if not python.exists():
        if not install:
            raise RuntimeError("no environment (--install makes one)")
        venv.create(folder / peer, with_pip=True)
        command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        done = subprocess.run([*command, *packages], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip: {done.stderr.strip().splitlines()[-1]}")
        if without:
            command = [python, "-m", "pip", "uninstall", "-qq", "-y", *without]
            subprocess.run(command, check=True, capture_output=True)
    return python
