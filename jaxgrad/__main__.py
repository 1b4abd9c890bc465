"""``python -m jaxgrad``: the command ``jaxgrad`` where its script is not on the path."""

from jaxgrad.cli import main

main()
