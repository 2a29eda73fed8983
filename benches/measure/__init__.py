"""Measurements of `hermes_core`, each beside what it is compared with: `make bench`."""
