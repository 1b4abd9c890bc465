"""``python -m bench.bilevel`` on a few digits, with two of its methods."""

import shutil

import jax
import pytest
import typer

from bench import bilevel

FEW = {"train": 20, "validation": 20, "steps": 3, "seconds": 60.0, "rate": 0.1, "looks": 2}


@pytest.mark.slow
def test_a_short_run_writes_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    chosen = ("implicit, CG 2", "forward, one strength")
    monkeypatch.setattr(bilevel, "METHODS", {name: bilevel.METHODS[name] for name in chosen})
    monkeypatch.setattr(bilevel, "LAST", 100)
    monkeypatch.setattr(bilevel, "STEPS", 10)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a number to an integer power
        bilevel.main(**FEW, folder=tmp_path / "run", picture=tmp_path / "b.png")
        told = capsys.readouterr().out
        # what is kept is printed again, the seconds too; a run that was killed goes on after its last method
        bilevel.main(**FEW, folder=tmp_path / "run")
        assert capsys.readouterr().out == told
        shutil.rmtree(tmp_path / "run" / "steps" / "3")
        monkeypatch.setattr(bilevel, "run", None)
        bilevel.main(**FEW, folder=tmp_path / "run")
        goes_on = capsys.readouterr().out
    both = [[line for line in out.splitlines() if not line.startswith("grid")] for out in (told, goes_on)]
    assert both[0] == both[1]
    rows = {line[:22].strip(): line[22:].split() for line in told.splitlines()}
    assert rows.keys() >= {*chosen, "grid"}
    assert rows[chosen[0]][0] == "3"
    assert 10 * 3 < float(rows[chosen[0]][2]) <= (10 + 3 * 2.6 + 5) * 3 + 1
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_wrong_usage(tmp_path, capsys):
    for more, message in (
        ({"train": 1500, "validation": 400}, "there are 1797 digits, too few for 1500"),
        ({"picture": tmp_path / "no" / "b.png"}, "there is no directory"),
    ):
        with pytest.raises(typer.Exit) as caught:
            bilevel.main(**{**FEW, **more})
        assert caught.value.exit_code == 2
        assert message in capsys.readouterr().err
