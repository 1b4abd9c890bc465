"""From a residual to its cause."""
