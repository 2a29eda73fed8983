"""F40: what a child of ``multiprocessing`` leaves is free at once, whatever started it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import hermes_core as hc
from process.conftest import HUNG

#: A script that starts a child in the way of ``sys.argv[2]``, which leaves a result in the ledger
#: ``sys.argv[1]`` and one more under way.
SCRIPT = """
import multiprocessing, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
{imports}

{globals}

def child(path):
    import hermes_core as hc
    registry = {registry}
    registry.dispatch(goal="g", runner=dict, session_key="room").result(20)
    registry.dispatch(goal="runs", runner=threading.Event().wait, session_key="room")
    {leave}

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    process = context.Process(target=child, args=(sys.argv[1],))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
OF_ITS_OWN = {
    "imports": "",
    "globals": "",
    "registry": "hc.DelegationRegistry(ledger=hc.Ledger(path, lease=3600))",
    "leave": "",
}
#: Made while the module is imported, in the parent, and anew in a child that is not forked.
OF_THE_MODULE = {
    "imports": "import hermes_core as hc",
    "globals": "shared = hc.DelegationRegistry(ledger=hc.Ledger(sys.argv[1], lease=3600))\n"
    'if __name__ == "__main__":\n'
    '    shared.dispatch(goal="parent", runner=dict, session_key="other").result(20)',
    "registry": "shared",
    "leave": "",
}
RAISES = {**OF_ITS_OWN, "leave": "sys.exit(0)"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    "parts", [OF_ITS_OWN, OF_THE_MODULE, RAISES], ids=["its own", "the module's", "exits"]
)
def test_f40_what_a_child_leaves_is_free_at_once(
    tmp_path: Path, method: str, parts: dict[str, str]
) -> None:
    script, path = tmp_path / "script.py", tmp_path / "l.db"
    script.write_text(textwrap.dedent(SCRIPT).format(**parts))
    done = subprocess.run(
        [sys.executable, script, path, method], capture_output=True, text=True, timeout=HUNG
    )
    assert done.returncode == 0, done.stderr
    rows = {row["record"]["goal"]: row for row in hc.Ledger(path).rows()}
    assert rows["g"]["holder"] == rows["runs"]["holder"] == "nobody"
    assert (rows["g"]["state"], rows["runs"]["state"]) == ("completed", "lost")
