"""Naive PyTorch twins of jaxgrad's algorithms: for being right, never for speed."""
