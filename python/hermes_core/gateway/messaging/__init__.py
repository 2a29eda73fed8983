"""The messaging gateway."""
