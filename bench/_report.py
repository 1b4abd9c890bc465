"""The report: one HTML page without scripts or other files, for dark and light, for a desk and a phone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench._report_roofline import roofline
from bench._results import commits
from bench._rows import FAMILIES
from bench._show import notes_of, of_visits, to_compile
from bench._style import STYLE
from bench._svg import Bar, Mark, bars, plot
from jaxgrad.verify import _files

__all__ = ["page", "save"]


def save(path: Path, record: dict[str, Any]) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
    """
    _files.write_atomically(path, lambda file: file.write(page(record).encode()))


def page(record: dict[str, Any]) -> str:
    """Return the page of a result."""
    parts = [summary(record), wins(record["rows"]), scaling(record["curves"]), roofline(record), memory(record)]
    parts += [compiling(record["rows"]), numbers(record["rows"]), troubles(record), setting(record)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>jaxgrad benchmark</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def key(kind: str, words: str) -> str:
    """Return words in the colour of a kind."""
    return f'<span class="key {kind}">{escape(words)}</span>'


def summary(record: dict[str, Any]) -> str:
    """Return the head: what ran where, and how often we are ahead."""
    place, run = record["environment"], record["run"]
    said = Counter(row["best_rival"]["says"] for row in record["rows"] if row["best_rival"])
    commit = ", ".join(commits(record)) or "unknown"
    sizes = "small sizes (--quick: their times are mostly overhead)" if run["quick"] else "full sizes"
    tiles = [
        (len(record["rows"]), "rows measured"),
        (said["faster"], "faster than the best rival"),
        (said["slower"], "slower"),
        (said["nothing"], "not decided: the interval includes 1"),
    ]
    boxes = "".join(f"<div><b>{count}</b>{words}</div>" for count, words in tiles)
    return (
        f"<h1>jaxgrad benchmark</h1><p class=soft>{escape(place['processor'])}, {escape(place['device_kind'])},"
        f" {place['threads']} cores; {escape(run['dtype'])}; {sizes}; jax {escape(place['versions'].get('jax', '?'))},"
        f" torch {escape(place['versions'].get('torch', '?'))}; commit {escape(commit)}.</p>"
        f'<div class="tiles">{boxes}</div>'
    )


def wins(rows: Sequence[dict[str, Any]]) -> str:
    """Return who wins where, a family after the other."""
    parts = []
    for family in FAMILIES:
        own = [row for row in rows if row["family"] == family and row["best_rival"]]
        if own:
            entries = [_speedup(row) for row in own]
            drawn = bars(
                f"{family}: the best rival's time over ours", entries, "best rival's time / ours (right: ours faster)"
            )
            parts.append(
                f"<details open><summary>{family}, {len(own)} rows</summary><figure>{drawn}</figure></details>"
            )
    if not parts:
        return ""
    return (
        "<h2>Who wins, and by how much</h2><p>The time of the fastest other contender of each row, divided by ours,"
        f" round by round; the line is the 95% interval of the median. {key('ours', 'Blue')}: ours is faster."
        f" {key('slower', 'Orange')}: slower. {key('nothing', 'Grey')}: the interval includes 1, so this run does not"
        f' tell.</p><div class="grid wide">{"".join(parts)}</div>'
    )


def _speedup(row: dict[str, Any]) -> Bar:
    """Return the bar of a row: the inverse of our ratio."""
    best = row["best_rival"]
    middle, low, high = best["ratio"]
    ratio = 1 / middle, 1 / high, 1 / low
    said = f"{ratio[0]:.3g}x" + ("?" if best["says"] == "nothing" else "")
    return Bar(f"{row['name']}: {row['label']}", ratio, best["says"], said, best["name"])


def scaling(curves: Sequence[dict[str, Any]]) -> str:
    """Return the curves."""
    figures = []
    for curve in curves:
        points = curve["points"]
        lines = [("time", [(p["size"], p["median_s"]) for p in points])]
        marks = [Mark(p["size"], p["median_s"], "ours", f"{p['size']}: {p['median_s']:.3g} s") for p in points]
        slow = [p for p in points if p.get("compile_s")]
        if slow:
            lines.append(("compile", [(p["size"], p["compile_s"]) for p in slow]))
            marks += [Mark(p["size"], p["compile_s"], "compile", f"{p['compile_s']:.3g} s to compile") for p in slow]
        title = f"{curve['family']}.{curve['name']} over {curve['axis']}"
        drawn = plot(title, marks, (curve["axis"], "seconds"), lines, height=220)
        figures.append(f"<figure><h3>{escape(title)}</h3>{drawn}<figcaption>{_growth(curve)}</figcaption></figure>")
    if not figures:
        return ""
    return (
        "<h2>Scaling</h2><p>Both axes are logarithmic, so a power of the size is a straight line. "
        f"{key('ours', 'A call')}, and {key('compile', 'tracing and compiling')}. Operations are XLA's, which counts"
        f' the body of a loop once.</p><div class="grid">{"".join(figures)}</div>'
    )


def _growth(curve: dict[str, Any]) -> str:
    """Return the exponents of a curve in words."""
    words = {"median_s": "time", "compile_s": "compiling", "flops": "operations"}
    fits = [(words[name], curve["exponents"].get(name)) for name in words]
    said = ["{} ~ size^{:.2f} ({:.2f} to {:.2f})".format(word, *fit) for word, fit in fits if fit]
    return escape("; ".join(said) or "too few points for an exponent")


def memory(record: dict[str, Any]) -> str:
    """Return memory against time, for every contender that tells."""
    marks = []
    for row in record["rows"]:
        for i, line in enumerate(row["contenders"]):
            bytes_ = line.get("peak_bytes") or line.get("temporary_bytes")
            if bytes_ and line["name"] != row["unit"]:
                kind = "ours" if i == 0 else line["framework"]
                title = f"{row['key']}, {line['name']}: {1e3 * line['median_s']:.3g} ms, {bytes_ / 2**20:.3g} MiB"
                marks.append(Mark(1e3 * line["median_s"], bytes_ / 2**20, kind, title))
    if not marks:
        return ""
    drawn = plot("Memory against time", marks, ("ms a call", "MiB"), height=280)
    raised, planned = "how far a call raises a fresh process", "how far a call raises that of the device"
    peak = raised if record["environment"]["device"] == "cpu" else planned
    return (
        f"<h2>Memory against time</h2><p>Lower left is better. The memory is {peak},"
        f" where that was measured, and else XLA's temporaries. {key('ours', 'Ours')}, {key('jax', 'other JAX')},"
        f" {key('torch', 'torch')}.</p><figure>{drawn}</figure>"
    )


def compiling(rows: Sequence[dict[str, Any]], most: int = 30) -> str:
    """Return the rows that compile longest, with an empty cache and a warm one."""
    ours = [(row, row["contenders"][0]) for row in rows if row["contenders"] and "trace_s" in row["contenders"][0]]
    if not ours:
        return ""
    slowest = sorted(ours, key=lambda one: -to_compile(one[1])[0])[:most]
    head = "<tr><th>row</th><th>cache</th><th>trace s</th><th>lower s</th><th>compile s</th><th>warm s</th></tr>"
    lines = [
        [f"{row['family']}.{row['name']}: {row['label']}", line["cache"]]
        + [f"{line[name]:.3g}" for name in ("trace_s", "lower_s", "compile_s", "warm_compile_s")]
        for row, line in slowest
    ]
    return (
        f"<h2>Compiling</h2><p>The {len(slowest)} of our programs that take longest, of {len(ours)}. Warm is the same"
        " compilation from JAX's persistent cache: what a second process waits for.</p>" + _table(head, lines)
    )


def numbers(rows: Sequence[dict[str, Any]]) -> str:
    """Return every contender of every row."""
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "row",
            "contender",
            "ms",
            "quartiles",
            "ours / it",
            "95%",
            "gradients",
            "MFLOP",
            "temp MiB",
            "peak MiB",
            "of ceiling",
        )
    )
    lines = [[row["key"], *_cells(line)] for row in rows for line in row["contenders"]]
    return f"<h2>Numbers</h2>{_table(f'<tr>{head}</tr>', lines)}" if lines else ""


def _cells(line: dict[str, Any]) -> list[str]:
    """Return what the table says of a contender."""
    ratio, low, high = line["ours_over_it"]
    first, third = (1e3 * q for q in line["quartiles_s"])

    def scaled(name: str, unit: float) -> str:
        return f"{line[name] / unit:.4g}" if line.get(name) is not None else ""

    return [
        line["name"],
        f"{1e3 * line['median_s']:.3g}",
        f"{first:.3g} to {third:.3g}",
        f"{ratio:.3g}" + ("?" if line.get("says") == "nothing" else ""),
        f"{low:.3g} to {high:.3g}",
        f"{line['over_gradient'][0]:.3g}" if line.get("over_gradient") else "",
        scaled("flops", 1e6),
        scaled("temporary_bytes", 2**20),
        scaled("peak_bytes", 2**20),
        f"{line['roofline']['part_of_ceiling']:.0%}" if line.get("roofline") else "",
    ]


def _table(head: str, lines: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls sideways where it is wider than the page."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="scroll" tabindex="0"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def troubles(record: dict[str, Any]) -> str:
    """Return what did not run and why, and what is to be said of the times of who did; once for all rows."""
    lines = [f"{one['key']}: {one['why']}" for one in record["failed"]]
    lines += [f"not installed: {name}" for name in record["run"].get("missing", [])]
    for curve in record["curves"]:
        what = f"{curve['family']}.{curve['name']} over {curve['axis']}"
        lines += [f"{what}, {size}: {why}" for size, why in curve.get("broken", {}).items()]
    told: dict[str, list[str]] = {}
    for row in record["rows"]:
        for note in notes_of(row):
            told.setdefault(note, []).append(row["key"])
    items = [escape(line) for line in [*lines, *(f"{keys[0]}: {note}" for note, keys in told.items() if not keys[1:])]]
    items += [
        f"<details><summary>{escape(note)} ({len(keys)} rows)</summary>{escape('; '.join(keys))}</details>"
        for note, keys in told.items()
        if keys[1:]
    ]
    return f"<h2>What did not run, and notes</h2><ul><li>{'</li><li>'.join(items)}</li></ul>" if items else ""


def setting(record: dict[str, Any]) -> str:
    """Return how it was measured and compared, what was pinned, and the versions."""
    place, rows = record["environment"], record["rows"]
    by_rule = sum(row["agreement"].get("rule") == "verifier" for row in rows)
    said = [
        f"Contenders agreed before anything was timed: by the verifier's rule in {by_rule} of {len(rows)} rows, and"
    ]
    said += [
        "within a tolerance of the row in the others, which estimate or iterate.",
        "Precision is pinned on both sides.",
    ]
    unsettled = sum(not row.get("settled", True) for row in rows)
    if unsettled:
        said += [f"The rounds of {unsettled} rows ended by time, before their ratios were known to the target."]
    if record["run"].get("between_visits"):
        said += [of_visits(record["run"]["between_visits"]) + "."]
    pairs = {**place["flags"], **place["versions"], "python": place["python"]}
    items = [[str(name), str(value)] for name, value in pairs.items()]
    head = f"<h2>Setting</h2><p>{escape(' '.join(said), quote=False)}</p>"
    return head + _table("<tr><th>what</th><th>value</th></tr>", items)
