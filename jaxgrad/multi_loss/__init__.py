"""One forward and several backwards: a gradient for each of several losses."""

from jaxgrad.multi_loss._fresh_updates import fresh_updates as fresh_updates
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._retained_updates import retained_updates as retained_updates

__all__ = ["fresh_updates", "gradients", "init_states", "losses_and_gradients", "retained_updates"]
