"""Public architectures written twice from their papers: `python -m tests.verify.ports` compares them in everything."""
