"""Run the field pairs: `python -m tests.verify.field [--pairs DIR] [--bug NAME] [--json FILE] [PAIR ...]`."""

import argparse
import json
import sys
import warnings
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.verify.field.score import GOALS, load, rates, score

PAIRS = Path(__file__).parents[4] / "shared" / "field" / "verify" / "pairs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify.field", description=__doc__)
    parser.add_argument("names", nargs="*", help="pairs; all without any")
    parser.add_argument("--pairs", type=Path, default=PAIRS, help="the directory that holds them")
    parser.add_argument("--bug", action="append", help="run only this form (- for the correct one); may be repeated")
    parser.add_argument("--json", type=Path, help="write the rows to a file, after each")
    arguments = parser.parse_args()
    rows, console = [], Console(stderr=True)
    wanted = None if arguments.bug is None else ["" if bug == "-" else bug for bug in arguments.bug]
    names = sorted(file.stem for file in arguments.pairs.glob("[!_]*.py"))
    for name in arguments.names or names:
        module = load(arguments.pairs, name)
        for bug in module.BUGS if wanted is None else wanted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = score(module, name, bug)
            rows.append(row)
            marks = "".join("+" if row[goal] else "-" for goal in GOALS if goal in row)
            line = (
                f"{marks:4} {name}: {bug or '(correct)'} [{row['kind']}] {row['path']} {row['causes']} {row['failed']}"
            )
            console.print(f"{line} ({row['seconds']:.0f} s)", highlight=False, markup=False, soft_wrap=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1))
    Console(width=150).print(_table(rows))
    found = rates(rows)
    for goal, (met, count) in found.items():
        console.print(f"{goal:>9}: {met} of {count} (at least {GOALS[goal]:.0%})", highlight=False)
    return 0 if all(met >= GOALS[goal] * count for goal, (met, count) in found.items()) else 1


def _table(rows: list[dict]) -> Table:
    """Return the rows as a table."""
    table = Table("pair", "form", "right", "place", "cause", "audit", "rules", "seconds")
    for row in rows:
        right = ", ".join(goal if row[goal] else f"NOT {goal}" for goal in GOALS if goal in row)
        right = "(changes no number)" if row["kind"] == "silent" else right
        audit = ("ok" if row["audit"] else "DIFFERS") if row["kind"] == "same" else ""
        table.add_row(row["pair"], row["bug"] or "(correct)", right, row["path"], ", ".join(row["causes"])[:60], audit,
                      str(row["rules"]), f"{row['seconds']:.0f}")  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
