"""Install each given package alone in an empty environment, run the smoke test there, and cases of the verification.

``python tests/release/alone.py CONSTRAINTS FILE...``
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SMOKE = Path(__file__).with_name("smoke.py").resolve()
CASES = "S*,N1,G5"


def run(command: list[str], folder: Path) -> None:
    """Run a command in an empty folder, with nothing of the repository on the path."""
    left = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    subprocess.run(command, cwd=folder, env=left, check=True)


def tried(package: Path, constraints: Path) -> None:
    """Install one package, first by itself, then with what the verification needs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "empty"
        folder.mkdir()
        venv.create(Path(place) / "venv", with_pip=True)
        binaries = Path(place) / "venv" / "bin"
        install = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        run([*install, str(package)], folder)
        run([str(binaries / "python"), str(SMOKE)], folder)
        run([*install, f"{package}[torch,cli]"], folder)
        run([str(binaries / "jaxgrad"), "verify", "--case", CASES], folder)


if __name__ == "__main__":
    for file in sys.argv[2:]:
        tried(Path(file).resolve(), Path(sys.argv[1]).resolve())
