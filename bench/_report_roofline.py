"""Where our programs lie beneath what the device can do, as a part of the report."""

from html import escape
from typing import Any

from bench._ceilings import fastest_copy
from bench._svg import Mark, plot

__all__ = ["roofline"]


def roofline(record: dict[str, Any]) -> str:
    """Return the figure, and what its lines are; nothing where the result has no ceilings."""
    top = record["ceilings"]
    ours = [(row, row["contenders"][0]) for row in record["rows"] if row["contenders"]]
    found = [(row, line["roofline"]) for row, line in ours if line.get("roofline")]
    if not top or not found:
        return ""
    marks = [
        Mark(
            r["flops_per_byte"],
            r["flops_per_s"],
            "ours",
            f"{row['key']}: {r['part_of_ceiling']:.0%} of the ceiling ({r['bound']})",
        )
        for row, r in found
    ]
    flops, memory, cache = top["flops_per_s"], top["bytes_per_s"], fastest_copy(top, 0)
    ends = [r["flops_per_byte"] for _, r in found] + [4 * flops / memory]
    lines = [
        (kind, [(x, min(flops, x * speed)) for x in sorted({min(ends), flops / speed, max(ends)})])
        for kind, speed in (("top", memory), ("cache", cache))
        if kind == "top" or cache > memory
    ]
    drawn = plot("Roofline", marks, ("operations a byte", "operations a second"), lines, 280)
    said = (
        "Our programs beneath the most that this run reached at its start and at its end: of a product,"
        f" {flops / 1e9:.4g} GFLOP/s, and of a copy that no cache holds, {memory / 1e9:.4g} GB/s. The dashed line is"
        f" the fastest of smaller copies, {cache / 1e9:.4g} GB/s: a program whose arrays are few enough for a cache is"
        " held against the fastest copy of as many bytes or more. Operations and bytes are XLA's counts: of a loop they"
        " count one round, so a program with loops lies too low; and they count what each operation reads and writes,"
        " so a program whose operations find in a cache what the last one wrote may lie above its line."
    )
    return f"<h2>Roofline</h2><p>{escape(said, quote=False)}</p><figure>{drawn}</figure>"
