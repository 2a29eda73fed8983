"""The page of measurements shows what its JSON holds, and nothing else."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from measure import page


def test_the_kept_files_are_what_the_json_gives() -> None:
    """After a change of what is drawn: `PYTHONPATH=benches python -m measure.page`."""
    for path, text in page.files(page.load()).items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_every_plot_is_shown_and_well_formed() -> None:
    shown = set(re.findall(r"\]\(measurements/(\w+\.svg)\)", page.PAGE.read_text(encoding="utf-8")))
    plots = {path.name for path in page.JSON.parent.glob("*.svg")}
    assert shown == plots
    for name in plots:
        ElementTree.parse(page.JSON.with_name(name))
