"""One forward and several backwards: a gradient for each of several losses, and what to do with them."""

from torch_ref.multi_loss._aggregated_gradient import aggregated_gradient as aggregated_gradient
from torch_ref.multi_loss._backwards import backwards as backwards
from torch_ref.multi_loss._conflicts import conflicts as conflicts
from torch_ref.multi_loss._gradients import gradients as gradients
from torch_ref.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from torch_ref.multi_loss._gram import gram as gram
from torch_ref.multi_loss._init_states import init_states as init_states
from torch_ref.multi_loss._momentum_gradients import init_momentum as init_momentum
from torch_ref.multi_loss._momentum_gradients import momentum_gradients as momentum_gradients
from torch_ref.multi_loss._sequential_updates import sequential_updates as sequential_updates
from torch_ref.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from torch_ref.multi_loss._weighted_gradient import weighted_gradient as weighted_gradient

__all__ = [
    "aggregated_gradient",
    "backwards",
    "conflicts",
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
