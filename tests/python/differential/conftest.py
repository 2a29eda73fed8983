"""How many examples each property runs, and a home for the gateway that is nobody's."""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

# Before anything of the gateway is imported: it fixes its paths at import.
os.environ["HERMES_HOME"] = tempfile.mkdtemp(prefix="hermes-home-")

# No deadline: how long one example takes says nothing about its truth.
settings.register_profile("ci", max_examples=500, deadline=None, print_blob=True)
settings.register_profile("long", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile(os.environ.get("HERMES_CORE_EXAMPLES", "ci"))
