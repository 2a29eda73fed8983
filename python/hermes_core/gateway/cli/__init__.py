"""The interactive CLI."""
