"""``python -m jaxgrad.cli``: the command line where the ``jaxgrad`` script is not on the path."""

from jaxgrad.cli import main

main()
