"""The kept measurements: the JSON, and what is drawn from it, the page's tables and the plots."""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import plots, table
from .figures import Measurements

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "measurements.md"
JSON = DOCS / "measurements" / "measurements.json"
_TABLES = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of the tables -->)", re.DOTALL)


def json_text(measurements: Measurements) -> str:
    """The measurements as they are kept."""
    return json.dumps(measurements.to_json(), indent=1, ensure_ascii=False) + "\n"


def load() -> Measurements:
    """The measurements kept."""
    return Measurements.from_json(json.loads(JSON.read_text(encoding="utf-8")))


def files(measurements: Measurements) -> dict[Path, str]:
    """Every file that holds measurements, with its text."""
    text = PAGE.read_text(encoding="utf-8")
    tables = f"\n{table.markdown(measurements)}\n\n"
    drawn = plots.draw(measurements)
    return {
        JSON: json_text(measurements),
        PAGE: _TABLES.sub(lambda _: tables, text),
        **{JSON.with_name(f"{name}.svg"): svg for name, svg in drawn.items()},
    }


def record(measurements: Measurements) -> None:
    """Write them all."""
    JSON.parent.mkdir(exist_ok=True)
    for path, text in files(measurements).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    # After a change of what is drawn, or how.
    record(load())
