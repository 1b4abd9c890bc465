"""Each side of a pair behind one protocol."""
