"""A gateway's private home, with a model on loopback, and everything that keeps it off the net."""

from __future__ import annotations

import json
import os
import time
from importlib import metadata
from pathlib import Path

from . import model

CONFIG = """\
model:
  default: {name}
  provider: custom
  base_url: {base_url}
  api_key: {key}
  context_length: 200000
tools:
  tool_search:
    enabled: "off"
model_catalog:
  enabled: false
memory:
  memory_enabled: false
  user_profile_enabled: false
curator:
  enabled: false
display:
  busy_input_mode: queue
delegation:
  max_async_children: 1000
  max_concurrent_children: 1000
plugins:
  enabled: [{plugin}]
"""


def write(home: Path, base_url: str, *, plugin: bool) -> None:
    """Fill a home; the plugin is ours, or none is."""
    home.mkdir(parents=True, exist_ok=True)
    config = CONFIG.format(
        name=model.NAME, base_url=base_url, key=model.KEY, plugin="hermes-core" if plugin else ""
    )
    (home / "config.yaml").write_text(config, encoding="utf-8")
    # Answers to what it would ask the net for: whether there is a newer release, and the list of
    # models. Fresh ones are not asked for again.
    update = {"ts": time.time(), "behind": 0, "rev": None, "ver": metadata.version("hermes-agent")}
    (home / ".update_check").write_text(json.dumps(update), encoding="utf-8")
    models: dict[str, object] = {"custom": {"models": {}}}
    (home / "models_dev_cache.json").write_text(json.dumps(models), encoding="utf-8")


def environment(home: Path) -> dict[str, str]:
    """The environment of a process with that home: nothing of the caller's own gateway."""
    keep = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "USER", "LOGNAME")
    return {
        **{name: os.environ[name] for name in keep if name in os.environ},
        "HOME": str(home),
        "HERMES_HOME": str(home),
        "HERMES_TUI_TOOLSETS": "delegation",
        "HERMES_IGNORE_RULES": "1",
        "PYTHONUNBUFFERED": "1",
        "TERM": "xterm-256color",
        "NO_PROXY": "127.0.0.1,localhost",
    }
