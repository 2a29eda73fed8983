"""The gateway's config file: is the plugin switched on, and switching it on and off.

An edit keeps comments, order and quoting, and replaces the file in one step. It is refused, with
the file untouched, where the outcome would be anything else than the one change asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

PLUGIN = "hermes-core"

OWN_LINE = re.compile(rf"""[ \t]*-[ \t]+(["']?){PLUGIN}\1[ \t]*(?:[ \t]#[^\r\n]*)?(?:\r?\n)?""")


class ConfigError(Exception):
    """The config cannot be read or edited; the message says why and where."""


def home(given: str | None) -> Path:
    """Return the gateway's home directory, by the gateway's own rule where nothing is given."""
    if given is not None:
        return Path(os.path.expanduser(given))
    try:
        return Path(importlib.import_module("hermes_constants").get_hermes_home())
    except Exception:
        # There is no gateway, or one whose home is found in another way.
        value = os.environ.get("HERMES_HOME", "").strip()
        return Path(value) if value else Path.home() / ".hermes"


def path(given_home: str | None) -> Path:
    """Return where the gateway's config file is, or would be."""
    return home(given_home) / "config.yaml"


def is_enabled(file: Path) -> bool:
    """Say whether the gateway would load the plugin by this config."""
    data = _load(file, _read(file))[1]
    plugins = _section(file, data)
    enabled = _names(file, plugins, "enabled")
    disabled = _names(file, plugins, "disabled")
    return PLUGIN in enabled and PLUGIN not in disabled


def set_enabled(file: Path, wanted: bool) -> bool:
    """Switch the plugin on or off; return whether that took a change."""
    text = _read(file)
    yaml, data = _load(file, text)
    before = _plain(data)
    plugins = _section(file, data)
    enabled = _names(file, plugins, "enabled")
    disabled = _names(file, plugins, "disabled")
    if (PLUGIN in enabled and PLUGIN not in disabled) if wanted else PLUGIN not in enabled:
        return False
    _refuse_managed(file)
    if data is None:
        data = yaml.map()
    if not isinstance(data.get("plugins"), dict):
        data["plugins"] = yaml.map()
    plugins = data["plugins"]
    if wanted:
        if not isinstance(plugins.get("enabled"), list):
            plugins["enabled"] = yaml.seq()
        if PLUGIN not in enabled:
            plugins["enabled"].append(PLUGIN)
        _remove(plugins.get("disabled"))
    else:
        # The line alone, where that does it: ruamel.yaml ties what stands below an entry, the
        # comment of the next one, say, to the entry, and takes it out with it.
        result = _without_lines(text, plugins)
        try:
            _check(file, text, result, before, wanted)
        except ConfigError:
            _remove(plugins["enabled"])
        else:
            _write(file, result)
            return True
    result = _dump(yaml, data, text, before)
    _check(file, text, result, before, wanted)
    _write(file, result)
    return True


def _read(file: Path) -> str:
    try:
        # newline="": the line ends of the file are kept.
        with open(file, encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _load(file: Path, text: str) -> tuple[Any, Any]:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise ConfigError(
            "ruamel.yaml is missing, which hermes-agent brings with it: "
            "run this in the environment of the gateway, or pip install ruamel.yaml"
        ) from error
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 2**16  # never fold a long line
    # The dashes of a list stand at the column of its key or further in; as the file has it.
    first = re.search(
        r"^( *)[^\s#-].*:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*( *)- ",
        text.replace("\r\n", "\n"),
        re.MULTILINE,
    )
    if first is not None and len(first[2]) > len(first[1]):
        yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        data = yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{file} holds a {type(data).__name__}, not a mapping")
    return yaml, data


def _section(file: Path, data: Any) -> Any:
    plugins = None if data is None else data.get("plugins")
    if plugins is not None and not isinstance(plugins, dict):
        raise ConfigError(f"{file}: plugins is a {type(plugins).__name__}, not a mapping")
    return plugins or {}


def _names(file: Path, plugins: Any, key: str) -> list[Any]:
    names = plugins.get(key)
    if names is None:
        return []
    if not isinstance(names, list):
        raise ConfigError(f"{file}: plugins.{key} is a {type(names).__name__}, not a list")
    return names


def _remove(names: Any) -> None:
    while isinstance(names, list) and PLUGIN in names:
        names.remove(PLUGIN)


def _refuse_managed(file: Path) -> None:
    if os.environ.get("HERMES_MANAGED", "").strip() or (file.parent / ".managed").exists():
        raise ConfigError(
            f"{file} belongs to a managed installation: add {PLUGIN} to plugins.enabled in "
            "the configuration of your package manager"
        )


def _without_lines(text: str, plugins: Any) -> str:
    """Take our lines out of the list of what is enabled; what comes of it is to be checked."""
    lines = text.splitlines(keepends=True)
    enabled = plugins["enabled"]
    ours = [index for index, name in enumerate(enabled) if name == PLUGIN]
    if len(ours) == len(enabled) and "enabled" in (plugins.lc.data or {}):
        # YAML knows no empty list but this one.
        line, column = plugins.lc.key("enabled")
        head = re.compile(r"([\"']?)enabled\1[ \t]*:").match(lines[line], column)
        if head is not None:
            lines[line] = f"{head.string[: head.end()]} []{head.string[head.end() :]}"
    for index in reversed(ours):
        line = enabled.lc.item(index)[0]
        if line < len(lines) and OWN_LINE.fullmatch(lines[line]):
            del lines[line]
    return "".join(lines)


def _dump(yaml: Any, data: Any, text: str, before: Any) -> str:
    stream = io.StringIO()
    yaml.dump(data, stream)
    result = stream.getvalue()
    if before is None and text.strip():  # comments and nothing else: no data to tie them to
        result = text.rstrip("\r\n") + "\n" + result
    if "\r\n" in text:
        result = result.replace("\r\n", "\n").replace("\n", "\r\n")
    return result


def _check(file: Path, text: str, result: str, before: Any, wanted: bool) -> None:
    """Refuse a result that says anything else than what was there before, plus the one change."""
    advice = f"add or remove {PLUGIN} there by hand"
    try:
        after = _plain(_load(file, result)[1])
    except ConfigError:
        after = None
    if (
        after is None
        or _without_plugin(before) != _without_plugin(after)
        or wanted != (PLUGIN in (after["plugins"].get("enabled") or []))
    ):
        raise ConfigError(
            f"{file} cannot be edited without changing more than plugins.enabled; {advice}"
        )
    if lost := _comments(text) - _comments(result):
        raise ConfigError(
            f"{file} cannot be edited without losing comments ({', '.join(lost)}); {advice}"
        )


def _comments(text: str) -> Counter[str]:
    """Count the comments, apart from those on our own lines, which come and go with them.

    A `#` in a text counts as well: it is there before and after.
    """
    lines = (line for line in text.splitlines() if not OWN_LINE.fullmatch(line))
    found = (re.search(r"(?:^|\s)(#.*)", line) for line in lines)
    return Counter(match[1].rstrip() for match in found if match is not None)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, list) else data


def _without_plugin(data: Any) -> Any:
    rest = dict(data or {})
    plugins = dict(rest.pop("plugins", None) or {})
    for key in ("enabled", "disabled"):
        plugins[key] = [name for name in plugins.get(key) or [] if name != PLUGIN]
    return rest, plugins


def _write(file: Path, text: str) -> None:
    # Through a link: the file is replaced, not the link.
    target = Path(os.path.realpath(file))
    temporary = ""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".config-", text=False)
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            with contextlib.suppress(FileNotFoundError):  # a new file: for its owner only
                present = target.stat()
                os.fchmod(stream.fileno(), present.st_mode & 0o7777)
                with contextlib.suppress(PermissionError):
                    os.fchown(stream.fileno(), present.st_uid, present.st_gid)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise ConfigError(f"{target} cannot be written: {error}") from error
