"""Scripts are run by the test, and looked at by `tests/typing`; there is nothing to collect in them."""

collect_ignore_glob = ["by_hand_*.py", "networks_*.py", "train_*.py"]
