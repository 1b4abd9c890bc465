"""The commands about what is installed here: kinks, doctor."""

from jaxgrad.cli import AGREE
from jaxgrad.cli._options import Format, Output
from jaxgrad.cli._output import attempt, check_format, write

__all__ = ["show_doctor", "show_kinks"]


def show_kinks(format: Format = "text", output: Output = None) -> int:  # noqa: A002
    """Probe the installed versions for their derivatives at kinks."""
    check_format(format, output)
    from jaxgrad import verify

    write(verify.KinkReport(attempt(verify.kinks)), format, output)
    return AGREE


def show_doctor(format: Format = "text", output: Output = None) -> int:  # noqa: A002
    """Show versions, precision flags and devices of both frameworks."""
    check_format(format, output)
    from jaxgrad import verify

    write(verify.DoctorReport(attempt(verify.doctor)), format, output)
    return AGREE
