"""One forward and several backwards: a gradient for each of several losses."""

from torch_ref.multi_loss._gradients import gradients as gradients
from torch_ref.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from torch_ref.multi_loss._init_states import init_states as init_states
from torch_ref.multi_loss._sequential_updates import sequential_updates as sequential_updates
from torch_ref.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates

__all__ = ["gradients", "init_states", "losses_and_gradients", "sequential_updates", "simultaneous_updates"]
