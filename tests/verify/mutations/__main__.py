"""Run the catalogue: `python -m tests.verify.mutations [--json FILE] [NAME ...]`."""

import argparse
import fnmatch
import json
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from tests.verify.mutations.catalogue import catalogue  # noqa: E402
from tests.verify.mutations.score import GOALS, rates, score  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="patterns of names; all without any")
    parser.add_argument("--json", type=Path, help="write the rows to a file")
    arguments = parser.parse_args()
    chosen = [m for m in catalogue() if not arguments.names or any(fnmatch.fnmatch(m.name, n) for n in arguments.names)]
    rows, begun = [], time.perf_counter()
    console = Console(stderr=True)
    for count, mutation in enumerate(chosen, 1):
        row = score(mutation)
        rows.append(row)
        marks = "".join("+" if row[k] else "-" for k in ("detected", "placed", "named"))
        console.print(
            f"{count:3}/{len(chosen)} {marks} {mutation.name}: {row['path']} {row['causes']}", highlight=False
        )
    table = Table("planted difference", "found", "first layer", "cause", "seconds")
    for row in rows:
        place, cause = (
            f"{row[k]} {'' if row[ok] else '(wrong)'}" for k, ok in (("path", "placed"), ("causes", "named"))
        )
        table.add_row(row["name"], "yes" if row["detected"] else "NO", place, cause, f"{row['seconds']:.1f}")
    Console(width=140).print(table)
    found = rates(rows)
    for name, goal in GOALS.items():
        console.print(f"{name:>9}: {found[name]:6.1%} of {len(rows)} (at least {goal:.0%})")
    console.print(f"in {time.perf_counter() - begun:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(found[name] >= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
