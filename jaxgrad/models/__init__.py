"""Adapters that turn a Flax module into a pure function of its parameters."""

from jaxgrad.models._linen import from_linen as from_linen
from jaxgrad.models._linen import from_linen_with_state as from_linen_with_state
from jaxgrad.models._model import Model as Model
from jaxgrad.models._model import StatefulModel as StatefulModel
from jaxgrad.models._nnx import from_nnx as from_nnx
from jaxgrad.models._nnx import from_nnx_with_state as from_nnx_with_state

__all__ = ["Model", "StatefulModel", "from_linen", "from_linen_with_state", "from_nnx", "from_nnx_with_state"]
