"""What verification refuses, each kind a class of its own, and how an error of another's code is told in a line."""

__all__ = ["CannotRun", "MappingError", "PairError", "first_line"]


class CannotRun(ValueError):  # noqa: N818 - it is no error in the code: the run was asked for what there is not
    """A verification that cannot start: an unknown case or device, or a package that is not installed."""

    @classmethod
    def because(cls, error: BaseException) -> "CannotRun":
        """Return the refusal of a run that an error stopped: our own words as they are, another's code by its type."""
        if isinstance(error, SystemExit):
            return cls(f"the models or the spec called sys.exit({error.code})")
        ours = isinstance(error, ValueError | OSError | ModuleNotFoundError) and str(error).strip()
        return cls(str(error) if ours else first_line(error))


class PairError(ValueError):
    """A pair that cannot be compared, and what to change."""


class MappingError(ValueError):
    """Weights that cannot be carried across; the message lists every one."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, with its type."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
