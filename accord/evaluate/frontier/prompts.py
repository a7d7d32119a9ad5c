"""The prompts of a frontier: those that are learnt from, and those that all is measured on, never the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from accord.data.formats import FORMATS, to_rows
from accord.data.order import ASKS, asks, held_out
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.errors import InputError
from accord.evaluate.frontier.kept import Json, digest_of_data, kept
from accord.evaluate.frontier.plan import Files
from accord.records import Group
from accord.stages.frontier_options import HELD_OUT, FrontierPromptOptions
from accord.stages.rl_prompts import alone
from accord.stages.setup import say
from accord.stages.tables import put


def write_prompts(options: FrontierPromptOptions, files: Files) -> None:
    """Writes prompts.jsonl and held_out.jsonl, unless they are there, of the same data.

    BadRows, InputError: as reading groups; no prompt is left on one side; a prompt is on both.
    """
    named = {"data": options.data} | ({"prompts": options.prompts} if options.prompts is not None else {})
    of = {name: digest_of_data(data) for name, data in named.items()}
    of |= {"split": options.split, "validation": str(options.validation)}
    if not (files.prompts.exists() and files.held_out.exists()):
        (files.root / "prompts.json").unlink(missing_ok=True)
    counts = kept(files.root / "prompts.json", of, lambda: _written(options, files))
    say(f"prompts: {counts['learnt from']:,} to learn from, {counts['measured on']:,} to measure on")


def groups_of(path: str) -> list[Group]:
    """The prompts of a file that was written here."""
    return list(read_groups(path))


def _written(options: FrontierPromptOptions, files: Files) -> Json:
    learnt = _read(options.data, options)
    if options.prompts is not None:
        measured = _read(options.prompts, options)
        _check_apart(learnt, measured, options.prompts)
    else:
        table = np.frombuffer(b"".join(map(asks, learnt)), dtype=np.uint8).reshape(-1, ASKS)
        held = held_out(table, options.validation or HELD_OUT)
        measured = [group for group, out in zip(learnt, held, strict=True) if out]
        learnt = [group for group, out in zip(learnt, held, strict=True) if not out]
    for path, groups in ((files.prompts, learnt), (files.held_out, measured)):
        put(path, "".join(lines(groups, "prompt")), with_folder=True)
    return {"learnt from": len(learnt), "measured on": len(measured)}


def lines(groups: Iterable[Group], form: str) -> Iterable[str]:
    """The rows of groups in a known format, as lines of JSON."""
    for group in groups:
        for row in to_rows(FORMATS[form], group)[0]:
            yield json.dumps(row, ensure_ascii=False) + "\n"


def _read(data: str, options: FrontierPromptOptions) -> list[Group]:
    """Each prompt once, in the order of the data, without what was answered."""
    report, found = DataReport(), dict[bytes, Group]()
    for group in read_groups(data, split=options.split, on_bad_row=options.on_bad_row, report=report):
        if not group.prompt:
            what = "a text without a prompt, which nothing can answer"
            raise InputError(what, where=str(group.source), fix="give prompts, or rows that have one")
        found.setdefault(asks(group), alone(group))
    if report.dropped:
        say(f"data: {report.summary()}")
    return list(found.values())


def _check_apart(learnt: Sequence[Group], measured: Sequence[Group], where: str) -> None:
    seen = {asks(group) for group in learnt}
    if shared := [group for group in measured if asks(group) in seen]:
        others = f", and {len(shared) - 1:,} more" if len(shared) > 1 else ""
        what = f"the prompt of {shared[0].source}{others} would be learnt from, and measured on"
        raise InputError(what, where=where, fix="take it out of one of the two")
