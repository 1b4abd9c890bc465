"""Compare the ports: `python -m tests.verify.ports [NAME ...] [--what all]`."""

import argparse
import sys

import jax

jax.config.update("jax_enable_x64", True)

from rich.console import Console  # noqa: E402

from tests.verify.ports.pairs import PORTS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify.ports", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"out of {', '.join(PORTS)}; all without any")
    parser.add_argument("--what", default="all")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in PORTS]
    if unknown:
        parser.error(f"no port is called {', '.join(unknown)}; there are {', '.join(PORTS)}")
    console, good = Console(width=140, highlight=False), True
    for name in arguments.names or PORTS:
        report = PORTS[name]().check(arguments.what)
        console.print(f"[bold]{name}[/bold] ({report.meta['parameters']} parameters, {report.meta['seconds']:.0f} s)")
        console.print(report.table(), markup=False)
        good = good and report.ok
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
