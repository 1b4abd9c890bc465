"""Cases: what a case is, how it is run, and the built-in ones."""
