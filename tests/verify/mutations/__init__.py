"""Planted differences: `python -m tests.verify.mutations` checks that the verifier finds, places and names them."""
