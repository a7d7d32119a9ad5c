"""`accord reward-bench`: how often a reward model, or a policy by its implicit reward, prefers the better answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import TokenGroup
from accord.data.report import DataReport
from accord.data.reward_bench import Item, bench_items
from accord.data.sources import Source, source_name
from accord.data.write import row_writer
from accord.errors import Diverged, InputError
from accord.evaluate.bench_report import BenchReport, ScoredItem, bench_report, check_items, spec_of
from accord.models.adapters import bare
from accord.models.heads import has_head, headless
from accord.models.reference import ReferenceLogprobs
from accord.models.scorer import as_reward, is_scorer
from accord.stages.config import RewardBenchConfig
from accord.stages.intake import Intake, Preparation, fitting
from accord.stages.load_data import within_context
from accord.stages.logprobs import completed
from accord.stages.score import Head, check_output
from accord.stages.score_all import score_all
from accord.stages.score_options import BenchOptions
from accord.stages.scorers import scored, scorer_of
from accord.stages.setup import Given, Machine, apart, machine, moved, network_of, ready, say, tokenizer_of
from accord.stages.tables import put, show, written

TEXTS = {"plain": False, "turns": True}  # auto: rows with a subset
AS_POLICY = "or, of a policy: --reference DIR (its implicit reward, as after accord dpo) or --reference_free mean"
Scores = list[list[float]]  # of each group, of each completion


def run(config: RewardBenchConfig, given: Given) -> BenchReport:
    """Scores every completion and counts by the benchmark's rules; shown, written and given back."""
    options = config.bench
    place = machine(config.model, threads=options.threads, max_tokens=options.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    source = cast(Source, given.get("data", config.data.data))
    if options.scores is not None:
        check_output(source, options.scores)
    items, groups = _items(config, given, source, tokenizer)
    spec = spec_of(options.spec, [item.subset for item in items])
    check_items(items, spec)
    scoring = _Scoring(config, given, tokenizer, groups, place)
    values = scoring.by_policy() if _is_policy(options, given) else scoring.by_scorer()
    lengths = [[len(completion.ids) for completion in group.completions] for group in groups]
    found = [ScoredItem(*one) for one in zip(items, values, lengths, strict=True)]
    report = bench_report(found, spec)
    _show(report, found, config, f"{source_name(source)}: {config.model.model}, {_by(options, given)}")
    return report


def _items(
    config: RewardBenchConfig, given: Given, source: Source, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Item], list[TokenGroup]]:
    """The items that fit into the model, and their tokens."""
    reading, report = within_context(config.data, config.model, given), DataReport()
    items = bench_items(
        source,
        turns=TEXTS.get(config.bench.texts, None if tokenizer.chat_template else False),
        split=reading.split,
        on_bad_row=reading.on_bad_row,
        implicit_prompt=reading.implicit_prompt,
        report=report,
    )
    intake = Intake("evaluate", completed, fitting(config.length))
    encoder = _is_policy(config.bench, given) and apart(config.model, given)
    preparation = Preparation(tokenizer, config.model, reading, intake, apart=encoder)
    prepared = preparation.of([item.group for item in items], reading.split)
    whole = DataReport.merged([report, prepared.report])
    whole.read = report.read  # the items were read as rows, and then as groups
    say(f"data: {whole.summary()}")
    for line in whole.warnings():
        say(f"note: {line}")
    return [items[int(group.group.id)] for group in prepared.groups], prepared.groups


def _is_policy(options: BenchOptions, given: Given) -> bool:
    return "reference" in given or options.reference is not None or options.reference_free is not None


def _by(options: BenchOptions, given: Given) -> str:
    """What the score is, for people."""
    if options.reference_free is not None:
        return f"{options.reference_free} of log-probabilities, without a reference"
    if _is_policy(options, given):
        return f"implicit reward against {options.reference}"
    return "score" if options.label is None else f"log-odds of {options.label}"


class _Scoring(NamedTuple):
    """What is scored, and with what."""

    config: RewardBenchConfig
    given: Given
    tokenizer: PreTrainedTokenizerBase
    groups: Sequence[TokenGroup]
    place: Machine

    def by_scorer(self) -> Scores:
        """The scores of a reward model, or a classifier's log-odds of a label."""
        try:
            model = scorer_of(self.config.model, self.given, self.tokenizer, self.groups, self.place)
        except InputError as error:
            if error.what != headless("").what:
                raise
            fix = f"give a reward model (accord reward), {AS_POLICY}"
            raise InputError(error.what, where=error.where, fix=fix) from error
        head = Head.of(model, label=self.config.bench.label)
        if not head.scores:
            what, fix = "a classifier has a score for each label", f"name one of {', '.join(head.labels)}"
            raise InputError(what, where="label", fix=fix)
        found = scored("score", model, self.groups, self.place.max_tokens)
        values = [as_reward(one, head.config, head.label) for one in found]
        for one, group in zip(values, self.groups, strict=True):
            if not one.isfinite().all():
                what = f"a score is not finite ({one.tolist()})"
                raise Diverged(what, where=str(group.group.source), fix="compute in --dtype float32")
        return [one.tolist() for one in values]

    def by_policy(self) -> Scores:
        """log pi(y | x) - log pi_ref(y | x), which is a DPO policy's reward over beta; or log pi(y | x) alone."""
        name, passed, options = self.config.model.model, self.given.get("model"), self.config.bench
        if is_scorer(name) if passed is None else has_head(bare(passed)):
            what = "a reward model or classifier, which has scores of its own"
            raise InputError(what, where=name, fix="leave out --reference and --reference_free")
        own = self._logprobs("policy", name, passed)
        total = own.sum
        if options.reference_free == "mean":
            total = total / own.end.diff(prepend=own.end.new_zeros(1)).clamp(min=1)
        elif options.reference_free is None:
            named = options.reference or "<object>"
            total = total - self._logprobs("reference", named, self.given.get("reference")).sum
        return [part.tolist() for part in total.split([len(group.completions) for group in self.groups])]

    def _logprobs(self, role: str, name: str, passed: object) -> ReferenceLogprobs:
        network = network_of(name, passed, self.tokenizer, self.config.model, self.place)
        model = ready(network, self.groups, self.config.model)
        if passed is None:
            moved(network, self.place.device, self.place.dtype)
        return score_all(role, model, self.groups, self.place.max_tokens)


def _show(report: BenchReport, found: Sequence[ScoredItem], config: RewardBenchConfig, title: str) -> None:
    """The rows first, then the tables: as JSON, as Markdown and on the terminal."""
    options = config.bench
    if options.scores is not None:
        with row_writer(options.scores) as writer:
            for one in found:
                named = {"id": one.item.id, "subset": one.item.subset, "right": one.item.right}
                writer.add({**named, "scores": list(one.scores), "credit": one.credit.value})
    if options.markdown is not None:
        put(Path(options.markdown), report.markdown(title))
    if written({"model": config.model.model, "title": title, **report.to_json()}, options.json):
        return
    show(report.subset_rows(), title=title)
    if rows := report.section_rows():
        show(rows, title=f"sections by the rules of {report.spec}")
    for line in report.lines():
        print(line)
