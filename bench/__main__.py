"""``python -m bench [FAMILY ...]``: time every row against its rivals; and what is done with the results."""

import math
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench._command import check_folder, check_torch, leave, make_results_folder, watch_interrupts


class RunByDefault(TyperGroup):
    """A group whose first command needs no name: what is no command is a family, or an option of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the default command before arguments that have none."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, cls=RunByDefault)

Families = Annotated[list[str] | None, typer.Argument(help="Families; all of them where none is named.")]
Text = Annotated[str | None, typer.Option("--row", help="Only the rows whose name or sizes contain this text.")]


@app.command("run")
def run_command(
    families: Families = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="Small sizes and few rounds: under three minutes in all.")
    ] = False,
    row: Text = None,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|gpu|tpu", help="Where to compute.", show_default="JAX's own choice")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float64|bfloat16", help="What floating-point arrays are.")
    ] = "float32",
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Try torch.compile too, and name the libraries that are missing.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=3, help="Interleaved rounds for each row.", show_default="till the ratios are known"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use; all where not given.")] = None,
    memory: Annotated[
        bool | None, typer.Option(help="Measure peak memory in fresh processes.", show_default="with --full")
    ] = None,
    scaling: Annotated[
        bool | None, typer.Option(help="Measure the curves.", show_default="where no row is named")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write results.json and report.html there.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows and curves that DIR has of a run like this, and go on.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, at which sizes, and stop.")] = False,
) -> None:
    """Time each row: contenders must agree, then run in rounds of shuffled order; ratios are paired, round by round."""
    watch_interrupts()
    check_torch("bench")
    from bench import _curves, _device, _rows
    from bench._run import Settings
    from bench._session import Session

    if dtype not in _device.DTYPES:
        leave("bench", f"--dtype takes {', '.join(_device.DTYPES)}; got {dtype!r}")
    chosen = _rows.chosen("bench", families or [], row, quick)
    named = sorted({family for family, _ in chosen})
    scaling = row is None if scaling is None else scaling
    _device.check_threads("bench", threads)
    if resume and out is None:
        leave("bench", "--resume goes on with the result in a directory: give --out DIR")
    with _device.on_cores(threads):
        device = _device.check_device("bench", device)
        memory = not quick if memory is None else memory
        settings = Settings(quick, device, dtype, threads, rounds, rivals=rivals, memory=memory)
        if dry_run:
            for family, one in chosen:
                print(_rows.key_of(family, one, quick))
            for curve in _curves.chosen(named, quick) if scaling else ():
                print(f"{curve.title}: {', '.join(map(str, curve.small if quick else curve.full))}")
            return
        make_results_folder("bench", out, "results.json", "report.html")
        Session(settings, named, out, time.time()).run(chosen, scaling, resume)


@app.command("list")
def list_command(
    families: Families = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="The small sizes.")] = False,
    row: Text = None,
) -> None:
    """List the rows with their sizes."""
    check_torch("bench list")
    from bench import _rows

    families = families or []
    _rows.check_families("bench list", families)
    found = _rows.chosen("bench list", families or list(_rows.FAMILIES), row, quick)
    for family, one in found:
        print(_rows.key_of(family, one, quick))


@app.command("compare")
def compare_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="The results.json of the earlier run.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="That of the later one.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, help="What a quantity may grow by: 0.05 is five percent.")
    ] = 0.05,
) -> None:
    """Print what has become slower or costlier; leave with 1 where anything has beyond the threshold, or fails now."""
    from bench import _compare, _results, _show

    if not math.isfinite(threshold):  # nothing is beyond one that is no number
        leave("bench compare", f"--threshold takes a number such as 0.05; got {threshold}")
    one, two = (_results.load("bench compare", path) for path in (before, after))
    _compare.check_alike("bench compare", one, two)
    for line in _compare.surroundings(one, two):
        print(line)
    for path, record in ((before, one), (after, two)):
        if _compare.one_visit(record):
            print(
                f"{path} has measured no row once more: its ratios are taken to differ by {_compare.ONE_VISIT:.0%} more"
            )
    found = _compare.changes(one, two)
    worse = [change for change in found if change.is_regression(threshold)]
    better = [change for change in found if change.is_gain(threshold)]
    for title, some in (("Regressions", worse), ("Gains", better)):
        if some:
            _show.console().print(_compare.table_of(title, some))
    gone, broken = _compare.gone(one, two)
    for key in gone:
        print(f"only in {before}: {key}")
    for key, why in broken.items():
        print(f"failed in {after}: {key}: {why}")
    for key in _compare.untimed(one, two):
        print(f"no ratio of times that both have: {key}")
    alike, ratios = _compare.alike(one, two)
    if ratios:
        print(f"{alike} of {ratios} ratios of times ({alike / ratios:.1%}) agree within their own intervals")
    print(f"{len(found)} quantities compared: {len(worse)} worse, {len(better)} better, by more than {threshold:.0%}")
    if worse or broken:
        raise typer.Exit(1)


@app.command("report")
def report_command(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A results.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page.", show_default="report.html beside the result")
    ] = None,
) -> None:
    """Write the report of a result again: one page without scripts."""
    from bench import _report, _results

    record = _results.load("bench report", result)
    path = output or result.parent / "report.html"
    check_folder("bench report", path)
    try:
        _report.save(path, record)
    except OSError as error:
        leave("bench report", str(error), code=1)
    print(path)


@app.command("tables")
def tables_command(
    write: Annotated[
        bool, typer.Option("--write", help="Write them; else say which are stale, and leave with 1.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="Where README.md and docs are.", show_default="the checkout")
    ] = None,
) -> None:
    """Write the tables of README.md and docs from the committed results."""
    from bench import _tables
    from jaxgrad.verify import _files

    root = root or Path(__file__).parents[1]
    if not _tables.documents(root):
        leave("bench tables", f"no document in {root} has a table of ours")
    old = _tables.stale("bench tables", root)
    for path in old:
        print(f"{path} {'is written' if write else 'is stale'}")
        if write:
            text = _tables.written("bench tables", path.read_text()).encode()
            try:
                _files.write_atomically(path, lambda file, text=text: file.write(text))  # type: ignore[misc]
            except OSError as error:
                leave("bench tables", str(error), code=1)
    if old and not write:
        print("python -m bench tables --write")
        raise typer.Exit(1)


@app.command("check")
def check_command(
    families: Families = None,
    row: Text = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="The first row of each family, or all.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Commit to the costs as they are now.")] = False,
    costs: Annotated[Path | None, typer.Option(help="The committed costs.", show_default="results/costs.json")] = None,
    forms: Annotated[
        bool | None,
        typer.Option(help="Compile the forms of bench.scale too.", show_default="where all rows are compared"),
    ] = None,
    scale: Annotated[
        Path | None, typer.Option(help="The committed result of bench.scale.", show_default="results/scale.json")
    ] = None,
) -> None:
    """Compile our program of every row in small, run nothing, and compare FLOPs, bytes and temporaries.

    Rows run on one device: what goes between devices is compared by the forms of `bench.scale`, on eight of a CPU.
    """
    watch_interrupts()
    check_torch("bench check")
    from bench import _check, _device, _phases, _rows, _scale_check

    path, families = costs or _check.COSTS, families or []
    _rows.check_families("bench check", families)
    chosen = _rows.chosen("bench check", families or ([] if quick else list(_rows.FAMILIES)), row, True)
    if quick and not (families or row):
        chosen = list({family: (family, one) for family, one in reversed(chosen)}.values())[::-1]
    some = bool(families or row or quick)
    forms = not (some or write) if forms is None else forms
    device = _device.check_device("bench check", None)
    if write:
        check_folder("bench check", path)
    committed = {} if write and not path.exists() else _check.load("bench check", path)
    sent_alike = not forms or _scale_check.is_as_committed("bench check", scale or _scale_check.COMMITTED)
    if committed and committed["made_with"] != _check.made_with():
        made = ", ".join(f"{name} {version}".strip() for name, version in committed["made_with"].items())
        if not write:
            print(f"bench check: {path.name} was made with {made}: nothing to compare here")
            raise typer.Exit(0 if sent_alike else 1)
        if some:
            leave("bench check", f"{path.name} was made with {made}: --write writes all rows here, or none")
    with _device.pinned(device, "float32", None), _phases.compiled_quickly():
        now, broken = _check.costs_of(chosen)
    known = committed.get("costs", {})
    if write:
        kept = {key: cost for key, cost in known.items() if some}
        try:
            _check.save(path, {**kept, **now})
        except OSError as error:
            leave("bench check", str(error), code=1)
        if broken:
            leave("bench check", "; ".join(f"{key}: {why}" for key, why in broken.items()), code=1)
        return
    wrong = [f"{key}: {why}" for key, why in broken.items()]
    wrong += [line for key, cost in now.items() for line in _check.differences(key, known.get(key), cost)]
    gone = [] if some else [f"{key}: is no row any more" for key in sorted(set(known) - {*now, *broken})]
    print("\n".join([*wrong, *gone, f"{len(now)} rows compiled, {len(wrong) + len(gone)} differences"]))
    if wrong or gone:
        print("where that is meant: python -m bench check --write")
    if wrong or gone or not sent_alike:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
