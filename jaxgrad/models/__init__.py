"""Adapters that turn a Flax module into a pure function of its parameters, and the mapping to torch's weights.

The networks that we ship are in `jaxgrad.models.linen` and `jaxgrad.models.nnx`.
"""

from jaxgrad.models import linen as linen
from jaxgrad.models import nnx as nnx
from jaxgrad.models._linen import from_linen as from_linen
from jaxgrad.models._linen import from_linen_with_state as from_linen_with_state
from jaxgrad.models._link import Layout as Layout
from jaxgrad.models._link import Link as Link
from jaxgrad.models._mapping import Mapping as Mapping
from jaxgrad.models._mapping_for import mapping_for as mapping_for
from jaxgrad.models._mapping_for import statistics_for as statistics_for
from jaxgrad.models._model import Model as Model
from jaxgrad.models._model import StatefulModel as StatefulModel
from jaxgrad.models._nnx import from_nnx as from_nnx
from jaxgrad.models._nnx import from_nnx_with_state as from_nnx_with_state

__all__ = [
    "Layout",
    "Link",
    "Mapping",
    "Model",
    "StatefulModel",
    "from_linen",
    "from_linen_with_state",
    "from_nnx",
    "from_nnx_with_state",
    "linen",
    "mapping_for",
    "nnx",
    "statistics_for",
]
