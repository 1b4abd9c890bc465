"""What is tried of a wheel and an sdist, each alone in an empty environment: `make release`."""
