# ruff: noqa: E501 - a table, one hypothesis a line
"""The catalogue of causes: every hypothesis that a check may name, as data.

An explanation goes by what a place computes, never by the name of a class. ``predicts`` says on what the hypothesis is
tried: the numbers that would be there if it were true.
"""

import dataclasses

from jaxgrad.verify.report._records import Cause

__all__ = ["CATALOGUE", "Hypothesis", "cause", "hypotheses", "page"]


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """One cause that a check may name."""

    id: str
    words: str
    """What is wrong, in words."""
    fix: str
    """What to write instead."""
    predicts: str
    """What the numbers are if it is true."""


def hypotheses() -> tuple[Hypothesis, ...]:
    """Return the catalogue, in the order of its kinds."""
    return tuple(CATALOGUE.values())


def page() -> str:
    """Return the catalogue as the page ``docs/causes.md``, which `make readme` writes and a test compares."""
    head = (
        "# Causes that a check may name",
        "",
        "Each is tried on the numbers of the place where the models part: what torch and JAX would compute if it were true",
        "is computed, and compared with what they did. `proven` says that both were met.",
        "",
        "| id | what is wrong | what to write | what is computed |",
        "|---|---|---|---|",
    )
    rows = (f"| `{h.id}` | {_cell(h.words)} | {_cell(h.fix)} | {_cell(h.predicts)} |" for h in hypotheses())
    return "\n".join((*head, *rows)) + "\n"


def _cell(text: str) -> str:
    """Return words that stay in a cell of a table."""
    return text.replace("|", "\\|")


def cause(name: str, text: str, mend: str = "", path: str = "", *, proven: bool = False) -> Cause:
    """Return a cause of the catalogue.

    Args:
        name: Its id; a `KeyError` for one that the catalogue lacks is our own mistake.
        text: The reason with its figures.
        mend: What to write instead; the catalogue's words without any.
        path: The torch layer.
        proven: Whether the hypothesis reproduces both sides' numbers.
    """
    known = CATALOGUE[name]
    return Cause(known.id, text, mend or known.fix, path, proven=proven)


_ROWS = (
    # what no layer computes
    ("unknown", "No known cause fits the residual.", "", "nothing"),
    ("mapping", "A weight has no counterpart on the other side.", "Give it one by a rule, or leave it out on both sides.", "the leaf that nothing fills, or that fills nothing"),
    ("call-count", "One model calls a layer more often than the other.", "Apply it as often in both.", "the number of calls"),
    ("dtype", "A layer computes in a lower precision than it is given.", "Leave dtype=None, or cast in both.", "an error of a few roundings of that precision"),
    ("precision", "The same definition with more rounding.", "Set jax_default_matmul_precision to highest.", "agreement in float64 and none at working precision"),
    ("fast-variance", "The variance is taken as E[x^2] - E[x]^2.", "Set use_fast_variance=False.", "a loss of digits where the mean is many deviations"),
    ("positions", "Only some positions differ.", "Look at what is special there: padding, borders, the first step.", "agreement elsewhere"),
    # weights
    ("weights", "A port's own weight is not torch's.", "Convert it by the rule that audit names.", "the array itself"),
    ("transposed-kernel", "A square kernel is used transposed.", "Give the kernel as weight.T.", "x @ W for x @ W.T"),
    ("tied-weights", "A tensor that torch ties is two leaves in JAX, or counts otherwise in the gradient.", "Use one parameter, for example embed.attend.", "the gradient of one use only"),
    ("weight-norm", "The norm of a normalised weight runs over other axes.", "Take the norm over all axes but that of torch's dim.", "the layer with g v / norm(v) over those axes"),
    # dense
    ("bias-missing", "A bias is left out.", "Set use_bias=True.", "the output less the bias"),
    ("bias-twice", "A bias is added twice.", "Add it once.", "the output and the bias"),
    ("scale", "A constant factor.", "Use the same factor.", "a multiple of torch's array or of one addend"),
    ("embedding-scale", "The embedding is scaled.", "Scale it alike.", "a multiple of the rows"),
    ("index", "Other rows of a table are looked up.", "Make the indices as torch makes them.", "rows of the same table at other indices"),
    # activations and gates
    ("activation", "Another activation.", "Apply torch's.", "that function of torch's own input"),
    ("activation-missing", "An activation is left out.", "Apply it.", "its input"),
    ("gelu-form", "Another form of gelu.", "Give approximate=False for the error function, True for tanh.", "that form of torch's own input"),
    ("negative-slope", "Another slope of leaky relu.", "Give the same negative_slope.", "leaky relu with that slope"),
    ("alpha", "Another alpha of elu.", "Give the same alpha.", "elu with that alpha"),
    ("hard-sigmoid", "Another hard sigmoid.", "Use x/6 + 1/2 for torch's.", "that form of torch's own input"),
    ("softmax-axis", "The softmax runs along another axis.", "Give torch's axis.", "the softmax along that axis"),
    ("temperature", "The softmax is taken at another temperature.", "Divide by the same temperature.", "the softmax of a multiple"),
    ("gate-order", "The gate and the value of a gated product change places.", "Apply the activation to the part that torch applies it to.", "f(b) g(a) for f(a) g(b)"),
    ("gate-missing", "One factor of a gated product is left out.", "Multiply by it.", "the other factor alone"),
    # norms
    ("epsilon", "Another epsilon of a norm.", "Set epsilon to torch's eps.", "the norm with that epsilon"),
    ("epsilon-place", "The epsilon of a norm stands outside of the root.", "Add it to the mean square before the root.", "x / (sqrt(m) + eps)"),
    ("ddof", "The variance is divided by N - 1 on one side.", "Use ddof=0.", "the norm with that variance"),
    ("centring", "One side subtracts the mean and the other does not.", "Use LayerNorm for LayerNorm and RMSNorm for RMSNorm.", "the norm with or without its mean"),
    ("scale-missing", "The scale of a norm is left out.", "Set use_scale=True.", "the norm without it"),
    ("scale-plus-one", "One side scales by 1 + w, the other by w.", "Scale alike, or store the weight less one.", "the norm with 1 + w"),
    ("norm-axes", "A norm runs over other axes.", "Give the axes of torch's norm as reduction_axes.", "the norm over those axes"),
    ("groups", "Another number of groups.", "Set num_groups to torch's.", "the norm of that many groups"),
    ("normalise", "Rows are divided by their norm, sum or deviation on one side only.", "Divide by it where torch does.", "torch's rows times the norm of a row at hand"),
    ("batchnorm-mode", "Running statistics on one side, those of the batch on the other.", "Set use_running_average as torch's mode is.", "the norm with the other statistics"),
    ("norm-missing", "A norm is left out.", "Apply it.", "what torch has with that norm taken away"),
    ("layer-missing", "A layer is left out.", "Apply it.", "what torch has with that layer taken away"),
    ("layer-scale", "The vector that scales a branch is left out, applied twice, or to another part.", "Multiply the branch by it once, before the sum.", "the sum with that vector elsewhere"),
    ("norm-order", "The norm stands on the other side of the residual (pre-norm against post-norm).", "Norm where torch does.", "the input of the block where its norm is expected, or the other way round"),
    # convolutions, pools, images
    ("padding", "Other padding.", "Give the padding as numbers, with torch's at each side.", "the layer with that padding"),
    ("padding-mode", "The border is padded in another mode.", "Pad in torch's mode before the layer, and give padding='VALID'.", "the layer on an image padded so"),
    ("flipped-kernel", "The kernel is flipped.", "Set transpose_kernel=True for a transposed convolution with torch's kernel, and do not flip otherwise.", "the layer with the kernel flipped"),
    ("kernel-axes", "Height and width of the kernel are exchanged.", "Transpose the weight with (2, 3, 1, 0).", "the layer with that kernel"),
    ("dilation", "Another dilation.", "Give kernel_dilation.", "the layer with that dilation"),
    ("stride", "Another stride.", "Give strides.", "the layer with that stride"),
    ("feature-groups", "The channels are grouped otherwise.", "Set feature_group_count to torch's groups, the channels in torch's order.", "the layer on channels in that order"),
    ("pool-kind", "Another pool.", "Pool alike.", "that pool of torch's own input"),
    ("pool-count", "The padding counts in the mean on one side.", "Give count_include_pad as torch has it.", "the mean without the padding"),
    ("interpolation", "An image is resized otherwise.", "Use antialias=False, and write corners and kernels out.", "that way of resizing torch's own input"),
    ("shuffle-order", "The channels of a pixel shuffle are read in another order.", "Reshape to (n, h, w, c, r, r) and transpose with (0, 1, 4, 2, 5, 3).", "the shuffle in that order"),
    ("axis-order", "The same numbers in another order.", "Move the channels to where torch has them before the reshape.", "torch's numbers, rearranged"),
    ("concat-order", "Parts are joined in another order.", "Join them in torch's order.", "torch's array with its parts exchanged"),
    ("shift", "An array is shifted along an axis.", "Align the positions.", "torch's array rolled"),
    # sums
    ("wiring", "Another array is taken.", "Feed it what torch takes.", "the same function of another array"),
    ("residual", "A residual is left out, added twice, or taken elsewhere.", "Add the residual as torch does.", "the sum without it, or with another"),
    ("residual-order", "The activation stands on the other side of the sum.", "Apply the activation where torch does.", "the sum with the activation before or behind"),
    ("addend-missing", "Something that torch adds is left out.", "Add it.", "the sum without it"),
    ("masked-mean", "A mean counts the padding, or does not.", "Take the mean over the kept positions: sum of x times mask over the sum of mask.", "the mean over all positions"),
    ("operation", "The same two arrays are combined by another operation.", "Combine them as torch does.", "the sum, product or another operation of torch's own arrays"),
    # tables of positions
    ("sinusoids", "Sinusoids in another order, of another timescale, or shifted.", "Write the table as torch does.", "the table in that form"),
    ("timestep-embedding", "The sinusoids of a timestep in another order or of another timescale.", "Write them as torch does.", "the sinusoids in that form"),
    # attention
    ("mask", "Another mask: missing, inverted, or of another form.", "Give both the same mask: True keeps in flax, drops in nn.MultiheadAttention.", "attention with that mask"),
    ("mask-value", "The masked scores get another value than minus infinity.", "Use jnp.finfo(dtype).min, or -inf.", "attention with that value"),
    ("attention-scale", "The scores are scaled otherwise.", "Divide by the root of the width of one head.", "attention with that scale"),
    ("attention-bias", "The bias of the scores (of relative positions) is left out or transposed.", "Add it to the scores as torch does.", "attention with the bias so"),
    ("heads", "Another number of heads.", "Set num_heads to torch's.", "attention with that many heads"),
    ("head-order", "The width is split into heads in another order.", "Reshape to (..., heads, width of a head).", "attention with heads split or joined so"),
    ("qkv-order", "Queries, keys and values are taken from other parts of a projection.", "Split it as torch does.", "attention with the parts exchanged"),
    ("kv-repeat", "Keys and values are repeated for grouped heads in another order.", "Use jnp.repeat along the heads for repeat_interleave, jnp.tile for repeat.", "attention with the heads repeated so"),
    ("qk-norm", "Queries and keys are normalised on one side only.", "Normalise them alike.", "attention with or without the norm"),
    ("rotary-layout", "Rotary embedding of interleaved pairs against halves.", "Rotate (x[2i], x[2i+1]) for interleaved pairs, (x[i], x[i + d/2]) for halves.", "attention with that rotation"),
    ("rotary-base", "Rotary embedding with another base (theta).", "Use torch's base.", "attention with that base"),
    ("rotary-offset", "Rotary embedding counts positions from another start.", "Count from torch's.", "attention with that start"),
    ("rotary-sign", "Rotary embedding turns the other way.", "Rotate by +angle: (a cos - b sin, a sin + b cos).", "attention with the other sign"),
    ("rotary-missing", "Rotary embedding is left out of queries or keys.", "Rotate both.", "attention without it"),
    # graphs
    ("edge-order", "The edges are read the other way round, or source and target change places.", "Send from edge_index[0] to edge_index[1], as torch does.", "the sum of messages that go the other way"),
    ("segments", "A softmax runs over other edges of a graph.", "Take it over the edges that end in one node: segment_max and segment_sum by the target.", "the weights of a softmax over the other edges"),
    ("self-loops", "Loops are added to the nodes on one side only.", "Add them, or leave them out, as torch does.", "the sum with or without each node's own message"),
    ("degree-norm", "Messages are divided by other degrees of the nodes.", "Divide by the same degrees, counted over the same edges.", "the messages over those degrees"),
    ("reduction-of-messages", "What arrives at a node is reduced otherwise.", "Use the same of segment_sum, mean and segment_max.", "that reduction of torch's own messages"),
    # sequences
    ("direction", "A sequence is read backwards.", "Set reverse as torch's bidirectional has it.", "the layer on the reversed sequence"),
    ("direction-order", "The states of two directions are joined in another order, or added.", "Concatenate forwards before backwards.", "the states joined so"),
    ("state", "Another first state.", "Start from torch's.", "the layer from that state"),
    ("time-axis", "The layer runs along the batch axis.", "Set time_major as the data is.", "the layer along that axis"),
    ("reset-position", "The reset gate of a GRU acts before the matrix product, not behind it.", "Multiply r with (W h + b) of the new gate, as torch does.", "the cell with r inside of the product"),
    ("update-gate", "The update gate of a GRU mixes the other way round.", "h = (1 - z) n + z h.", "the cell with 1 - z for z"),
    ("cell-activation", "A recurrent cell has another activation.", "Use tanh.", "the cell with that activation"),
    ("forget-bias", "The forget gate has a bias of 1 more.", "Leave the constant out: torch has none.", "the cell with it"),
    ("packed", "JAX holds the state in the padding, torch runs on; or the other way round (packed sequences).", "Hold the state where the mask is off on both sides, or on neither.", "the last state of each sequence carried on"),
    # loss
    ("reduction", "The loss is reduced over other axes or divided by another number.", "Reduce over the same entries.", "that reduction of torch's own output"),
    ("loss-form", "Another loss.", "Use torch's.", "that loss of torch's own output"),
    ("half-square", "Half the square on one side.", "optax.l2_loss halves the square; use jnp.mean((a - b) ** 2).", "half the loss"),
    ("label-smoothing", "Labels are smoothed on one side, or by another amount.", "Give the same label_smoothing.", "the loss with that smoothing"),
    ("sign", "The loss is negated.", "Negate it.", "its negative"),
    ("nan", "The loss is NaN on one side.", "Look at ignored labels and empty means.", "NaN"),
    # outputs beside the main one
    ("output", "An output that the loss does not take is computed otherwise.", "Return what torch returns.", "the index of the maximum, an order, a threshold of arrays at hand; the conjugate"),
    # backward
    ("stop-gradient", "JAX sends no gradient back.", "Remove stop_gradient.", "no gradient in JAX"),
    ("detach", "torch sends no gradient back.", "Use stop_gradient in JAX.", "no gradient in torch"),
    ("gradient-scale", "A gradient is a multiple of torch's where the forward pass agrees.", "Look for a custom rule.", "a multiple"),
    ("padding-idx", "torch's padding_idx gives its row no gradient.", "Stop the gradient of that row in JAX, or leave padding_idx out.", "one row of the gradient"),
    ("kink", "The derivative at a point where it is not unique.", "Neither is wrong; write the function out with jnp.where and the side that you want.", "agreement everywhere else"),
    ("first-order-meta", "One side's meta-gradient is of first order.", "Remove stop_gradient, or use create_graph=True.", "no second-order part"),
    # training step
    ("learning-rate", "Another learning rate.", "Give both the same rate.", "a multiple of every update"),
    ("schedule", "A schedule is a step ahead or behind.", "Shift its count by one.", "the update of the step before or after"),
    ("weight-decay", "Another decay.", "Give both the same weight_decay (torch's AdamW: 0.01, optax: 0.0001).", "updates that differ by a multiple of the weights"),
    ("decay-groups", "Parameter groups decay otherwise.", "Pass mask= to the optax transformation, as torch groups them.", "updates that differ so on some leaves"),
    ("l2-decay", "Decay inside of the gradient on one side, apart from it on the other.", "Write optax.chain(optax.add_decayed_weights(decay), optax.adam(...)) for torch's Adam.", "moments that hold the weights"),
    ("unused-decay", "A parameter without a gradient is decayed on one side only.", "Mask it in JAX.", "the decay alone"),
    ("nesterov", "Only one side takes Nesterov's step.", "Give both the same nesterov=.", "a first step 1 + momentum times as long"),
    ("beta1", "Another decay of the first moment.", "Give both the same beta1.", "a multiple of the first moment"),
    ("beta2", "Another decay of the second moment.", "Give both the same beta2.", "a multiple of the second moment"),
    ("momentum", "Another form or size of momentum.", "Give both the same momentum; optax.trace has torch's form.", "a multiple of the trace"),
    ("optimizer-epsilon", "Another epsilon of the optimizer, or in another place.", "Give both the same eps; RMSprop needs eps_in_sqrt=False.", "the update with that epsilon"),
    ("accumulator-start", "The second moments start at different values.", "Set initial_accumulator_value (or initial_scale) to torch's.", "second moments that differ by a constant"),
    ("amsgrad", "The maximum is taken of other moments.", "There is no optax argument for torch's rule.", "moments that differ by their correction"),
    ("optimizer-rule", "The optimizers follow other rules.", "Choose another pair.", "updates of other directions"),
    ("clip-epsilon", "torch's clipping divides by the norm plus 1e-6.", "Use jaxgrad.gradient.clip_by_global_norm, which has torch's rule.", "a factor of norm / (norm + 1e-6)"),
    ("clip-limit", "Another limit of clipping.", "Clip to the same norm.", "a multiple of the clipped gradient"),
    ("clip-kind", "Clipping by value on one side and by norm on the other.", "Clip alike.", "no one factor"),
    ("frozen", "torch holds a parameter frozen, JAX trains it.", "Mask it with optax.masked or optax.multi_transform.", "an update of that leaf"),
    ("double-bias", "torch has two biases where JAX has their sum.", "Freeze one of torch's biases (bias_hh), or double the rate of JAX's.", "half the update"),
    ("bn-momentum", "Another momentum of the running statistics.", "flax keeps momentum, torch takes it: momentum=0.9 for torch's 0.1.", "a multiple of the move of the mean"),
    ("bn-unbiased", "torch keeps the unbiased variance, flax the biased one.", "Multiply the batch's share of the running variance by N/(N-1); no setting of flax does it.", "the variance alone, N/(N-1) times as far"),
)  # fmt: skip

CATALOGUE = {row[0]: Hypothesis(*row) for row in _ROWS}
"""Every hypothesis by its id."""
