"""`hermes-core doctor`: is everything as it should be, and if not, what to do about it."""

from __future__ import annotations

import glob
import os
import stat
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes_core import LedgerError
from hermes_core.cli import enable, rows, terminal
from hermes_core.cli.open import NoLedger, Refused, opened, path_of
from hermes_core.gateway import settings

#: What a ledger may be for others than its user: nothing.
_OTHERS = 0o077


def run(arguments: Namespace) -> int:
    """Say what there is, and what is to be seen to."""
    if arguments.fingerprint:
        return _fingerprint(arguments.hermes_home)
    core = enable.facts(arguments.hermes_home)
    ledger = _ledger(path_of(arguments))
    findings = [*_of_core(core), *_of_ledger(ledger)]
    if arguments.json:
        facts = {"at_capacity": settings.at_capacity(), "ledger": ledger, "findings": findings}
        terminal.say_json({**core, **facts})
    else:
        capacity = f"at capacity   {settings.at_capacity()}"
        for line in [*enable.lines(core), capacity, *_ledger_lines(ledger)]:
            terminal.say(line)
        terminal.say()
        for finding in findings:
            first, *more = terminal.lines(finding)
            terminal.say(f"- {first}")
            for line in more:
                terminal.say(f"  {line}")
        if not findings:
            terminal.say("All is well.")
    return 1 if findings else 0


def _fingerprint(home: str | None) -> int:
    """Print the file of a version for the gateway in this environment."""
    from hermes_core.gateway.install import fingerprint, ladder

    if not fingerprint.version():
        raise Refused(ladder.NOT_THERE)
    for line in ladder.draft(home).splitlines():
        terminal.say(line)
    return 0


def _ledger(path: Path) -> dict[str, Any]:
    """What there is to know of a ledger."""
    facts: dict[str, Any] = {"path": str(path), "exists": True, "opens": False}
    try:
        with opened(path) as ledger:
            running, dead = ledger.running(), ledger.dead_letters()
            waiting = [
                row for row in ledger.elsewhere() if row["state"] not in ("queued", "running")
            ]
            facts["health"] = ledger.health()
    except NoLedger:
        return {**facts, "exists": False}
    except (Refused, LedgerError) as error:
        facts["error"] = str(error)
    else:
        facts |= {
            "opens": True,
            "running": sum(row["state"] == "running" for row in running),
            "queued": sum(row["state"] == "queued" for row in running),
            "undelivered": len(waiting),
            "unowned": [rows.brief(row) for row in waiting if row["holder"] == "nobody"],
            "dead_letters": [rows.brief(row) for row in dead],
        }
    return facts | _file(path)


def _file(path: Path) -> dict[str, Any]:
    """How big the file is, who may read it, and which damaged ones are beside it."""
    aside = glob.glob(f"{glob.escape(str(path))}.damaged-*")
    is_log = ("-wal", "-shm", "-journal")
    facts: dict[str, Any] = {
        "set_aside": sorted(name for name in aside if not name.endswith(is_log))
    }
    try:
        about = path.stat()
    except OSError:
        return facts
    log = _size(f"{path}-wal")
    return {**facts, "bytes": about.st_size + log, "mode": f"{stat.S_IMODE(about.st_mode):04o}"}


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size
    except OSError:
        return 0


def _of_core(core: dict[str, Any]) -> list[str]:
    findings = []
    if core["hermes_agent"] is None:
        findings.append("no hermes-agent is in this environment; run this in the gateway's")
    elif not core["compatible"]:
        findings.append("the core cannot serve this gateway, and stands aside in it")
    findings += [
        f"{each['module']} keeps its own loops ({_shortened(each['why'])}): {each['advice']}"
        for each in core["modules"]
        if core["compatible"] and each["served"] == "the host's" and each["why"]
    ]
    if core["ignored"]:
        findings.append(f"your own file of a version is not heeded: {core['ignored']}")
    if "error" in core:
        findings.append(f"the config is not readable: {core['error']}")
    elif not core["enabled"]:
        findings.append("the core is off; `hermes-core enable` switches it on")
    return findings


def _shortened(why: Sequence[str]) -> str:
    return why[0] if len(why) == 1 else f"{why[0]}, and {len(why) - 1} more"


def _of_ledger(ledger: dict[str, Any]) -> list[str]:
    findings = []
    if "error" in ledger:
        findings.append(f"the ledger does not open: {ledger['error']}")
    # What is no ledger is somebody else's business.
    if ledger["opens"] and int(ledger.get("mode", "0"), 8) & _OTHERS:
        findings.append(
            f"others may read the ledger (mode {ledger['mode']}); `chmod 600` keeps them out"
        )
    findings += [
        f"a damaged ledger was set aside as {name}; what could be read is in the new one"
        for name in ledger.get("set_aside", ())
    ]
    if dead := ledger.get("dead_letters"):
        findings.append(
            f"{len(dead)} results had all their attempts ({_ids(dead)}); `hermes-core redeliver` "
            "has one wait again, `hermes-core drop` gives one up"
        )
    return findings


def _ids(found: list[rows.Row]) -> str:
    shown = ", ".join(row["delegation_id"] for row in found[:3])
    return shown if len(found) <= 3 else f"{shown}, {terminal.MORE}"


def _ledger_lines(ledger: dict[str, Any]) -> list[str]:
    shown = [f"ledger        {terminal.safe(ledger['path'])}"]
    if not ledger["exists"]:
        return [*shown, "              none yet; the first delegation makes it"]
    if "bytes" in ledger:
        shown.append(f"              {ledger['bytes']:,} bytes, mode {ledger['mode']}")
    if not ledger["opens"]:
        return [*shown, "opens         no"]
    unowned = len(ledger["unowned"])
    return [
        *shown,
        "opens         yes",
        f"running       {ledger['running']}",
        f"queued        {ledger['queued']}",
        f"undelivered   {ledger['undelivered']}, of which {unowned} wait for a process that has "
        "their session",
        f"dead letters  {len(ledger['dead_letters'])}",
    ]
