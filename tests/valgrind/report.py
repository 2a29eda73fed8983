"""Say what memcheck found: every error, and what our module has definitely lost.

    report.py memcheck.xml status

CPython itself loses a few blocks at its end; a loss counts if our module is among its frames.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MODULE = "_core.abi3.so"
#: The status with which the exercise comes to its end.
DONE = 5
#: What PyO3 loses when it makes a class with weak references, once: CPython copies the table.
MEMBERS = "push_raw_vec_slot<pyo3_ffi::descrobject::PyMemberDef>"


def main() -> int:
    """Print the findings; whether there are any."""
    path, status = Path(sys.argv[1]), int(sys.argv[2])
    tree = ElementTree.parse(path)
    errors = list(tree.iter("error"))
    lost = [error for error in errors if (error.findtext("kind") or "").startswith("Leak_")]
    ours = [error for error in lost if MODULE in objects(error) and not is_member_table(error)]
    wrong = [error for error in errors if error not in lost]
    for error in wrong + ours:
        print(error.findtext("what") or error.findtext("xwhat/text"))
        for frame in error.iter("frame"):
            print("   ", frame.findtext("fn") or "?", "in", Path(frame.findtext("obj") or "?").name)
    print(
        f"memcheck: {len(wrong)} errors; {len(ours)} losses of {MODULE}, "
        f"{len(lost) - len(ours)} of CPython alone; the run ended with {status}"
    )
    return 0 if not wrong and not ours and status == DONE else 1


def objects(error: ElementTree.Element) -> set[str]:
    """The files of the error's frames."""
    return {Path(frame.text or "").name for frame in error.iter("obj")}


def is_member_table(error: ElementTree.Element) -> bool:
    """Whether it is PyO3's one block, and no more than that."""
    is_one = error.findtext("xwhat/leakedblocks") == "1"
    return is_one and any(name.text == MEMBERS for name in error.iter("fn"))


if __name__ == "__main__":
    sys.exit(main())
