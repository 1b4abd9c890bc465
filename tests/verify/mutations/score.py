"""Does the verifier detect a planted difference, place it, and name its cause?"""

import time

GOALS = {"detected": 1.0, "placed": 0.99, "named": 0.97}
"""The parts of all planted differences that must be detected, placed and named."""


def score(mutation) -> dict:
    """Check one planted difference. A cause that is only `unknown` never counts as named."""
    begun = time.perf_counter()
    try:
        report = mutation.build().check(mutation.what, dtypes=mutation.dtypes)
    except Exception as error:
        # a crash of the verifier is no detection
        return {"name": mutation.name, "detected": False, "placed": False, "named": False, "path": "(crashed)",
                "causes": f"{type(error).__name__}: {error}"[:90], "seconds": time.perf_counter() - begun}  # fmt: skip
    path = str(report.first_divergence) if report.first_divergence is not None else ""
    causes = [cause.id for cause in report.causes]
    return {
        "name": mutation.name,
        "detected": not report.ok,
        "placed": not report.ok and path in mutation.paths,
        "named": bool(causes) and causes[0] != "unknown" and causes[0] in mutation.causes,
        "path": path,
        "causes": ", ".join(causes),
        "text": "; ".join(map(str, report.causes)),
        "seconds": time.perf_counter() - begun,
    }


def rates(rows) -> dict[str, float]:
    """Return the part of the rows that meet each goal."""
    return {name: sum(row[name] for row in rows) / max(len(rows), 1) for name in GOALS}
