"""The laws that rules of a Gram matrix share: each rule against all matrices of one table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from jaxgrad.multi_loss._units import GIVEN_A_UNIT
from tests.multi_loss import gram_rules as rules
from tests.multi_loss.gram_rules import GRAMS, NAMES, ROWS, RULES, named, vectors
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GROUPED = [pytest.param(name, marks=pytest.mark.xdist_group(f"rules of {name}")) for name in RULES]
"""The tests of a rule share its program, so they run in one worker."""
DEPENDING = [row for row in GROUPED if RULES[row.values[0]].depends]
# one in four in every run, and the rule whose projections hold a length of their own
DIFFERENTIATED = [
    GROUPED[list(RULES).index("pcgrad")],
    *one_in(4, [row for row in DEPENDING if row.values[0] != "pcgrad"], 1),
]
MANY = [name for name, rule in RULES.items() if rule.depends and rule.moves and not rule.ordered]
SCALED = [name for name in ROWS if name.startswith("times")]


def close(got, want, size, tolerance=1e-10):
    """Compare with what rounding may be, in units of the rows."""
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * size)


def size(rows):
    return np.linalg.norm(rows, axis=1).max()


@pytest.mark.parametrize("name", GROUPED)
def test_no_gradient_is_harmed(name):
    for matrix, rows in ROWS.items():
        lengths = np.linalg.norm(rows, axis=1)
        vector = vectors(name, matrix)
        slopes = rows @ vector / np.where(lengths > 0, lengths, 1)
        if RULES[name].is_conflict_free:
            # the vector is a sum of rows, so that what is rounding has the size of the longest
            assert slopes.min() >= -1e-12 * lengths.max(), matrix
    if not RULES[name].is_conflict_free:
        assert any((rows @ vectors(name, matrix)).min() < 0 for matrix, rows in ROWS.items()), "mark it, it has the law"


@pytest.mark.parametrize("name", GROUPED)
def test_the_order_of_the_losses_does_not_matter(name):
    if not RULES[name].ordered:
        close(vectors(name, "permuted"), vectors(name, "in conflict"), size(ROWS["in conflict"]))
        close(named(name, "permuted"), named(name, "in conflict")[[2, 0, 1]], 1)


@pytest.mark.parametrize("name", GROUPED)
def test_the_scale_of_the_losses(name):
    """Rows of 1e-15 and of 1e15 are no other case."""
    for matrix in SCALED:
        factor = float(matrix.split()[1]) ** RULES[name].degree
        close(vectors(name, matrix) / factor, vectors(name, "in conflict"), size(ROWS["in conflict"]))


@pytest.mark.parametrize("name", GROUPED)
def test_linear_in_the_lengths(name):
    added = vectors(name, "lengths a") + vectors(name, "lengths b")
    apart = np.abs(vectors(name, "lengths a + b") - added).max() / np.abs(added).max()
    assert (apart < 1e-10) == RULES[name].is_additive, apart


@pytest.mark.parametrize("name", GROUPED)
def test_nothing_moves_where_no_direction_lowers_all_losses(name):
    length = np.linalg.norm(vectors(name, "stationary")) / size(ROWS["stationary"])
    assert (length < 1e-10) == RULES[name].is_still, length


@pytest.mark.parametrize("name", GROUPED)
def test_rows_of_zeros_are_finite_and_a_sick_row_shows(name):
    weights = rules.evaluated(name)
    assert np.isfinite(weights[: len(ROWS)]).all(), [
        m for m, w in zip(NAMES, weights, strict=True) if np.isnan(w).any()
    ]
    if RULES[name].depends:
        assert np.isnan(weights[len(ROWS) :]).all()


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_the_derivative_is_that_of_finite_differences_and_finite_everywhere(name):
    slopes, rng = rules.slopes(name), np.random.default_rng(1)
    assert np.isfinite(slopes[: len(ROWS)]).all(), [m for m, s in zip(NAMES, slopes, strict=True) if np.isnan(s).any()]
    direction = rng.normal(size=(3, 3))
    moved = GRAMS[: len(ROWS)].diagonal(0, 1, 2)[:, :, None] ** 0.5
    # a direction as large as the matrix is, so that one step suits all scales
    direction = (direction + direction.T) * moved * moved.swapaxes(1, 2)
    direction = np.concatenate([direction, np.zeros((len(GRAMS) - len(ROWS), 3, 3))])
    step, along = 1e-4, np.array([0.3, -0.7, 1.1])
    values = [rules.program(name)(GRAMS + h * direction) @ along for h in (step, -step, 2 * step, -2 * step)]
    up, down, far_up, far_down = map(np.asarray, values)
    differences = (8 * (up - down) - (far_up - far_down)) / (12 * step)
    products = (slopes * direction).sum((1, 2))
    smooth = [NAMES.index(m) for m in ("drawn 0", "drawn 1", "drawn 2", "in conflict", *SCALED, "lengths a")]
    np.testing.assert_allclose(
        products[smooth], differences[smooth], rtol=1e-6, atol=1e-8 * np.abs(products[smooth]).max()
    )
    assert (np.abs(products[smooth]).max() > 1e-3) == (RULES[name].depends and RULES[name].moves)


def many(rng):
    """Return nine rows in nine dimensions, of a kind each, and ways to move them in which their rank stays."""
    first = rng.normal(size=(9, 9)) + 0.4
    thin, opposite, still = (rng.normal(size=(9, 2)) + 1) @ rng.normal(size=(2, 9)), first.copy(), first - first.mean(0)
    opposite[1] = -opposite[0]
    rows = [first, first - 1.5 * first.mean(0), thin, opposite, still, first[[0] * 9], first * 0, first * np.eye(9)[0]]
    turn = rng.normal(size=(9, 9))
    moves = [rng.normal(size=(9, 9)) if i < 2 else given @ turn for i, given in enumerate(rows)]
    return np.stack(rows), np.stack(moves)


@pytest.mark.parametrize(
    "name", [name if name == "mgda" else pytest.param(name, marks=pytest.mark.slow) for name in MANY]
)
def test_derivatives_of_more_rows_than_supports_are_tried_for(name):
    """Of the vector: finite at ties and for dependent rows, the same both ways, and that of differences."""
    rows, moves = many(np.random.default_rng(4))

    def vector(rows):
        return RULES[name].call(rows @ rows.T) @ rows

    def both(rows, move):
        _, ahead = jax.jvp(vector, (rows,), (move,))
        _, back = jax.vjp(vector, rows)
        return ahead, back(ahead)[0]

    ahead, back = map(np.asarray, jax.jit(jax.vmap(both))(rows, moves))
    assert np.isfinite(ahead).all()
    assert np.isfinite(back).all()
    np.testing.assert_allclose((back * moves).sum((1, 2)), (ahead**2).sum(1), rtol=1e-7, atol=1e-9)
    program = jax.jit(jax.vmap(vector))
    differences = (program(rows + 1e-6 * moves) - program(rows - 1e-6 * moves)) / 2e-6
    np.testing.assert_allclose(ahead[:3], differences[:3], rtol=0, atol=1e-6 * np.abs(ahead).max())


@pytest.mark.parametrize("name", one_in(4, DEPENDING))
def test_float32_of_any_scale(name):
    """Gram matrices as small and as large as float32 holds, and rows whose squares it does not hold."""
    first = ROWS["in conflict"] @ ROWS["in conflict"].T
    grams, units = np.array([1e-35, 1e-20, 1.0, 1e25, 1e35, 3.0, 2.5]), np.array([1.0] * 5 + [1e25, 1e-25])
    asked = any(rule.__name__ == name for rule in GIVEN_A_UNIT)

    def call(gram, unit):
        return RULES[name].call(gram, **({"unit": unit} if asked else {}))

    given = (first * grams[:, None, None]).astype(np.float32)
    weights = np.asarray(jax.jit(jax.vmap(call))(given, units.astype(np.float32)))
    assert weights.dtype == np.float32
    want = np.tile(named(name, "in conflict"), (len(grams), 1))
    sizes = (grams**0.5 * (units if asked else 1)) ** (RULES[name].degree - 1)
    np.testing.assert_allclose(weights / sizes[:, None], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [3, pytest.param(9, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DEPENDING)
def test_nothing_leaves_the_device(name, count):
    assert "callback" not in jax.jit(RULES[name].call).lower(jnp.eye(count)).as_text()


@pytest.mark.parametrize("name", one_in(4, GROUPED, 2))
def test_one_loss_is_left_as_it_is(name):
    if name not in {"constant_weights", "krum"}:
        # the equation of fairness with alpha 2 is 4 w = w^(-1/2); the best of a ball around a gradient lies behind it
        want = {"fairgrad": 4.0 ** (-2 / 3), "cagrad": 1.5}.get(name, 1.0)
        np.testing.assert_allclose(RULES[name].call(jnp.array([[4.0]])), [want])


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("gram", [np.ones((2, 3)), np.ones(3), np.ones((4, 2, 2)), np.ones((0, 0))])
def test_what_is_no_gram_matrix_is_refused(name, gram):
    with pytest.raises(ValueError, match=r"gram must be the square matrix of inner products.*rows @ rows.T"):
        RULES[name].call(gram)


@pytest.mark.parametrize("gram", [[[1.0, 0.0], [0.0, 1.0]], {"a": np.eye(2)}, None])
def test_a_tree_in_the_place_of_the_matrix_is_refused(gram):
    for call in (multi_loss.mgda, multi_loss.conflicts, multi_loss.constant_weights, RULES["aligned_mtl"].call):
        options = {"preferences": np.ones(2)} if call is multi_loss.constant_weights else {}
        with pytest.raises(TypeError, match=r"gram must be one array, .*got a (list|dict|NoneType)"):
            call(gram, **options)


@pytest.mark.parametrize("key", [None, 3])
def test_what_is_no_random_key_is_refused(key):
    for rule in (multi_loss.pcgrad, multi_loss.random_weights, multi_loss.graddrop):
        with pytest.raises(TypeError, match="key must be one random key, such as"):
            rule(np.eye(2), key=key)
