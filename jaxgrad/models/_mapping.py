"""Weights and gradients of one network in the layouts of torch and of Flax."""

import itertools
import warnings
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _tree
from jaxgrad._types import Tree
from jaxgrad.models._link import Link, to_numpy

__all__ = ["Mapping"]


@dataclass(frozen=True, eq=False)
class Mapping:
    r"""The correspondence between the tensors of a torch module and the leaves of a tree.

    .. math:: \theta_{\text{JAX}} = A\, \theta_{\text{torch}}, \qquad
              \nabla_{\text{torch}} = A^T\, \nabla_{\text{JAX}}

    ``A`` rearranges entries (transposed kernels, heads of attention), and adds in one place: where torch keeps two
    biases of a recurrent cell, of which Flax keeps the sum. So weights, and the vectors that move them, cross with
    `to_torch` and `to_jax`; gradients, and products with a Hessian, cross with `gradients_to_torch` and
    `gradients_to_jax`.

    Args:
        links: Which rows of which tensor lie in which leaf, in the order of torch's ``named_parameters``.
        like: The tree of the JAX side; only its structure, shapes and dtypes count.
        aliases: Further names of tied torch tensors, with the name that the links use.
        others: Names that torch's ``state_dict`` may have besides, such as ``num_batches_tracked``.
        guessed: Names of tensors that were matched by their order alone.

    Raises:
        ValueError: If a leaf has no link or a link no leaf, or rows are missing, used twice or of another shape; with
            all of these in one message.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from jaxgrad.models import Layout, Link, Mapping
        >>> layout = Layout((1, 2), (1, 2), (1, 0), (2, 1))
        >>> params = {"out": {"kernel": jnp.ones((2, 1), jnp.float32)}}
        >>> mapping = Mapping((Link("out.weight", "out/kernel", layout),), params)
        >>> mapping.to_jax({"out.weight": np.array([[3.0, 4.0]], np.float32)})["out"]["kernel"].tolist()
        [[3.0], [4.0]]
        >>> mapping.pairs()
        [('out.weight', 'out/kernel')]
    """

    links: tuple[Link, ...]
    like: Tree
    aliases: dict[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    guessed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Keep the shapes alone, and refuse what does not fit."""
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.like)
        object.__setattr__(self, "like", like)
        _check.complain(
            ValueError,
            "the weights of the two networks do not correspond:",
            [*self._leaf_problems(), *self._row_problems()],
        )

    def _leaf_problems(self) -> list[str]:
        """List leaves without a link, links without a leaf, and shapes that differ."""
        shapes = self._leaf_shapes()
        linked = {link.path for link in self.links}
        lines = [f"{path} {list(shape)} has no torch tensor" for path, shape in shapes.items() if path not in linked]
        for link in self.links:
            if link.path not in shapes:
                lines.append(f"{link.name} is linked to {link.path}, which is no leaf")
            elif shapes[link.path] != link.layout.jax_shape:
                lines.append(f"{link}; the leaf is {list(shapes[link.path])}")
        return lines

    def _row_problems(self) -> list[str]:
        """List tensors whose rows are not used exactly once."""
        lines = []
        for name, links in self._by_name().items():
            spans = sorted((link.start or 0, link.stop or 0) for link in links)
            joined = all(before[1] == after[0] for before, after in itertools.pairwise(spans))
            whole = [link for link in links if link.start is None]
            if (whole and len(links) > 1) or spans[0][0] != 0 or not joined:
                lines.append(f"{name}: each row must be used once; got {'; '.join(map(str, links))}")
        return lines

    def pairs(self) -> list[tuple[str, str]]:
        """Return torch's names with the paths of their leaves, in the order of ``named_parameters``."""
        return [(link.name, link.path) for link in self.links]

    def torch_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every torch tensor by its name."""
        return {
            name: (
                links[0].layout.torch_shape
                if links[0].start is None
                else (max(link.stop or 0 for link in links), *links[0].layout.torch_shape[1:])
            )
            for name, links in self._by_name().items()
        }

    def to_jax(self, state_dict: Dictionary[str, Any], *, lead: int = 0) -> Tree:
        """Return weights of the torch module, or vectors that move them, as a tree of JAX arrays.

        Args:
            state_dict: Tensors or NumPy arrays by name; their dtypes are kept.
            lead: How many further axes every tensor has in front, such as 1 for a stack of vectors.

        Returns:
            A tree like that of the JAX side.

        Raises:
            ValueError: If a tensor is missing, unknown or of another shape, or tied tensors differ.
        """
        arrays = self._arrays(state_dict, lead)
        leaves: dict[str, Any] = {}
        for link in self.links:
            part = link.layout.to_jax(arrays[link.name][link.index(lead)], lead)
            leaves[link.path] = leaves[link.path] + part if link.path in leaves else part
        return self._tree(leaves)

    def gradients_to_jax(self, gradients: Dictionary[str, Any], *, lead: int = 0) -> Tree:
        """Return gradients with respect to the torch tensors as gradients with respect to the leaves.

        Args:
            gradients: Tensors or NumPy arrays by name.
            lead: How many further axes every tensor has in front, such as 1 for one gradient per example.

        Returns:
            A tree like that of the JAX side.

        Raises:
            ValueError: If a gradient is missing, unknown or of another shape.
        """
        arrays = self._arrays(gradients, lead)
        leaves: dict[str, Any] = {}
        for link in self._firsts():
            part = link.layout.to_jax(arrays[link.name][link.index(lead)], lead)
            leaves[link.path] = leaves[link.path] + part if link.path in leaves else part
        return self._tree(leaves)

    def to_torch(self, tree: Tree, *, lead: int = 0) -> dict[str, np.ndarray]:
        """Return weights of the JAX network, or vectors that move them, by torch's names.

        Where torch keeps two tensors for one leaf, the first receives it and the second is zero.

        Args:
            tree: A tree like that of the JAX side; its dtypes are kept.
            lead: How many further axes every leaf has in front.

        Returns:
            Contiguous copies, tied tensors under each of their names.

        Raises:
            ValueError: If a leaf is missing, unknown or of another shape.
        """
        tensors = self._tensors(tree, lead, repeat=False)
        return tensors | {alias: tensors[name].copy() for alias, name in self.aliases.items()}

    def gradients_to_torch(self, gradients: Tree, *, lead: int = 0) -> dict[str, np.ndarray]:
        """Return gradients with respect to the leaves as gradients with respect to the torch tensors.

        Args:
            gradients: A tree like that of the JAX side.
            lead: How many further axes every leaf has in front, such as 1 for one gradient per example.

        Returns:
            Contiguous copies; a tied tensor appears once, as in ``named_parameters``.

        Raises:
            ValueError: If a leaf is missing, unknown or of another shape.
        """
        return self._tensors(gradients, lead, repeat=True)

    def load(self, torch_module: Any, tree: Tree) -> None:
        """Copy weights of the JAX network into a torch module, in the dtypes of the module.

        Args:
            torch_module: The module that this mapping was made for; it is changed in place.
            tree: A tree like that of the JAX side.

        Raises:
            ValueError: If a leaf does not fit, or the module lacks a tensor.
        """
        import torch

        own = torch_module.state_dict()
        tensors = self._tensors(tree, 0, repeat=False)
        _check.complain(
            ValueError, "the module lacks tensors of the mapping:", [name for name in tensors if name not in own]
        )
        with torch.no_grad():
            for name, array in tensors.items():
                wide = array.astype(np.float32) if array.dtype == jnp.bfloat16 else array
                own[name].copy_(torch.from_numpy(wide))

    def __str__(self) -> str:
        """Return one line for every link."""
        return "\n".join(map(str, self.links))

    def _by_name(self) -> dict[str, list[Link]]:
        """Return the links of every tensor."""
        found: dict[str, list[Link]] = {}
        for link in self.links:
            found.setdefault(link.name, []).append(link)
        return found

    def _firsts(self) -> list[Link]:
        """Return the links that fill a part of a leaf which no link before them fills."""
        found: dict[str, list[Link]] = {}
        for link in self.links:
            same = found.setdefault(link.path, [])
            if not any(link.layout.overlaps(other.layout) for other in same):
                same.append(link)
        return [link for same in found.values() for link in same]

    def _leaf_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every leaf by its path."""
        return dict(zip(_tree.leaf_paths(self.like), [leaf.shape for leaf in jax.tree.leaves(self.like)], strict=True))

    def _arrays(self, tensors: Dictionary[str, Any], lead: int) -> dict[str, np.ndarray]:
        """Return the tensors as NumPy by the names of the links, after refusing what does not fit."""
        shapes = self.torch_shapes()
        arrays: dict[str, np.ndarray] = {}
        lines: list[str] = []
        for given, tensor in tensors.items():
            name, array = self.aliases.get(given, given), to_numpy(tensor)
            if name not in shapes:
                lines += [] if given in self.others else [f"{given} is not in the mapping"]
            elif array.shape[lead:] != shapes[name]:
                lines.append(f"{given}: got {list(array.shape[lead:])}, expected {list(shapes[name])}")
            elif name in arrays and not np.array_equal(arrays[name], array):
                lines.append(f"{given} is tied to {name}, but their values differ")
            arrays[name] = array
        lines += [f"{name} is missing" for name in shapes if name not in arrays]
        _check.complain(ValueError, "the torch tensors do not fit the mapping:", lines)
        return arrays

    def _tensors(self, tree: Tree, lead: int, *, repeat: bool) -> dict[str, np.ndarray]:
        """Fill the torch tensors from the leaves; a leaf with several links goes to the first, or to all."""
        leaves = dict(zip(_tree.leaf_paths(tree), map(to_numpy, jax.tree.leaves(tree)), strict=True))
        self._refuse_leaves(leaves, lead)
        tensors: dict[str, np.ndarray] = {}
        firsts = set(self._firsts())
        for name, links in self._by_name().items():
            dtype, front = leaves[links[0].path].dtype, leaves[links[0].path].shape[:lead]
            tensors[name] = np.zeros(front + self.torch_shapes()[name], dtype)
            for link in links:
                if repeat or link in firsts:
                    tensors[name][link.index(lead)] = link.layout.to_torch(leaves[link.path], lead)
        return tensors

    def _refuse_leaves(self, leaves: dict[str, np.ndarray], lead: int) -> None:
        """Refuse leaves that are missing, unknown or of another shape."""
        shapes = self._leaf_shapes()
        lines = [f"{path} is missing" for path in shapes if path not in leaves]
        for path, leaf in leaves.items():
            if path not in shapes:
                lines.append(f"{path} is not in the mapping")
            elif leaf.shape[lead:] != shapes[path]:
                lines.append(f"{path}: got {list(leaf.shape[lead:])}, expected {list(shapes[path])}")
        _check.complain(ValueError, "the tree does not fit the mapping:", lines)

    def _tree(self, leaves: dict[str, np.ndarray]) -> Tree:
        """Return the leaves in the structure of the JAX side."""
        wide = [path for path, leaf in leaves.items() if leaf.dtype == np.float64]
        if wide and not _check.x64_is_on():
            warnings.warn(
                f"{wide[0]} is float64, but JAX keeps it as float32 because x64 is off; call"
                ' jax.config.update("jax_enable_x64", True) at the start',
                stacklevel=3,
            )
        # a copy: JAX would otherwise share the memory of a torch tensor that training changes in place
        ordered = [jnp.array(leaves[path]) for path in _tree.leaf_paths(self.like)]
        return jax.tree.unflatten(jax.tree.structure(self.like), ordered)
