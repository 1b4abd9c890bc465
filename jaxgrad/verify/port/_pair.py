"""A torch model and its JAX port as a user has them: bound, ready to be audited and checked."""

import functools
from collections.abc import Sequence

from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE
from jaxgrad.verify.port._audit import Audit, audit
from jaxgrad.verify.port._check import check
from jaxgrad.verify.port._question import Question
from jaxgrad.verify.port.frameworks._contexts import precision, threads_beside_jax
from jaxgrad.verify.port.mapping._flatten_order import resolve_flatten_order
from jaxgrad.verify.port.mapping._islands import find_islands
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.mapping._twins import resolve_twins
from jaxgrad.verify.port.quantities._verdicts import Progress
from jaxgrad.verify.report._records import Report

__all__ = ["Pair"]


class Pair(ModelPair):
    """Both models, ready to be compared; made by `jaxgrad.verify.pair`. Nothing that is done with it changes it."""

    @functools.cached_property
    def prepared(self) -> ModelPair:
        """The pair with what only its values tell: float32 islands, twins, and the order of flattened images."""
        with precision():
            return resolve_flatten_order(resolve_twins(find_islands(self)))

    def audit(self, *, prove: bool = True) -> Audit:
        """Compare mapping and settings before anything is compared by its numbers.

        Args:
            prove: Whether entries that shapes alone do not prove are proven, by the port's own weights or by running
                both models.

        Returns:
            The findings: ``ok``, and what is not, as a table or as JSON.

        Cost:
            One run of either model and its gradient, compiled; nothing of the kind with ``prove=False``.
        """
        with threads_beside_jax(self.size):
            return audit(self, prove=prove)

    def check(
        self,
        what: Sequence[str] | str | None = None,
        *,
        dtypes: Sequence[str] = ("float64", "float32"),
        tolerance: float = DEFINITION_F64,
        noise: float = NOISE_MULTIPLE,
        progress: Progress | None = None,
    ) -> Report:
        r"""Compare what both models compute, and find where and why they differ.

        Every quantity is judged twice: in float64 its relative error decides whether both compute the same, and at
        every other precision its error against torch's float64 answer is measured in multiples of torch's own.

        .. math:: \frac{\lVert q_\text{JAX} - q_\text{torch} \rVert}
                  {\max(\lVert q_\text{torch} \rVert, 10^{-3} \lVert \text{tree} \rVert)} \le \text{tolerance}

        Args:
            what: Names of quantities, as a sequence or joined by commas; ``"all"``, or ``None`` for the usual ones.
            dtypes: ``"float64"`` decides the definition and is always run; every other one is judged for its
                rounding.
            tolerance: The largest relative error of a leaf in float64.
            noise: The largest error at another precision, in multiples of torch's own.
            progress: Called with a line and the part that is done, from 0 to 1.

        Returns:
            The report: ``ok``, the quantities leaf by leaf, the first divergence, and its causes.

        Raises:
            ValueError: If a name is no quantity.

        Cost:
            For each precision every quantity once on either side, compiled once; and, where something differs or it
            is asked for, both models once more with every layer recorded.
        """
        return check(self, Question.of(what, dtypes, tolerance, noise, progress))
