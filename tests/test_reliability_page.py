"""docs/reliability.md shows what small runs really print."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_what_the_program_prints() -> None:
    """In a process of its own, which forks."""
    done = subprocess.run([sys.executable, "docs/reliability.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run python docs/reliability.py\n{done.stdout}{done.stderr}"
