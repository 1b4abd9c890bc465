"""What the functions of fields are made of: a field at points of enough digits, and one propagation through it."""

from jaxgrad.inr._engine._arrays import one_array as one_array
from jaxgrad.inr._engine._propagation import Propagated as Propagated
from jaxgrad.inr._engine._propagation import Second as Second
from jaxgrad.inr._engine._propagation import mean_square as mean_square
from jaxgrad.inr._engine._propagation import propagate as propagate

__all__ = ["Propagated", "Second", "mean_square", "one_array", "propagate"]
