"""The lines that are checked are not run."""

collect_ignore = ["accepted.py", "refused.py"]
