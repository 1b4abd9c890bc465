"""One forward and several backwards: a gradient for each of several losses."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.multi_loss._aligned_mtl import aligned_mtl as aligned_mtl
from jaxgrad.multi_loss._cagrad import cagrad as cagrad
from jaxgrad.multi_loss._config import config as config
from jaxgrad.multi_loss._dual_projection import dual_projection as dual_projection
from jaxgrad.multi_loss._fairgrad import fairgrad as fairgrad
from jaxgrad.multi_loss._fixed_weights import constant_weights as constant_weights
from jaxgrad.multi_loss._fixed_weights import mean_weights as mean_weights
from jaxgrad.multi_loss._fixed_weights import random_weights as random_weights
from jaxgrad.multi_loss._fixed_weights import sum_weights as sum_weights
from jaxgrad.multi_loss._graddrop import graddrop as graddrop
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._imtl_g import imtl_g as imtl_g
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._krum import krum as krum
from jaxgrad.multi_loss._mgda import mgda as mgda
from jaxgrad.multi_loss._nash_mtl import nash_mtl as nash_mtl
from jaxgrad.multi_loss._pcgrad import pcgrad as pcgrad
from jaxgrad.multi_loss._sequential_updates import sequential_updates as sequential_updates
from jaxgrad.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from jaxgrad.multi_loss._trimmed_mean import trimmed_mean as trimmed_mean
from jaxgrad.multi_loss._upgrad import upgrad as upgrad

__all__ = [
    "aligned_mtl",
    "cagrad",
    "config",
    "constant_weights",
    "dual_projection",
    "fairgrad",
    "graddrop",
    "gradients",
    "imtl_g",
    "init_states",
    "krum",
    "losses_and_gradients",
    "mean_weights",
    "mgda",
    "nash_mtl",
    "pcgrad",
    "random_weights",
    "sequential_updates",
    "simultaneous_updates",
    "sum_weights",
    "trimmed_mean",
    "upgrad",
]

if TYPE_CHECKING:
    fresh_updates = sequential_updates
    retained_updates = simultaneous_updates
else:
    __getattr__ = _old_names(__name__)
