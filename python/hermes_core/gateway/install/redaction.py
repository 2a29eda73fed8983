"""Secrets in what is stored and shown: the gateway's own redactor takes them out."""

from __future__ import annotations

import importlib

from hermes_core.gateway import versions


def redact(text: str) -> str:
    """Return a text without its secrets, unless the gateway was told to leave them in.

    The gateway reads `security.redact_secrets` when its module is imported, so that is left to the
    first text, when its launcher has long read its config.
    """
    module = importlib.import_module(versions.REDACTION)
    redacted: str = module.redact_sensitive_text(text)
    return redacted
