"""One forward and several backwards: a gradient for each of several losses, and what to do with them."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.multi_loss._aggregated_gradient import Aggregated as Aggregated
from jaxgrad.multi_loss._aggregated_gradient import aggregated_gradient as aggregated_gradient
from jaxgrad.multi_loss._backwards import Backwards as Backwards
from jaxgrad.multi_loss._backwards import backwards as backwards
from jaxgrad.multi_loss._conflicts import Conflicts as Conflicts
from jaxgrad.multi_loss._conflicts import conflicts as conflicts
from jaxgrad.multi_loss._draw_conflicts import draw_conflicts as draw_conflicts
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._gram import gram as gram
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._momentum_gradients import MomentumState as MomentumState
from jaxgrad.multi_loss._momentum_gradients import init_momentum as init_momentum
from jaxgrad.multi_loss._momentum_gradients import momentum_gradients as momentum_gradients
from jaxgrad.multi_loss._sequential_updates import sequential_updates as sequential_updates
from jaxgrad.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from jaxgrad.multi_loss._weighted_gradient import weighted_gradient as weighted_gradient

__all__ = [
    "Aggregated",
    "Backwards",
    "Conflicts",
    "MomentumState",
    "aggregated_gradient",
    "backwards",
    "conflicts",
    "draw_conflicts",
    "gradients",
    "gram",
    "init_momentum",
    "init_states",
    "losses_and_gradients",
    "momentum_gradients",
    "sequential_updates",
    "simultaneous_updates",
    "weighted_gradient",
]

if TYPE_CHECKING:
    fresh_updates = sequential_updates
    retained_updates = simultaneous_updates
else:
    __getattr__ = _old_names(__name__)
