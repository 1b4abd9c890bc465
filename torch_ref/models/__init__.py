"""Adapters that turn a Flax module into a pure function of its parameters."""

__all__: list[str] = []
