"""What verification refuses, each kind a class of its own, and how an error of another's code is told in a line."""

import importlib

__all__ = ["CannotRun", "MappingError", "MissingPackageError", "PairError", "first_line", "missing", "require"]

PACKAGES = {
    "torch": ("PyTorch", "torch"),
    "torch_ref": ("jaxgrad's reference torch_ref", "torch"),
    "sklearn": ("scikit-learn", "cli"),
    "skimage": ("scikit-image", "cli"),
    "matplotlib": ("Matplotlib", "cli"),
}
"""The packages that verification needs beside jaxgrad's own: their names, and the extra that installs them."""


class CannotRun(ValueError):  # noqa: N818 - it is no error in the code: the run was asked for what there is not
    """A verification that cannot start: an unknown case or device, or a package that is not installed."""

    @classmethod
    def because(cls, error: BaseException) -> "CannotRun":
        """Return the refusal of a run that an error stopped: our own words as they are, another's code by its type."""
        if isinstance(error, SystemExit):
            return cls(f"the models or the spec called sys.exit({error.code})")
        ours = isinstance(error, ValueError | OSError | ModuleNotFoundError) and str(error).strip()
        return cls(str(error) if ours else first_line(error))


class MissingPackageError(CannotRun, ModuleNotFoundError):
    """A package that is not installed, and how to install it."""


class PairError(ValueError):
    """A pair that cannot be compared, and what to change."""


class MappingError(ValueError):
    """Weights that cannot be carried across; the message lists every one."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, with its type."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def require(*packages: str, otherwise: str = "") -> None:
    """Refuse to go on without some packages.

    Args:
        *packages: Their names.
        otherwise: A sentence that says what else can be done.

    Raises:
        MissingPackageError: With the command that installs the first one that does not import.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise missing(error, otherwise) or error from None


def missing(error: BaseException, otherwise: str = "") -> MissingPackageError | None:
    """Return the one line about an optional package that was not found; ``None`` for any other error."""
    package = (getattr(error, "name", None) or "").split(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in PACKAGES:
        return None
    name, extra = PACKAGES[package]
    message = f"{name} is not installed, and verify needs it: pip install 'jaxgrad[{extra}]'"
    return MissingPackageError(f"{message}. {otherwise}" if otherwise else message)
