"""Cross-framework verification against PyTorch. Torch itself is imported only when a check runs."""

__all__: list[str] = []
