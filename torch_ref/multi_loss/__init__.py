"""One forward and several backwards: a gradient for each of several losses."""

from torch_ref.multi_loss._cosmos import cosmos as cosmos
from torch_ref.multi_loss._cr_mogm import cr_mogm as cr_mogm
from torch_ref.multi_loss._dwa import dwa as dwa
from torch_ref.multi_loss._excess_mtl import excess_mtl as excess_mtl
from torch_ref.multi_loss._famo import famo as famo
from torch_ref.multi_loss._geometric_mean import geometric_mean as geometric_mean
from torch_ref.multi_loss._gradients import gradients as gradients
from torch_ref.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from torch_ref.multi_loss._gradnorm import gradnorm as gradnorm
from torch_ref.multi_loss._imtl_l import imtl_l as imtl_l
from torch_ref.multi_loss._init_states import init_states as init_states
from torch_ref.multi_loss._modo import modo as modo
from torch_ref.multi_loss._pbi import pbi as pbi
from torch_ref.multi_loss._sdmgrad import sdmgrad as sdmgrad
from torch_ref.multi_loss._sequential_updates import sequential_updates as sequential_updates
from torch_ref.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from torch_ref.multi_loss._stch import stch as stch
from torch_ref.multi_loss._uncertainty import uncertainty as uncertainty

__all__ = [
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
