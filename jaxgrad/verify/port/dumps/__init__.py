"""A side of a pair as a run on disk, and the comparison of two such runs."""
