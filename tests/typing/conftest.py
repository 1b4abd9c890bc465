"""The lines that are checked are not run."""

collect_ignore = ["accepted.py", "accepted_curvature.py", "refused.py", "refused_curvature.py"]
