"""One forward and several backwards: a gradient for each of several losses, and what to do with them."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.multi_loss._aggregate import aggregate as aggregate
from jaxgrad.multi_loss._aggregated_gradient import Aggregated as Aggregated
from jaxgrad.multi_loss._aggregated_gradient import aggregated_gradient as aggregated_gradient
from jaxgrad.multi_loss._aligned_mtl import aligned_mtl as aligned_mtl
from jaxgrad.multi_loss._backwards import Backwards as Backwards
from jaxgrad.multi_loss._backwards import backwards as backwards
from jaxgrad.multi_loss._cagrad import cagrad as cagrad
from jaxgrad.multi_loss._config import config as config
from jaxgrad.multi_loss._conflicts import Conflicts as Conflicts
from jaxgrad.multi_loss._conflicts import conflicts as conflicts
from jaxgrad.multi_loss._cosmos import cosmos as cosmos
from jaxgrad.multi_loss._cr_mogm import cr_mogm as cr_mogm
from jaxgrad.multi_loss._draw_conflicts import draw_conflicts as draw_conflicts
from jaxgrad.multi_loss._dual_projection import dual_projection as dual_projection
from jaxgrad.multi_loss._dwa import dwa as dwa
from jaxgrad.multi_loss._excess_mtl import excess_mtl as excess_mtl
from jaxgrad.multi_loss._fairgrad import fairgrad as fairgrad
from jaxgrad.multi_loss._famo import famo as famo
from jaxgrad.multi_loss._fixed_weights import constant_weights as constant_weights
from jaxgrad.multi_loss._fixed_weights import mean_weights as mean_weights
from jaxgrad.multi_loss._fixed_weights import random_weights as random_weights
from jaxgrad.multi_loss._fixed_weights import sum_weights as sum_weights
from jaxgrad.multi_loss._geometric_mean import geometric_mean as geometric_mean
from jaxgrad.multi_loss._graddrop import graddrop as graddrop
from jaxgrad.multi_loss._gradients import gradients as gradients
from jaxgrad.multi_loss._gradients import losses_and_gradients as losses_and_gradients
from jaxgrad.multi_loss._gradnorm import gradnorm as gradnorm
from jaxgrad.multi_loss._gradvac import gradvac as gradvac
from jaxgrad.multi_loss._gram import gram as gram
from jaxgrad.multi_loss._imtl_g import imtl_g as imtl_g
from jaxgrad.multi_loss._imtl_l import imtl_l as imtl_l
from jaxgrad.multi_loss._init_states import init_states as init_states
from jaxgrad.multi_loss._krum import krum as krum
from jaxgrad.multi_loss._mgda import mgda as mgda
from jaxgrad.multi_loss._modo import modo as modo
from jaxgrad.multi_loss._momentum_gradients import MomentumState as MomentumState
from jaxgrad.multi_loss._momentum_gradients import init_momentum as init_momentum
from jaxgrad.multi_loss._momentum_gradients import momentum_gradients as momentum_gradients
from jaxgrad.multi_loss._nash_mtl import nash_mtl as nash_mtl
from jaxgrad.multi_loss._pbi import pbi as pbi
from jaxgrad.multi_loss._pcd import pcd as pcd
from jaxgrad.multi_loss._pcgrad import pcgrad as pcgrad
from jaxgrad.multi_loss._sdmgrad import sdmgrad as sdmgrad
from jaxgrad.multi_loss._sequential_updates import sequential_updates as sequential_updates
from jaxgrad.multi_loss._simultaneous_updates import simultaneous_updates as simultaneous_updates
from jaxgrad.multi_loss._stateful import Scalarizer as Scalarizer
from jaxgrad.multi_loss._stateful import Weighting as Weighting
from jaxgrad.multi_loss._stch import stch as stch
from jaxgrad.multi_loss._trimmed_mean import trimmed_mean as trimmed_mean
from jaxgrad.multi_loss._uncertainty import uncertainty as uncertainty
from jaxgrad.multi_loss._upgrad import upgrad as upgrad
from jaxgrad.multi_loss._weighted_gradient import weighted_gradient as weighted_gradient

__all__ = [
    "Aggregated",
    "Backwards",
    "Conflicts",
    "MomentumState",
    "Scalarizer",
    "Weighting",
    "aggregate",
    "aggregated_gradient",
    "aligned_mtl",
    "backwards",
    "cagrad",
    "config",
    "conflicts",
    "constant_weights",
    "cosmos",
    "cr_mogm",
    "draw_conflicts",
    "dual_projection",
    "dwa",
    "excess_mtl",
    "fairgrad",
    "famo",
    "geometric_mean",
    "graddrop",
    "gradients",
    "gradnorm",
    "gradvac",
    "gram",
    "imtl_g",
    "imtl_l",
    "init_momentum",
    "init_states",
    "krum",
    "losses_and_gradients",
    "mean_weights",
    "mgda",
    "modo",
    "momentum_gradients",
    "nash_mtl",
    "pbi",
    "pcd",
    "pcgrad",
    "random_weights",
    "sdmgrad",
    "sequential_updates",
    "simultaneous_updates",
    "stch",
    "sum_weights",
    "trimmed_mean",
    "uncertainty",
    "upgrad",
    "weighted_gradient",
]

if TYPE_CHECKING:
    fresh_updates = sequential_updates
    retained_updates = simultaneous_updates
else:
    __getattr__ = _old_names(__name__)
