"""What cannot be compared is refused in one line that says what to change; the command line ends with 2."""

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.cli._app import call
from jaxgrad.verify import MappingError, PairError, Rule, pair

X, Y = np.ones((3, 4)), np.ones((3, 2))


def given(**changed):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 2)).eval()
    port = fnn.Sequential([fnn.Dense(2)])
    return {"torch": module, "jax": port, "loss": "mse", "batch": (X, Y), **changed}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"loss": None}, PairError, "no loss was given: pass loss="),
        ({"loss": "rmse"}, TypeError, "or one of 'mse', 'cross_entropy'"),
        ({"batch": (np.ones((3, 5)), Y)}, PairError, r"torch model or its loss fails on the batch \(shapes \(3, 5\)"),
        ({"jax": fnn.Sequential([fnn.Dense(5)])}, PairError, "the JAX model or its loss fails on the batch"),
        ({"batch": (X[:0], Y[:0])}, PairError, "the batch is empty"),
        ({"batch": (X, Y[:2])}, PairError, r"fails on the batch \(shapes \(3, 4\), \(2, 2\)\)"),
        ({"batch": (np.array(["a"]), Y)}, PairError, r"batch\[0\] is <U1"),
        ({"torch": nn.Linear(4, 2)}, PairError, "is in training mode .*: call .eval"),
        ({"torch": "model"}, TypeError, "torch must be a torch.nn.Module; got str"),
        ({"jax": 3}, TypeError, "jax must be a linen module"),
        ({"mode": "test"}, PairError, "mode must be one of 'eval', 'train'; got 'test'"),
        ({"weights": "mine"}, PairError, "weights must be one of"),
        ({"batch": (X * np.nan, Y)}, PairError, r"batch\[0\] holds NaN"),
        ({"own": 7}, PairError, "own must be a dict of pairs"),
        ({"own": {"nosuch": (len, len)}}, PairError, "own names 'nosuch', which is no quantity: choose among hvp"),
        ({"own": {"meta": len}}, PairError, r"own\['meta'\] must be a pair, torch's and JAX's"),
        ({"optimizer": 5}, PairError, "optimizer must be a pair, torch's and JAX's; got int"),
        ({"adapt": lambda x, y: {}[0]}, PairError, "adapt fails on the batch: KeyError"),
        ({"mapping": "magic"}, MappingError, "mapping must be \"auto\" or a list of rules; got 'magic'"),
        ({"mapping": [("(", "x")]}, MappingError, r"mapping\[0\] is no rule .*: missing"),
        ({"mapping": [Rule(r"0\.weight", "x", "magic")]}, MappingError, "makes its leaf by 'magic'; the names are"),
        ({"mapping": [Rule(r"0\.weight", r"\7/kernel")]}, MappingError, "cannot be made: invalid group reference"),
        ({"mapping": [Rule("nothing", "x")]}, MappingError, "rule 'nothing' matches no torch key"),
        ({"mapping": [Rule(r"0\.weight", "layers_0/kernel")]}, MappingError,
         r"gives shape \(2, 4\), but layers_0/kernel has \(4, 2\)"),
        ({"mapping": [Rule(r"0\.weight", "no/leaf", "transpose")]}, MappingError, "there is no JAX leaf no/leaf"),
    ],
)  # fmt: skip
def test_is_refused(changed, error, match):
    with pytest.raises(error, match=match):
        pair(**given(**changed))


@pytest.mark.parametrize("error", [AssertionError, AttributeError, KeyError, RuntimeError])
def test_whatever_a_model_raises_on_its_batch_is_told(error):
    class Raises(nn.Linear):
        def forward(self, x):
            message = "no such thing"
            raise error(message)

    with pytest.raises(PairError, match=r"the torch model or its loss fails on the batch .*no such thing"):
        pair(**given(torch=Raises(4, 2).eval()))


def test_dropout_in_training_mode_is_refused():
    module = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).train()
    with pytest.raises(PairError, match="dropout is random and never equal across frameworks: set p=0 in 1"):
        pair(**given(torch=module, mode="train"))


def test_unknown_quantities_are_refused():
    with pytest.raises(ValueError, match="what must be among value, gradient"):
        pair(**given()).check(["valu"])


def test_rules_carry_what_names_cannot():
    bound = pair(**given(mapping=[(r"(\d+)\.weight", r"layers_\1/kernel", "transpose")]))
    assert bound.check(["value", "gradient"]).ok
    assert bound.mapping.entries[0].rule == "transpose"


def test_both_directions_of_the_mapping():
    bound = pair(**given())
    tensors = dict(bound.torch.params)
    leaves = bound.mapping.fill(tensors, bound.jax_paths)
    back = bound.mapping.back(leaves, bound.shapes)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


def test_a_weight_without_a_counterpart_is_a_difference():
    bound = pair(**given(jax=fnn.Sequential([fnn.Dense(2, use_bias=False)])))
    assert not bound.audit(prove=False).ok
    report = bound.check(["value"], dtypes=("float64",))
    assert not report.ok
    assert next(r for r in report.results if r.name == "mapping").reason == "1 weights without a counterpart: 0.bias"
    assert report.causes[0].id == "bias-missing"


SPEC = """
import flax.linen as fnn, numpy as np, torch
torch.manual_seed(0)
spec = dict(torch=torch.nn.Sequential(torch.nn.Linear(4, 2)).eval(), jax=fnn.Sequential([fnn.Dense(2)]), loss="mse",
            batch=(np.ones((3, 4)), np.ones((3, 2))))
"""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("import nothing_of_the_kind", "does not import: ModuleNotFoundError"),
        ("spec = (", "does not import: SyntaxError"),
        ("pass", "must define `spec`"),
        ("spec = dict(torch=1)", "gives no jax, batch, loss"),
        (SPEC.replace("mse", "rmse"), "loss must be"),
        (SPEC.replace(".eval()", ".train()"), "training mode"),
    ],
)
def test_bad_specs_end_with_2_and_one_line(tmp_path, capsys, text, match):
    path = tmp_path / "spec.py"
    path.write_text(text)
    assert call(["check", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert match in lines[0]


def test_a_missing_spec_and_a_wrong_format(tmp_path, capsys):
    assert call(["audit", str(tmp_path / "none.py")]) == 2
    assert call(["check", str(tmp_path / "none.py"), "--format", "yaml"]) == 2
    assert call(["diff", str(tmp_path), str(tmp_path)]) == 2
    assert "is missing" in capsys.readouterr().err


def test_doctor_and_kinks_run(capsys):
    assert call(["doctor"]) == 0
    assert "jaxlib" in capsys.readouterr().out
    assert jnp.float32
