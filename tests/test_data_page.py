"""docs/data.md shows what the program prints."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS))

import data as page  # noqa: E402


def test_the_page_is_what_the_program_prints() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.renewed(text), "run python docs/data.py"


def test_every_finding_and_every_format_has_its_example() -> None:
    assert list(page.CASES) == list(page.FINDINGS)
    text = page.PAGE.read_text(encoding="utf-8")
    for name in page.FINDINGS:
        assert f" {name}" in text
    for name in page.FORMATS:
        assert f"### {name}\n" in text
