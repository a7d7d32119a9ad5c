"""`accord agreement`: how far people, models, and people and models say the same of the same items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from accord.data.opinions import Opinions
from accord.data.read_opinions import read_opinions
from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, source_name
from accord.errors import InputError
from accord.evaluate.agreed import Agreed, Matter, PairOfRaters, agreed, pairs_of_raters
from accord.evaluate.agreement_report import cells, explained, markdown, position_of, title
from accord.evaluate.inputs import check_outputs, digests_of, sources_of
from accord.maths.position import Shown, first_shown
from accord.stages.agreement_options import AgreementOptions
from accord.stages.evaluation_configs import AgreementConfig
from accord.stages.tables import put, show, tell, written
from accord.training.progress import Waiting, say


@dataclass
class Agreement:
    """What came of it. pairs: every two named raters with enough items in common. Python gets this."""

    options: AgreementOptions
    agreed: list[Agreed]
    pairs: list[PairOfRaters]
    raters: list[str]
    machines: set[int]
    shown: Shown | None
    report: DataReport
    files: dict[str, str]  # name -> SHA-256
    replaced: int

    def __repr__(self) -> str:
        """Short, as an interactive session shows it."""
        return f"<Agreement: {'; '.join(f'{one.question}, {one.between}' for one in self.agreed)}>"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each question and each kind of raters."""
        return [one.to_json() for one in self.agreed]

    def lines(self) -> Iterator[str]:
        """How the figures came about."""
        yield from explained(self.agreed, self.options)
        if self.shown is not None:
            yield position_of(self.shown, self.options.level)

    def markdown(self) -> str:
        """The tables, and how they came about."""
        return markdown(self.agreed, list(self.lines()), self.options.level)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        shown = None if self.shown is None else {**self.shown._asdict(), "interval": list(self.shown.interval)}
        return {
            "agreement": self.rows(),
            "pairs": [one.to_json(self.raters) for one in self.pairs],
            "annotators": [
                {"name": name, "kind": "model" if number in self.machines else "human"}
                for number, name in enumerate(self.raters)
            ],
            "shown_first": shown,
            "replaced": self.replaced,
            "options": self.options.model_dump(),
            "files": self.files,
            "data": self.report.to_json(),
        }


def run(config: AgreementConfig, given: Mapping[str, object]) -> Agreement:
    """Reads, counts, prints, and on request writes and draws. InputError: no item that two raters judged."""
    output = config.output
    sources = sources_of(config.opinions.data, given)
    check_outputs(sources, (output.json, output.markdown, output.plot))
    report, opinions = DataReport(), Opinions()
    _read(sources, config, opinions, report)
    _name_models(opinions, config.opinions.models)
    _tell(report, opinions)
    found = _found(opinions, config, report, sources)
    _write(found, config)
    return found


def _read(sources: Sequence[Source], config: AgreementConfig, opinions: Opinions, report: DataReport) -> None:
    refusals = Refusals(config.opinions.on_bad_row, report, checked=False)
    for source in sources:
        with Waiting(source_name(source)) as waiting:
            read_opinions(source, opinions, refusals, split=config.opinions.split, tell=waiting.tell)
    opinions.leave_out_repetition()
    if not opinions.questions:
        what = f"nothing that raters could agree on: {report.summary()}"
        fix = "docs/agreement.md shows what is read"
        raise InputError(what, where=", ".join(map(source_name, sources)), fix=fix)


def _name_models(opinions: Opinions, patterns: Sequence[str]) -> None:
    """InputError: a pattern that no rater's name fits."""
    for pattern in patterns:
        fits = [name for name in opinions.raters if fnmatchcase(name, pattern)]
        if not fits:
            known = ", ".join(list(opinions.raters)[:10]) or "none"
            raise InputError(f"no annotator is named {pattern}", where="models", fix=f"the annotators are: {known}")
        opinions.machines.update(opinions.raters.number[name] for name in fits)


def _tell(report: DataReport, opinions: Opinions) -> None:
    say(f"data: {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")
    if opinions.replaced:
        say(f"note: {opinions.replaced:,} x judgements replaced by a later one of the same annotator on the same item")
    if opinions.alone:
        say(f"note: {opinions.alone:,} x a row that names no prompt: nobody else can have judged the same")


def _found(opinions: Opinions, config: AgreementConfig, report: DataReport, sources: Sequence[Source]) -> Agreement:
    options, figures, pairs, without = config.agreement, list[Agreed](), list[PairOfRaters](), list[str]()
    by_item = options.cluster == "item"
    for name, question in opinions.questions.items():
        matter = Matter.of(name, question, most=config.opinions.per_item, by_item=by_item)
        if not len(matter.both.one):
            without.append(name)
            continue
        figures.extend(agreed(matter, opinions.machines, options))
        pairs.extend(pairs_of_raters(matter, options))
    where = ", ".join(map(source_name, sources))
    if not figures:
        fix = "give files in which several annotators judge the same, with commas between them"
        raise InputError(f"no item was judged by two raters ({', '.join(without)})", where=where, fix=fix)
    for name in without:
        say(f"note: {name}: no item was judged by two raters")
    shown = np.array(opinions.shown)
    says = bool((shown != 0.5).any())  # ties alone say nothing of who is preferred
    return Agreement(
        options,
        figures,
        pairs,
        list(opinions.raters),
        opinions.machines,
        first_shown(shown, np.ones(len(shown), dtype=np.int64), level=options.level) if says else None,
        report,
        digests_of(sources),
        opinions.replaced,
    )


def _write(found: Agreement, config: AgreementConfig) -> None:
    output = config.output
    if output.plot is not None:  # first, as there may be nothing to draw
        from accord.evaluate import agreement_plot

        agreement_plot.draw(found, output.plot)
    if output.markdown is not None:
        put(output.markdown, found.markdown() + "\n")
    if written(found.to_json(), output.json):
        return
    for one in found.agreed:
        show(cells(one, found.options.level), title=title(one))
    tell(found.lines())
