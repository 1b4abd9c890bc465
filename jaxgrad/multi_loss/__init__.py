"""One forward and several backwards: a gradient for each of several losses."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.multi_loss._cosmos import cosmos as cosmos
from jaxgrad.multi_loss._cr_mogm import cr_mogm as cr_mogm
from jaxgrad.multi_loss._dwa import dwa as dwa
from jaxgrad.multi_loss._excess_mtl import excess_mtl as excess_mtl
from jaxgrad.multi_loss._famo import famo as famo
from jaxgrad.multi_loss._geometric_mean import geometric_mean as geometric_mean
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._gradnorm import gradnorm as gradnorm
from jaxgrad.multi_loss._imtl_l import imtl_l as imtl_l
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._modo import modo as modo
from jaxgrad.multi_loss._pbi import pbi as pbi
from jaxgrad.multi_loss._sdmgrad import sdmgrad as sdmgrad
from jaxgrad.multi_loss._sequential_updates import sequential_updates as sequential_updates
from jaxgrad.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from jaxgrad.multi_loss._stateful import Scalarizer as Scalarizer
from jaxgrad.multi_loss._stateful import Weighting as Weighting
from jaxgrad.multi_loss._stch import stch as stch
from jaxgrad.multi_loss._uncertainty import uncertainty as uncertainty

__all__ = [
    "Scalarizer",
    "Weighting",
    "cosmos",
    "cr_mogm",
    "dwa",
    "excess_mtl",
    "famo",
    "geometric_mean",
    "gradients",
    "gradnorm",
    "imtl_l",
    "init_states",
    "losses_and_gradients",
    "modo",
    "pbi",
    "sdmgrad",
    "sequential_updates",
    "simultaneous_updates",
    "stch",
    "uncertainty",
]

if TYPE_CHECKING:
    fresh_updates = sequential_updates
    retained_updates = simultaneous_updates
else:
    __getattr__ = _old_names(__name__)
