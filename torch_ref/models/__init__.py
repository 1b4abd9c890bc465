"""The networks of ``jaxgrad.models`` as plain torch modules, with the same names of layers."""

from torch_ref.models._networks import MLP as MLP
from torch_ref.models._networks import BatchNormCNN as BatchNormCNN
from torch_ref.models._networks import GroupNormCNN as GroupNormCNN
from torch_ref.models._networks import Siren as Siren
from torch_ref.models._networks import SquaredInputNet as SquaredInputNet
from torch_ref.models._networks import TransformerEncoder as TransformerEncoder

__all__ = ["MLP", "BatchNormCNN", "GroupNormCNN", "Siren", "SquaredInputNet", "TransformerEncoder"]
