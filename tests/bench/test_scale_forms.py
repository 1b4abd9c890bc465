"""The forms of ``python -m bench.scale`` on four devices: one device's numbers, what is sent, what is foretold."""

import jax
import pytest

from bench import _scale_forms, _scale_layout, _scale_prediction
from bench._phases import collectives
from jaxgrad.verify.judge import compare, worst

pytestmark = pytest.mark.usefixtures("compiled_quickly")

QUICK = {("clipped_sum", "shard_map"), ("curvature", "shard_map"), ("inr", "jit, Explicit axes")}


def on_devices(form, placement, count):
    """Return the result on some devices, and the program."""
    inputs = form.inputs(form.count)
    mesh = _scale_layout.mesh_of(_scale_layout.chosen_devices(count), "Explicit" in placement)
    run, given = _scale_layout.program(form, placement, mesh, form.padded(inputs, count))
    compiled = run.lower(*given).compile()
    return form.read(_scale_layout.whole(compiled(*given), mesh), form.count), compiled


def is_one_device(form, got):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        want = jax.device_get(jax.jit(form.alone)(*form.inputs(form.count)))
    difference = worst(compare(got, want))
    assert difference.error <= 1e-12, difference


@pytest.mark.parametrize(
    ("name", "placement"),
    [
        pytest.param(name, placement, marks=[] if (name, placement) in QUICK else pytest.mark.slow)
        for name, form in _scale_forms.FORMS.items()
        for placement in form.placements
    ],
)
def test_examples_that_no_number_of_devices_divides(name, placement):
    form = _scale_forms.FORMS[name]
    assert form.count % 4
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        got, compiled = on_devices(form, placement, 4)
    is_one_device(form, got)
    size = _scale_forms.gradient_bytes(form.inputs(form.count)[0])
    found = collectives(compiled.as_text())
    if placement == "shard_map":
        # the gradient once, and at most two numbers: a count and the clipped, a sum of weights (float32), a loss
        assert set(found) == {"all-reduce"}, found
        assert sum(one >= size for one in found["all-reduce"]) == 1, found
        assert size <= sum(found["all-reduce"]) <= size + 16, found
    if (name, placement) == ("clipped_sum", "shard_map"):
        assert found == {"all-reduce": [size + 16]}
    if name == "fsdp":
        # a device holds its part of what can be divided: all but the last bias, of ten numbers
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(form.padded(form.inputs(form.count), 4)))
        assert compiled.memory_analysis().argument_size_in_bytes < 0.26 * whole


def test_three_devices_of_four():
    form = _scale_forms.FORMS["clipped_sum"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        is_one_device(form, on_devices(form, "shard_map", 3)[0])
    with pytest.raises(ValueError, match="5 devices cannot be taken evenly from 1 processes with 4"):
        _scale_layout.chosen_devices(5)


def test_a_wrong_sum_is_seen():
    """Without the mask the rows that fill up count, and the judge says so."""
    form = _scale_forms.FORMS["clipped_sum"]
    inputs = form.inputs(form.count)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wrong = jax.jit(form.alone)(*form.padded(inputs, 4)[:-1])
    with pytest.raises(AssertionError, match="sum"):
        is_one_device(form, form.read(jax.device_get(wrong), form.count))


@pytest.mark.parametrize(
    "name", ["inr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("clipped_sum", "curvature", "maml"))]
)
def test_what_roofline_foretells_for_256_devices(name):
    form = _scale_forms.FORMS[name]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        few, many = (_scale_prediction.prediction(form, count) for count in (8, 256))
    assert few["examples_each"] == many["examples_each"]
    size = _scale_forms.gradient_bytes(form.inputs(1)[0])
    assert many["ring_bytes"] == pytest.approx(2 * 255 / 256 * size)
    # it drops leaves of fewer bytes than devices, and rounds the parts of the others
    assert many["ici_bytes"] <= many["ring_bytes"] * 1.01
    assert 0 < many["efficiency"] <= few["efficiency"] < 1
    if name == "inr":
        assert many["ici_bytes"] == pytest.approx(many["ring_bytes"], rel=0.05)
        assert set(many["not_counted"]) <= {"add_any", "reduce_and"}
        assert many["loops_counted_once"] == []
        assert many["flops"] == few["flops"] > 1e6
    if name == "clipped_sum":
        assert {"cond", "custom_vmap_call"} <= set(many["not_counted"])
    if name == "curvature":
        assert many["loops_counted_once"] == [64]


def test_what_a_text_sends():
    text = """
  %all-gather = pred[24]{0} all-gather(%a), dimensions={0}
  %both = (f64[8,16]{1,0}, /*index=1*/bf16[3]{0}) all-reduce-start(%b, %c), to_apply=%sum
  %done = f64[8,16]{1,0} all-reduce-done(%both)
"""
    assert collectives(text) == {"all-gather": [24], "all-reduce": [8 * 8 * 16 + 2 * 3]}


TILED = "bf16[8,128]{1,0:T(8,128)(2,1)%s}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "%all-gather-start = (f32[16,128]{1,0}, f32[64,128]{1,0}) all-gather-start(f32[16,128]{1,0} %p),"
            " channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, use_global_device_ids=true",
            {"all-gather": [4 * 64 * 128]},
        ),
        (
            "%ag.1 = ((f32[16]{0}, bf16[4,8]{1,0}), (f32[64]{0}, /*index=1*/bf16[16,8]{1,0})) all-gather-start(%a, %b)",
            {"all-gather": [4 * 64 + 2 * 16 * 8]},
        ),
        (
            f"%cp = ({TILED % ''}, {TILED % 'S(1)'}, u32[]{{:S(2)}}, u32[]{{:S(2)}}) collective-permute-start(%p),"
            " channel_id=3, source_target_pairs={{0,1},{1,0}}",
            {"collective-permute": [2 * 8 * 128]},
        ),
        (
            "%rs = ((f32[64,128]{1,0}), f32[16,128]{1,0}) reduce-scatter-start(f32[64,128]{1,0} %p), dimensions={0}",
            {"reduce-scatter": [4 * 16 * 128]},
        ),
        ("%ar = (f32[8]{0}, f32[16]{0}) all-reduce-start(%a, %b), to_apply=%sum", {"all-reduce": [4 * 24]}),
        ("%r = f32[64]{0} ragged-all-to-all(%a, %b, %c, %d, %e, %f)", {"ragged-all-to-all": [4 * 64]}),
        ("%done = f32[64,128]{1,0} all-gather-done((f32[16,128]{1,0}, f32[64,128]{1,0}) %all-gather-start)", {}),
    ],
)
def test_of_what_an_accelerator_starts_the_results_count(line, found):
    """Operands stand beside them, and numbers for synchronization; layouts have parentheses of their own."""
    assert collectives(f"  {line}\n") == found
