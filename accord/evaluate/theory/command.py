"""`accord theory`: every method of the project against the exact optimum, in worlds that can be counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from accord.errors import InputError, IntegrityError
from accord.evaluate.inputs import check_outputs
from accord.evaluate.theory.contents import PARTS
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task, timed
from accord.evaluate.theory.report import Theory
from accord.evaluate.theory.trained import trained_world
from accord.evaluate.theory.world import World, table_world
from accord.stages.evaluation_configs import TheoryConfig
from accord.stages.output_options import PicturedOutput
from accord.stages.setup import Given
from accord.stages.tables import put, show, written
from accord.training.progress import Progress


def run(config: TheoryConfig, given: Given) -> Theory:
    """Runs all of it, prints, and on request writes. IntegrityError: something is not where it claims to be."""
    output = config.output
    check_outputs((), (output.json, output.markdown, output.plot))
    worlds = [table_world(), trained_world()]
    tasks = chosen(config.theory.only, worlds, full=config.theory.full)
    found = Theory(worlds, _run(tasks))
    _write(found, output)
    if wrong := found.wrong:
        named = ", ".join(f"{row.method} ({row.world})" for row in wrong)
        fix = "see their rows; a claim is in the table of its method, and in accord/maths/pair_ends.py"
        raise IntegrityError(f"{len(wrong)} of {len(found.found)} are not as claimed: {named}", where="theory", fix=fix)
    return found


def chosen(only: Sequence[str], worlds: Sequence[World], *, full: bool) -> list[Task]:
    """The tasks of these parts, or of all; of the long ones where they are named, or with `full`."""
    if unknown := [name for name in only if name not in PARTS]:
        raise InputError(f"{unknown[0]!r} is no part of it", where="only", fix=f"take of {', '.join(PARTS)}")
    parts = [PARTS[name] for name in only] or [part for part in PARTS.values() if full or not part.long]
    return [task for part in parts for task in part.tasks(worlds)]


def _run(tasks: Sequence[Task]) -> list[Found]:
    rows: list[Found] = []
    with Progress("theory", len(tasks), unit="method") as progress, one_thread():
        for number, task in enumerate(tasks, 1):
            progress.note(task.name)
            rows += timed(task)
            progress.advance(number, None, None, 1, 0, shown=task.name)
    return rows


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums over tens of completions are slower on several threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(found: Theory, output: PicturedOutput) -> None:
    if output.markdown is not None:
        put(output.markdown, found.markdown())
    if output.plot is not None:
        from accord.evaluate.theory import plot

        plot.draw(found, output.plot)
    if written(found.to_json(), output.json):
        return
    for title, cells in found.sections():
        show(cells, title=title)
    print(found.summary())
