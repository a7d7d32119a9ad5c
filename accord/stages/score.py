"""`accord score`: a score for each completion of a file, however large the file is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from accord.data.batches import Batch
from accord.data.clean import kind_of_name
from accord.data.dialogue import TokenGroup
from accord.data.sources import Source, check_not_read, file_rows
from accord.data.write import RowWriter, row_writer
from accord.errors import Diverged, InputError, StorageError
from accord.models.heads import MULTI, SINGLE, score_groups
from accord.models.logprobs import LanguageModel
from accord.models.scorer import as_reward, normalisation_of
from accord.stages.config import ScoreConfig
from accord.stages.intake import Intake, Preparation, fitting
from accord.stages.load_data import within_context
from accord.stages.logprobs import completed
from accord.stages.options import ModelOptions
from accord.stages.reward_plot import draw
from accord.stages.reward_report import Gathering, RewardReport, Scored, report_on
from accord.stages.score_options import ScoringOptions
from accord.stages.scorers import scorer_of
from accord.stages.setup import Given, machine, ready, say, tokenizer_of
from accord.stages.tables import written
from accord.stages.windows import Survey, Window, Windows
from accord.training.progress import Progress

LOGGED = 60.0  # seconds between two lines, where no bar can be shown
Row = dict[str, Any]


class ScoreFile(Iterable[Row]):
    """The rows that were written, read from the file one by one. report: where the data are judged."""

    def __init__(self, path: str, count: int, report: RewardReport | None) -> None:
        self.path, self.report, self._count = path, report, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (cast(Row, row) for _, row in file_rows(self.path))


class Head(NamedTuple):
    """What the numbers of a head become. shift: the mean of demonstrations, 0 where that is not asked for."""

    config: Any
    label: str | None
    labels: tuple[str, ...]  # none of a reward model
    shift: float

    @classmethod
    def of(cls, model: LanguageModel, *, label: str | None, normalised: bool = False) -> Head:
        """InputError: no such label, or nothing to normalise by."""
        config: Any = model.network.config
        shift = 0.0
        if normalised:
            kept = normalisation_of(model.network)
            if kept is None:
                what = "the model keeps no mean of its scores of demonstrations; only models of accord reward do"
                raise InputError(what, where="normalised", fix="leave it out, or train one with accord reward")
            shift = kept.mean
        count = int(config.num_labels)
        classifies = count > 1 or config.problem_type in (SINGLE, MULTI)
        labels = tuple(str(config.id2label[place]) for place in range(count)) if classifies else ()
        if label is not None or not labels:
            as_reward(torch.zeros(1, count), config, label)
        return cls(config, label, labels, shift)

    @property
    def scores(self) -> bool:
        """Whether there is one number a completion: of a classifier that of the label that was named."""
        return self.label is not None or not self.labels

    def score(self, found: Tensor) -> list[float] | None:
        """(K, L) -> K numbers."""
        if not self.scores:
            return None
        return [value - self.shift for value in as_reward(found, self.config, self.label).tolist()]

    def probabilities(self, found: Tensor) -> list[dict[str, float]] | None:
        """(K, L) -> the probability of each label, K times: each for itself, or 1 together. None of a reward model."""
        if not self.labels:
            return None
        each = found.sigmoid() if self.config.problem_type == MULTI else found.softmax(-1)
        return [dict(zip(self.labels, row, strict=True)) for row in each.tolist()]


def run(config: ScoreConfig, given: Given) -> ScoreFile:
    """Writes {"id", "completion", "score", "tokens"} for each completion, in the order of the data.

    Of a classifier also "probabilities", and a "score" only where a label was named.
    """
    options = config.scoring
    place = machine(config.model, threads=options.threads, max_tokens=options.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    windows = _windows(config, given, tokenizer)
    survey = windows.survey()
    if not survey.judged:
        _check_report(options, f"no row of {survey.groups:,} was judged", "give comparisons, ranks, ratings or labels")
    tokens = windows.tokens(survey)
    first = next(tokens)
    model = scorer_of(config.model, given, tokenizer, first.tokens, place)
    head = Head.of(model, label=options.label, normalised=options.normalised)
    if not head.scores:
        _check_report(options, "a classifier has one score only for a label", f"--label {head.labels[0]}, or another")
    judged = survey.judged and options.report != "none" and head.scores
    scoring = _Scoring(config.model, model, head, place.max_tokens, Gathering() if judged else None)
    _write(scoring, chain([first], tokens), survey, options)
    say(f"data: {windows.report.summary()}")
    for line in windows.report.warnings():
        say(f"note: {line}")
    say(f"{scoring.rows:,} completions of {scoring.groups:,} groups scored: {options.output}")
    return ScoreFile(options.output, scoring.rows, _report(scoring.judged, options))


def _windows(config: ScoreConfig, given: Given, tokenizer: PreTrainedTokenizerBase) -> Windows:
    reading = within_context(config.data, config.model, given)
    source = cast(Source, given.get("data", config.data.data))
    check_output(source, config.scoring.output)
    intake = Intake("evaluate", completed, fitting(config.length))
    return Windows(source, reading.split, Preparation(tokenizer, config.model, reading, intake), config.length)


def check_output(source: Source, output: str) -> None:
    """InputError where it would be no file of lines, or would take the place of the data that are read."""
    if kind_of_name(output) != "lines":
        fix = "a name ending in .jsonl, .json, or these with .gz or .zst"
        raise InputError("another kind of file than can be written", where=output, fix=fix)
    check_not_read(source, output)


def _check_report(options: ScoringOptions, what: str, fix: str) -> None:
    """InputError where a report is asked for, which there is nothing to make of."""
    if options.plot is not None or options.report not in ("auto", "none"):
        asked = "report" if options.plot is None else "plot"
        raise InputError(what, where=asked, fix=f"leave it out, or {fix}")


def _report(judged: Gathering | None, options: ScoringOptions) -> RewardReport | None:
    """Shown, and written to where that was asked for."""
    if judged is None:
        return None
    found = report_on(judged)
    for line in found.lines():
        say(line)
    if options.report != "auto":
        written(found.to_json(), options.report)
    if options.plot is not None:
        draw(found, options.plot)
    return found


def _write(scoring: _Scoring, windows: Iterable[Window], survey: Survey, options: ScoringOptions) -> None:
    try:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=options.output, fix="check --output") from error
    with Progress("score", survey.groups, unit="group") as progress, row_writer(options.output) as writer:
        logged = time.monotonic()
        for window in windows:
            scoring.window(window, writer, progress)
            if time.monotonic() - logged > LOGGED:
                logged = time.monotonic()
                progress.log()
        progress.log()


class _Scoring:
    """Scores windows of groups, and writes a row for each completion. judged: where the report's figures go."""

    def __init__(
        self, options: ModelOptions, model: LanguageModel, head: Head, max_tokens: int, judged: Gathering | None
    ) -> None:
        self.options, self.model, self.head, self.max_tokens, self.judged = options, model, head, max_tokens, judged
        self.groups = self.rows = self.compared = 0

    def window(self, window: Window, writer: RowWriter, progress: Progress) -> None:
        done = window.before
        self._compare(window.tokens)

        def advance(batch: Batch) -> None:
            nonlocal done
            done += len(batch.members)
            progress.advance(done, None, None, len(batch.members), batch.token_count)

        found = score_groups(self.model, window.tokens, max_tokens=self.max_tokens, advance=advance)
        for tokens, numbers in zip(window.tokens, found, strict=True):
            for row in self.rows_of(tokens, numbers):
                writer.add(row)
                self.rows += 1
        self.groups += len(window.tokens)

    def _compare(self, tokens: Sequence[TokenGroup]) -> None:
        """Compares with stock again where a group is twice as long as any that was compared before."""
        longest = max(group.length for group in tokens)
        if self.compared and longest > 2 * self.compared:
            self.model = ready(self.model.network, tokens, self.options)
            self.compared = longest
        self.compared = self.compared or longest  # the first window was compared as the model was loaded

    def rows_of(self, tokens: TokenGroup, numbers: Tensor) -> Iterator[Row]:
        """A row for each completion of a group, from its (K, L) numbers."""
        if not numbers.isfinite().all():
            what = f"a score is not finite ({numbers.flatten().tolist()})"
            raise Diverged(what, where=str(tokens.group.source), fix="compute in --dtype float32")
        scores, probabilities = self.head.score(numbers), self.head.probabilities(numbers)
        lengths = [len(completion.ids) for completion in tokens.completions]
        if self.judged is not None and scores is not None:
            self.judged.add(Scored(tokens.group, scores, lengths))
        for place, length in enumerate(lengths):
            row: Row = {"id": tokens.group.id, "completion": place}
            if scores is not None:
                row["score"] = scores[place]
            row["tokens"] = length
            if probabilities is not None:
                row["probabilities"] = probabilities[place]
            yield row
