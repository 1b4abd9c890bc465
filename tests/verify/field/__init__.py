"""Ports as people write them, with their historic mistakes: `python -m tests.verify.field` prints what is found."""
