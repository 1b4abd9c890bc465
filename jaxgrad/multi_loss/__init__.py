"""One forward and several backwards: a gradient for each of several losses."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.multi_loss._cosmos import cosmos as cosmos
from jaxgrad.multi_loss._geometric_mean import geometric_mean as geometric_mean
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._pbi import pbi as pbi
from jaxgrad.multi_loss._sequential_updates import sequential_updates as sequential_updates
from jaxgrad.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from jaxgrad.multi_loss._stch import stch as stch

__all__ = [
    "cosmos",
    "geometric_mean",
    "gradients",
    "init_states",
    "losses_and_gradients",
    "pbi",
    "sequential_updates",
    "simultaneous_updates",
    "stch",
]

if TYPE_CHECKING:
    fresh_updates = sequential_updates
    retained_updates = simultaneous_updates
else:
    __getattr__ = _old_names(__name__)
