"""Say what memcheck found: every error, and what our module has definitely lost.

    report.py memcheck.xml status

CPython itself loses a few blocks at its end; a loss counts if our module is among its frames.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

MODULE = "_core.abi3.so"
DONE = 5


def main() -> int:
    """Print the findings; whether there are any."""
    path, status = Path(sys.argv[1]), int(sys.argv[2])
    tree = ElementTree.parse(path)
    errors = list(tree.iter("error"))
    lost = [error for error in errors if (error.findtext("kind") or "").startswith("Leak_")]
    ours = [error for error in lost if MODULE in objects(error)]
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
    return set(file_names(error))


def file_names(error: ElementTree.Element) -> Iterator[str]:
    for frame in error.iter("obj"):
        yield Path(frame.text or "").name


if __name__ == "__main__":
    sys.exit(main())
