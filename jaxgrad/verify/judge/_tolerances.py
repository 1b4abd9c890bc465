"""Every threshold of the verification, with what it follows from. No other file of it holds one.

Four kinds. What decides a verdict is measured: on correct code and on planted differences. What is too small to be
measured by its own digits is a part of something larger. What counts as recognised lies between the rounding of a
float64 computation by another road, which is 1e-15 to 1e-12, and the smallest difference of definition that is known,
1e-7 and more. The last are no tolerances but constants of the frameworks that explanations need.
"""

import numpy as np

__all__ = [
    "CLOSED_FORM_F64",
    "CLOSE_TO_TORCH",
    "DEFINITION_F64",
    "EPSILONS",
    "F32_UNIT",
    "FALSE_ALARM",
    "FAR_FROM_ZERO",
    "FAR_FROM_ZERO_IN_A_NORM",
    "FLATTENED_ALIKE",
    "L2_NORMALISE_EPSILON",
    "LAST_RESORT",
    "LAYER_EPSILON",
    "LIKE_VALUES",
    "LOST_SECOND_ORDER",
    "MAIN_PART",
    "NAMED_FACTOR",
    "NARROW",
    "NOISE_MULTIPLE",
    "NOISE_MULTIPLE_OF_A_NUMBER",
    "NOT_ZERO",
    "NO_ADDEND",
    "NO_COTANGENT",
    "NO_GRADIENT",
    "OFF_BY_AN_ISLAND",
    "ONE_FACTOR",
    "OPTIMIZER_DECAYS",
    "OPTIMIZER_EPSILONS",
    "OPTIMIZER_SECOND_MOMENT",
    "OWN_WEIGHT",
    "PLANTED",
    "RECOGNISED",
    "RECOGNISED_NORM",
    "RECOGNISED_TABLE",
    "ROUNDED",
    "SAFE",
    "SAME_CONSTANT",
    "SEMI_DEFINITE",
    "SIGMAS",
    "SMALL_LEAF",
    "SOME_POSITIONS",
    "TORCH_CLIP_EPSILON",
    "UNLIKE_WEIGHT",
    "UPDATE_OF_ROUNDING",
]

# ---- what decides a verdict

DEFINITION_F64 = 1e-10
"""The largest relative L2 error of a leaf in float64, of ``max(norm(leaf), 1e-3 norm(tree))``.

Correct code lies at 3e-16 to 3e-15 on networks, and below 1e-12 on third derivatives and training steps; the smallest
planted difference of definition (an epsilon of 1e-6 for 1e-5, a clip by ``norm + 1e-6``) lies at 3e-11 times what it
acts on in the worst case, and usually at 1e-8 and more.
"""

CLOSED_FORM_F64 = 1e-10
"""The same against a closed form."""

NOISE_MULTIPLE = 10.0
"""The largest error of a leaf at a working precision, in multiples of torch's own on it.

Correct code stays below 3 (200 random networks, Hessian products), except on a leaf that is one number: torch's
rounding of one number is small by luck now and then, and 0.5% of correct ones lie beyond 10.
"""

NOISE_MULTIPLE_OF_A_NUMBER = 100.0
"""The same on a leaf that is one number: of two equally large roundings, 0.6% have a ratio beyond 100."""

OFF_BY_AN_ISLAND = 10.0
"""How far an entry of a table that was made in float32 may lie from the other side's, in multiples of a unit of
rounding or of what the other side loses by making it in float32: the rule of `NOISE_MULTIPLE`, for its reason."""

ROUNDED = 1e-6
"""An error above this is more than a few float32 roundings (6e-8) of a layer's output."""

NARROW = 0.1
"""An error below this may be that of bfloat16, which keeps 8 bits (4e-3 a rounding), within one layer."""

SOME_POSITIONS = 0.5
"""Where at most this part of the positions differs, they are told as places: padding, borders, a first step."""

OWN_WEIGHT = 1e-5
"""How far a port's own weight may lie from torch's: it was stored in float32 (6e-8), and may have gone through half
precision on one side only where it is wrong by more than that (4e-4)."""

UNLIKE_WEIGHT = 1e-6
"""Beyond this a port's own weight explains a difference; float32 storage stays a tenth of it."""

FALSE_ALARM = 1e-9
"""How likely a sample of a leaf's first weights may be told apart from its own distribution: a thousand audits of
models of a thousand leaves raise no alarm but by a chance of one in a thousand."""

SIGMAS = 6.0
"""The same for a mean square, in deviations of it: 2e-9 where it is normal."""

# ---- what is too small to be measured by its own digits

SMALL_LEAF = 1e-3
"""A leaf smaller than this part of its tree is measured against that part: its own digits are noise."""

NO_COTANGENT = 1e-6
"""A cotangent smaller than this part of what came in behind the layer is measured against that part: a softmax or a
norm sends next to nothing back along some directions, the difference of two large numbers."""

NO_GRADIENT = 1e-13
"""A gradient of a leaf below this part of the whole gradient is rounding, as for the bias of attention's keys: a
thousand roundings of float64 (2e-16) add up to less."""

UPDATE_OF_ROUNDING = 1e-4
"""What an error of the update of such a leaf counts: optimizers divide a gradient by its own size and an epsilon of
1e-8, which turns rounding of 1e-16 into an update of 1e-8 of the others'."""

NOT_ZERO = 1e-300
"""A divisor is at least this, so that nothing divides by zero; no norm that is not zero comes near."""

SAFE = (1e-140, 1e140)
"""Between these a norm can be taken from plain squares: what underflows beside it (entries below 1e-154) is below a
rounding of it."""

MAIN_PART = 1e-3
"""A divergence that makes less than this part of the output's error of the weightiest comes after it, whatever the
order of the forward pass. One mistake may show at two places, of which a norm makes the first a hundredth of the other
(an activation that a residual passes on): these keep their order. An epsilon beside another activation makes 1e-4."""

# ---- what counts as recognised

RECOGNISED = 1e-9
"""Two arrays, or numbers, are the same to a cause: computed again in NumPy on the reference's numbers they lie within
1e-12, and two functions that ports confuse within 1e-5 at the nearest."""

RECOGNISED_NORM = 1e-10
"""The same for a norm, of which epsilons of 0 and 1e-12 are told apart."""

RECOGNISED_TABLE = 1e-4
"""The same where a table of angles was made in float32 on either side: an angle of a thousand radians is rounded by
6e-5, and another base, order or start of the positions moves the table by percents and more."""

ONE_FACTOR = 1e-8
"""What may be left of an array when a multiple of another is taken off it, in parts of the array."""

NAMED_FACTOR = 1e-7
"""How far a factor may lie from a number that has a name, such as ``N/(N-1)``."""

NO_ADDEND = 1e-12
"""A factor of what JAX adds that is nothing but rounding."""

LOST_SECOND_ORDER = 1e-6
"""A second-order part below this part of the other side's is lost: what is left is the rounding of a difference."""

FLATTENED_ALIKE = 1e-9
"""How close two losses lie whose models flatten an image alike; another order of pixels moves a loss by percents."""

LIKE_VALUES = 1e-3
"""Two arrays whose axes could be laid over one another in several ways are laid so that they differ by less than
this, if any way does; a wrong order leaves them as different as two random arrays."""

CLOSE_TO_TORCH = 1e-3
"""An error above this is no loss of digits by a variance that cancels."""

FAR_FROM_ZERO, FAR_FROM_ZERO_IN_A_NORM = 30.0, 100.0
"""A mean of so many deviations makes ``E[x^2] - E[x]^2`` lose the square of it: three or four digits of float32's
seven, and of float64 enough to be seen above `DEFINITION_F64`."""

LAST_RESORT = 1e-12
"""The least deviation by which a mean is divided."""

SEMI_DEFINITE = 1e-12
"""How far below zero the smallest eigenvalue of a matrix may lie that has none: rounding of entries of about one."""

PLANTED = 1e-6
"""How large the error is that a self-test plants, as a part of the leaf: 1e4 times `DEFINITION_F64`, and about ten
roundings of float32."""

SAME_CONSTANT = 2.0**-20
"""How far two constants may lie apart that were rounded to float32: eight of its units."""

# ---- constants of the frameworks

F32_UNIT = float(np.finfo(np.float32).eps)
"""A unit of float32 rounding: the least that counts as torch's own error, and torch's epsilon of an RMSNorm of None."""

TORCH_CLIP_EPSILON = 1e-6
"""What ``torch.nn.utils.clip_grad_norm_`` adds to the norm that it divides by."""

LAYER_EPSILON = 1e-5
"""torch's default in every norm."""

L2_NORMALISE_EPSILON = 1e-12
"""torch's default in ``functional.normalize``."""

EPSILONS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, float(np.finfo(np.float64).eps))
"""What people write as the epsilon of a norm."""

OPTIMIZER_EPSILONS = (1e-8, 1e-7, 1e-10, 1e-6, 1e-5, 1e-4, 1e-3, 1e-12, 1e-15, 1e-16, 1e-30, 0.0)
"""What the optimizers of both frameworks have as epsilon, and what people write."""

OPTIMIZER_DECAYS = (0.0, 1e-4, 1e-2, 1e-3, 1e-1, 5e-4, 5e-3, 5e-2, 1e-5, 2e-4, 0.2, 0.3)
"""What people write as a decay inside of the gradient; one apart from it is solved for."""

OPTIMIZER_SECOND_MOMENT = 0.999
"""The rate at which both frameworks forget squared gradients, unless told otherwise."""
