"""Every rule that TorchJD has too, on matrices of one to nine rows: the same vector, or one that is better by its law.

`docs/multi_loss.md` says which is which, and how many comparisons these are.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from jaxgrad import multi_loss
from jaxgrad.multi_loss._pcgrad import orders
from jaxgrad.verify._bridge import to_torch

COUNTS = range(1, 10)
SCALES = (1e-15, 1.0, 1e15)
KEY = jax.random.key(3)


def kinds(count: int) -> dict[str, Any]:
    """Return rows of every kind; of one row there are two kinds."""
    rng = np.random.default_rng(count)
    first = rng.normal(size=(count, count + 2))
    if count == 1:
        return {"drawn": first, "zeros": 0 * first}
    opposite, twice, none, zero_sum = first.copy(), first.copy(), first.copy(), first.copy()
    opposite[1], twice[1], none[-1] = -2 * first[0], first[0], 0
    zero_sum[-1] = -(rng.uniform(0.5, 2, size=count - 1) @ first[:-1])
    return {
        "drawn": first,
        "of half the rank": rng.normal(size=(count, (count + 1) // 2)) @ first[: (count + 1) // 2],
        "opposite": opposite,
        "twice the same": twice,
        "all the same": first[[0] * count],
        "with a row of zeros": none,
        "zeros": 0 * first,
        "in conflict": first - 0.9 * first.mean(0),
        "with a sum that is zero": zero_sum,
    }


class Compared(NamedTuple):
    """A rule in both libraries, and what is asked of the two vectors."""

    ours: Callable[[Any], Any]
    """Takes the rows."""
    theirs: Callable[[Any, Any], Any]
    """Takes TorchJD and the rows."""
    judge: Callable[[Any, Any, Any], None]
    """Takes our vector, theirs, or ``None`` for an error or NaN, and the rows, all in units of the longest row."""
    least: int = 1
    """The fewest rows that it takes."""


def same(ours, theirs, _rows):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def near(ours, theirs, rows):
    """The limit of theirs as what is added to the diagonal vanishes; of zeros they have none."""
    assert (rows @ ours).min() >= -1e-10
    np.testing.assert_allclose(ours, 0 * ours if theirs is None else theirs, rtol=0, atol=1e-6)
    assert theirs is not None or not rows.any()


def shorter(ours, theirs, rows):
    assert (rows @ ours).min() >= ours @ ours - 1e-10
    assert np.linalg.norm(ours) <= np.linalg.norm(theirs) + 1e-12


def alike(ours, theirs, rows):
    """Equal projections; theirs are too, or are the vector zero, or least squares."""
    lengths = np.linalg.norm(rows, axis=1)
    units = rows[lengths > 0] / lengths[lengths > 0, None]
    size = 1 + np.abs(ours).max()
    for vector in (ours, theirs):
        is_alike = np.ptp(units @ vector, axis=0).max(initial=0) <= 1e-8 * size if len(units) else True
        assert is_alike or vector is theirs
    if is_alike and theirs.any() and ours.any():
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8 * size)


def fairer(ours, theirs, rows):
    """The largest product of slopes for its length; where there is none, zero."""
    rows = rows[rows.any(1)]
    if not ours.any() or not len(rows):
        assert not len(rows) or multi_loss_is_stationary(rows)
        return
    assert (rows @ ours).min() > 0
    if theirs is not None and theirs.any() and (rows @ theirs).min() > 0:
        products = [np.log(rows @ vector / np.linalg.norm(vector)).sum() for vector in (ours, theirs)]
        assert products[0] >= products[1] - 1e-8


def multi_loss_is_stationary(rows):
    """Whether a weighted mean of the rows is zero."""
    return np.linalg.norm(np.asarray(multi_loss.mgda(rows @ rows.T)) @ rows) < 1e-7


def steeper(ours, theirs, rows):
    """The better worst slope in the ball around the mean."""
    mean = rows.mean(0)
    reach = 0.5 * np.linalg.norm(mean) + 1e-9
    assert np.linalg.norm(ours - mean) <= reach
    if np.linalg.norm(theirs - mean) <= reach:
        assert (rows @ ours).min() >= (rows @ theirs).min() - 1e-6


def same_direction(ours, theirs, rows):
    """The same; zero for two opposite rows, where theirs is what rounding makes."""
    is_opposite = len(rows) == 2 and rows.any(1).all() and abs(rows[0] @ rows[1]) > 0 and multi_loss_is_stationary(rows)
    np.testing.assert_allclose(ours, 0 * ours if is_opposite else theirs, rtol=0, atol=1e-8)


def central(ours, theirs, rows):
    """A row with the least sum of squared distances to the nearest others; theirs of distances."""
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    for vector, power in ((ours, 2), (theirs, 1)):
        scores = np.sort(apart**power, axis=1)[:, 1 : len(rows) - 1].sum(1)
        chosen = np.linalg.norm(rows - vector, axis=1) < 1e-10
        assert chosen.any()
        assert scores[chosen].min() <= scores.min() + 1e-7


def of_gram(rule: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:
    """Return the vector of a rule of the Gram matrix."""
    return lambda rows: rule(rows @ rows.T, **options) @ rows


def plain(torchjd: Any, name: str) -> Any:
    """Return an aggregator without its regularisation, as far as its solver goes."""
    linalg = pytest.importorskip("torchjd.linalg")
    return getattr(torchjd, name)(projector=linalg.QuadprogProjector(norm_eps=0.0, reg_eps=1e-10))


def preferences(count: int) -> Any:
    return np.linspace(0.5, 2, count)


def with_weights(torchjd: Any, rows: Any) -> Any:
    return torchjd.Constant(to_torch(preferences(len(rows))))(rows)


def uniform(rows: Any) -> Any:
    return np.asarray(jax.random.uniform(jax.random.split(KEY, 1)[0], rows.shape[1:], "float32"), float)


PART = functools.partial
RULES = {
    "Mean": Compared(of_gram(multi_loss.mean_weights), lambda t, r: t.Mean()(r), same),
    "Sum": Compared(of_gram(multi_loss.sum_weights), lambda t, r: t.Sum()(r), same),
    "Constant": Compared(
        lambda r: multi_loss.constant_weights(r @ r.T, preferences=preferences(len(r))) @ r, with_weights, same
    ),
    "Random": Compared(of_gram(multi_loss.random_weights, key=KEY), lambda t, r: t.Random()(r), same),
    "PCGrad": Compared(of_gram(multi_loss.pcgrad, key=KEY), lambda t, r: t.PCGrad()(r), same),
    "GradDrop": Compared(PART(multi_loss.graddrop, key=KEY), lambda t, r: t.GradDrop()(r), same),
    "TrimmedMean": Compared(
        lambda r: multi_loss.trimmed_mean(r, trim=(len(r) - 1) // 2),
        lambda t, r: t.TrimmedMean(trim_number=(len(r) - 1) // 2)(r),
        same,
    ),
    **{
        f"AlignedMTL {mode}": Compared(
            of_gram(multi_loss.aligned_mtl, scale_mode=mode),
            lambda t, r, mode=mode: t.AlignedMTL(scale_mode=mode)(r),
            same,
        )
        for mode in ("min", "median", "rmse")
    },
    "UPGrad": Compared(of_gram(multi_loss.upgrad), lambda t, r: plain(t, "UPGrad")(r), near),
    "DualProj": Compared(of_gram(multi_loss.dual_projection), lambda t, r: plain(t, "DualProj")(r), near),
    "MGDA": Compared(of_gram(multi_loss.mgda), lambda t, r: t.MGDA()(r), shorter),
    "IMTLG": Compared(of_gram(multi_loss.imtl_g), lambda t, r: t.IMTLG()(r), alike),
    "FairGrad": Compared(of_gram(multi_loss.fairgrad, alpha=1.0), lambda t, r: t.FairGrad(alpha=1.0)(r), fairer),
    "NashMTL": Compared(of_gram(multi_loss.nash_mtl, max_norm=None), lambda t, r: t.NashMTL(n_tasks=len(r))(r), fairer),
    "CAGrad": Compared(of_gram(multi_loss.cagrad, radius=0.5), lambda t, r: t.CAGrad(c=0.5)(r), steeper),
    "ConFIG": Compared(of_gram(multi_loss.config), lambda t, r: t.ConFIG()(r), same_direction),
    "Krum": Compared(of_gram(multi_loss.krum, num_byzantine=0), lambda t, r: t.Krum(n_byzantine=0)(r), central, 3),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RULES)
def test_against_torchjd(name, monkeypatch):
    pytest.importorskip("cvxpy"), pytest.importorskip("clarabel"), pytest.importorskip("ecos")
    torchjd, compared = pytest.importorskip("torchjd.aggregation"), RULES[name]
    for count in range(compared.least, COUNTS.stop):
        found = {(kind, scale): rows * scale for kind, rows in kinds(count).items() for scale in SCALES}
        vectors = np.asarray(jax.jit(jax.vmap(compared.ours))(np.stack(list(found.values()))))
        monkeypatch.setattr("torch.randn", lambda *_, count=count, **__: to_torch(jax.random.normal(KEY, (count,))))
        for vector, ((kind, scale), rows) in zip(vectors, found.items(), strict=True):
            drawn = iter(orders(KEY, count).tolist())
            monkeypatch.setattr("torch.randperm", lambda *_, drawn=drawn: next(drawn))
            monkeypatch.setattr("torch.rand", lambda *_, rows=rows, **__: to_torch(uniform(rows)))
            try:
                theirs = compared.theirs(torchjd, to_torch(rows)).numpy() / scale
            except Exception:  # whatever its solvers raise, for rows of zeros for instance
                theirs = None
            theirs = None if theirs is None or np.isnan(theirs).any() else theirs
            longest = np.linalg.norm(rows / scale, axis=1).max() or 1.0
            try:
                args = (vector / scale / longest, None if theirs is None else theirs / longest, rows / scale / longest)
                compared.judge(*args)
            except (AssertionError, TypeError) as error:
                message = f"{count} rows {kind}, times {scale:g}: {error}"
                raise AssertionError(message) from error


def test_the_page_says_how_many_comparisons_these_are():
    pairs = sum(len(kinds(count)) * len(SCALES) for rule in RULES.values() for count in COUNTS if count >= rule.least)
    assert f"({pairs:,} comparisons)" in (Path(__file__).parents[2] / "docs/multi_loss.md").read_text()
