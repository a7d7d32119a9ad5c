"""`accord demo`: every stage in a small written world, offline, and what it changed.

The world knows what every text is worth, so that each claim about the trained models is measured against the truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from accord.demo import page, table
from accord.demo.course import Demo
from accord.demo.outcome import Outcome
from accord.demo.sizes import FULL, Sizes
from accord.errors import StorageError
from accord.evaluate.report.page import write
from accord.stages.config import DemoConfig
from accord.stages.resolve import dump
from accord.training.run import RunFolder

# What a run of the demo makes, and a rerun replaces.
OWN = ("data", "new", "base", "tuned", "reward", "dpo", "ppo", "summary.json", "report.html")


def run(config: DemoConfig, given: Mapping[str, object], sizes: Sizes = FULL) -> Outcome:
    """Carries it all out, prints the summary, writes summary.json and report.html; an earlier demo's are replaced."""
    with RunFolder(config.demo.output_dir) as folder:
        if folder.claim("demo", resume=True):
            remove(folder.path)
        folder.write_text("run.yaml", dump(config))
        outcome = whole(Demo(config, sizes, folder.path))
        folder.write_json("summary.json", {"sizes": sizes._asdict(), **outcome.to_json()})
        write(page.of(outcome, folder.path), folder.path / "report.html")
    table.show(outcome, folder.path, Console())
    return outcome


def whole(demo: Demo) -> Outcome:
    """The stages in order, then what they changed."""
    demo.chapters.open(demo.folder)
    demo.write_texts(demo.deal())
    demo.initialised()
    demo.pretrained()
    demo.tuned()
    judged = demo.rewarded(demo.compared())
    demo.preferred()
    demo.reinforced()
    bought = demo.best()
    return Outcome(demo.world, demo.seed, judged, bought, demo.evaluated(), demo.chapters.seconds)


def remove(folder: Path) -> None:
    """Removes what an earlier demo made in a folder, and nothing else."""
    for path in (folder / name for name in OWN):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot be removed ({error.strerror})", where=str(path), fix="remove it by hand"
            ) from error
