"""Benchmarks: ``python -m bench``."""

import sys

# that is how Python calls itself while it looks for the module of `-m`; whoever imports this later keeps his signals
if sys.argv[:1] == ["-m"]:
    # before the imports, which take seconds: an interrupt there ends a command as it does later on
    from jaxgrad import _interrupt

    _interrupt.install()
