"""The networks of ``jaxgrad.models`` as plain torch modules, with the same names of layers."""

from torch_ref.models._fields import Finer as Finer
from torch_ref.models._fields import FourierFeatures as FourierFeatures
from torch_ref.models._fields import GaussianField as GaussianField
from torch_ref.models._fields import PositionalReLU as PositionalReLU
from torch_ref.models._fields import Siren as Siren
from torch_ref.models._fields import Staf as Staf
from torch_ref.models._fields import Wire as Wire
from torch_ref.models._hash_grid import HashGrid as HashGrid
from torch_ref.models._networks import MLP as MLP
from torch_ref.models._networks import BatchNormCNN as BatchNormCNN
from torch_ref.models._networks import GroupNormCNN as GroupNormCNN
from torch_ref.models._networks import SquaredInputNet as SquaredInputNet
from torch_ref.models._networks import TransformerEncoder as TransformerEncoder
from torch_ref.models._spline_grid import SplineGrid as SplineGrid

__all__ = [
    "MLP",
    "BatchNormCNN",
    "Finer",
    "FourierFeatures",
    "GaussianField",
    "GroupNormCNN",
    "HashGrid",
    "PositionalReLU",
    "Siren",
    "SplineGrid",
    "SquaredInputNet",
    "Staf",
    "TransformerEncoder",
    "Wire",
]
