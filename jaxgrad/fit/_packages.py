"""The optional packages that fitting needs, looked for before anything is computed."""

import importlib.util

from jaxgrad.verify import CannotRun

__all__ = ["check_packages"]

PACKAGES = {
    "PIL": "Pillow",
    "skimage": "scikit-image",
    "matplotlib": "Matplotlib",
    "safetensors": "safetensors",
    "orbax": "orbax-checkpoint",
}
"""By the name that is imported: the name that is installed. All come with the extra ``cli``."""


def check_packages() -> None:
    """Refuse to start without one of the packages; none is imported.

    Raises:
        CannotRun: With the command that installs what is missing.
    """
    missing = [name for package, name in PACKAGES.items() if importlib.util.find_spec(package) is None]
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        message = f"{', '.join(missing)} {verb} not installed, and fit needs it: pip install 'jaxgrad[cli]'"
        raise CannotRun(message)
