"""Putting the core into a gateway, and taking it out again."""
