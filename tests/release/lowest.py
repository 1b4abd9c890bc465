"""Print the lower bounds of the dependencies as pins, for a pip that cannot resolve to the lowest: ``make lowest``."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(extras: tuple[str, ...]) -> list[str]:
    """Return ``name==bound`` for the dependencies and for those of some extras, and of the extras that these name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted, seen, found = [*project["dependencies"]], set(extras), {}
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    while wanted:
        requirement = wanted.pop()
        if own := re.fullmatch(r"jaxgrad\[(.*)\]", requirement):
            for extra in set(own[1].split(",")) - seen:
                seen.add(extra)
                wanted += project["optional-dependencies"][extra]
        elif bound := re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", requirement):
            found[bound[1]] = bound[2]
    return sorted(f"{name}=={bound}" for name, bound in found.items())


if __name__ == "__main__":
    print("\n".join(pins(("test",))))  # noqa: T201
