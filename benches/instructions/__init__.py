"""Exact instruction counts of the hot paths, kept and compared: `make instructions`."""
