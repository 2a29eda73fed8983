"""The private home of one run: the gateway's config, and everything that keeps it off the net."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

HOST = "hermes-agent"
PLUGIN = "hermes-core"


@dataclass(frozen=True)
class Model:
    """Where the gateway finds its model."""

    base_url: str
    key: str
    name: str


CONFIG = """\
# Written by `make run` for one run.

model:
  default: {name}
  provider: custom
  base_url: {base_url}
  api_key: ${{HERMES_RUN_KEY}}   # from the environment: a kept home holds no key
  # Said here, so that the gateway does not probe the endpoint, models.dev and OpenRouter for it.
  context_length: 200000

tools:
  tool_search:
    enabled: "off"             # asks OpenRouter for the context length, whatever stands above

model_catalog:
  enabled: false               # the list of models for the model picker

memory:                        # reviews the conversation with calls of its own to the model
  memory_enabled: false
  user_profile_enabled: false

curator:                       # the same for skills
  enabled: false

display:
  busy_input_mode: queue       # what is written into a turn that a result began comes after it

delegation:
  max_async_children: 8        # later gateways know the next one alone
  max_concurrent_children: 8   # also the cap on delegate_task calls in one answer of the model

# The messaging gateway's side of HERMES_TUI_TOOLSETS below.
platform_toolsets:
  local: [delegation]

security:
  tirith_enabled: false        # would be downloaded

plugins:
  enabled: []
"""


def write_home(home: Path, model: Model) -> None:
    """Fill an empty HERMES_HOME."""
    home.mkdir(parents=True)
    config = CONFIG.format(name=json.dumps(model.name), base_url=json.dumps(model.base_url))
    (home / "config.yaml").write_text(config, encoding="utf-8")
    # The gateway looks for a newer release, at import and in each worker, unless it did so in the
    # last six hours. There is no switch; a fresh answer in its own cache is one.
    _write_json(
        home / ".update_check",
        {"ts": time.time(), "behind": 0, "rev": None, "ver": metadata.version(HOST)},
    )
    # The same for its copy of the model list of models.dev, which is good for an hour.
    _write_json(home / "models_dev_cache.json", {"custom": {"models": {}}})


def environment(home: Path, model: Model) -> dict[str, str]:
    """The gateway's environment: nothing of the caller's own Hermes, keys or proxies."""
    keep = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR", "TZ", "USER", "LOGNAME")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    env.update(
        HOME=str(home),
        HERMES_HOME=str(home),
        HERMES_RUN_KEY=model.key,
        # The one tool that is needed. Others look for optional packages on PyPI as they load.
        HERMES_TUI_TOOLSETS="delegation",
        GATEWAY_ALLOW_ALL_USERS="true",  # who may write in the chats
        HERMES_IGNORE_RULES="1",  # no AGENTS.md and no memory of this checkout
        PYTHONUNBUFFERED="1",
        NO_PROXY="127.0.0.1,localhost",
    )
    return env


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def has_batches() -> bool:
    """Whether one call can dispatch several children in the background, as a unit."""
    file = metadata.distribution(HOST).locate_file("tools/async_delegation.py")
    return "def dispatch_async_delegation_batch(" in Path(str(file)).read_text(encoding="utf-8")
