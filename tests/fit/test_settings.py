"""What a command does that is told little: the model, its steps and sizes by what is matched, and its rates."""

import pytest

from jaxgrad.fit._settings import MATCHES, Settings
from jaxgrad.fit._words import rates_of

UNTOLD = {"steps": None, "width": None, "layers": None}


@pytest.mark.parametrize(("match", "steps"), [("value", 600), ("gradient", 600), ("laplacian", 300)])
def test_the_usual_steps_and_sizes_are_those_of_the_model(match, steps):
    splines, siren = (Settings.usual(match, model, **UNTOLD) for model in ("spline", "siren"))
    assert (splines.steps, splines.width, splines.layers) == (steps, 64, 2)
    assert (siren.steps, siren.width, siren.layers) == (2000, 256, 4)
    given = Settings.usual(match, "spline", steps=7, width=None, layers=1)
    assert (given.steps, given.width, given.layers) == (7, 64, 1)


def test_a_command_that_is_told_nothing_takes_the_usual_settings():
    plain = Settings()
    assert Settings.usual(plain.match, plain.model, **UNTOLD) == plain
    assert plain.model == "spline"


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("targets", ["spectral", "spline", "central", "sobel"])
def test_splines_are_finer_than_the_pixels_where_targets_lie_between_them(match, targets):
    """Of a Laplacian the lattices could not tell their waves from long ones."""
    cells = Settings(match, targets=targets, size=(40, 60)).network()["finest"]
    assert cells == (120 if match != "laplacian" and targets in ("spectral", "spline") else 60)


def test_the_rates_that_are_written_down_are_those_in_use():
    """Tables have one of their own, and one factor scales all."""
    shown = {model: rates_of(Settings(model=model)) for model in ("siren", "spline", "hash")}
    assert shown["siren"].keys() == {"Muon", "Adam beside it"}
    assert shown["spline"].keys() == shown["hash"].keys() == {"Muon", "Adam beside it", "Adam on tables"}
    doubled = rates_of(Settings(learning_rate=2 * shown["spline"]["Muon"]))
    assert doubled == {name: pytest.approx(2 * rate) for name, rate in shown["spline"].items()}
    assert rates_of(Settings(optimizer="adam")).keys() == {"Adam", "Adam on tables"}
