"""What a run of `jaxgrad verify` found, to be written in any format."""

from dataclasses import dataclass
from importlib.metadata import version

from jaxgrad.verify import Row

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """The rows of a run, and the circumstances."""

    rows: tuple[Row, ...]
    seconds: float
    """Duration of the whole run."""
    device: str
    """The platform that JAX computed on."""

    @property
    def differing(self) -> list[Row]:
        """The rows that differ."""
        return [row for row in self.rows if not row.agrees]

    @property
    def setting(self) -> str:
        """The versions and the device, in a few words."""
        return f"jax {version('jax')} on {self.device}, torch {version('torch')} on cpu"

    @property
    def summary(self) -> str:
        """One line: how many agree, how long it took, and the worst errors."""
        cases = len({row.case for row in self.rows})
        bad = len(self.differing)
        verdict = f"{len(self.rows) - bad} agree, {bad} differ{'s' if bad == 1 else ''}" if bad else "all agree"
        time = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.1f} min"
        head = f"{_count(cases, 'case')}, {_count(len(self.rows), 'row')}: {verdict}, in {time}."
        errors = [(row.error_f64, row.case) for row in self.rows if row.error_f64 is not None]
        noises = [(row.noise_f32, row.case) for row in self.rows if row.noise_f32 is not None]
        worst = [f"float64 error {max(errors)[0]:.1e} ({max(errors)[1]})"] if errors else []
        worst += [f"float32 noise {max(noises)[0]:.1f}x torch's ({max(noises)[1]})"] if noises else []
        return f"{head} Worst {', '.join(worst)}." if worst else head


def _count(number: int, noun: str) -> str:
    """Return ``1 case`` or ``2 cases``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
