"""`python -m hermes_core` is the command `hermes-core`."""

from __future__ import annotations

import sys

from hermes_core.cli.main import main

sys.exit(main())
