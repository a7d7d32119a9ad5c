"""`accord frontier`: reward against distance from a model, for every method and beta that is asked for.

What is done is not done again: runs resume by themselves, answers and scores are kept with what they were made of.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from accord.errors import AccordError, InputError, Stopped
from accord.evaluate.frontier import kept, show
from accord.evaluate.frontier.analyse import START, Policies, analysed
from accord.evaluate.frontier.columns import Answered
from accord.evaluate.frontier.comparisons import write_comparisons
from accord.evaluate.frontier.drawn import Drawn, drawn_by_model, drawn_by_policy
from accord.evaluate.frontier.folder import draw, taken
from accord.evaluate.frontier.kept import Json, digest_of_data, digest_of_model, digest_of_sources
from accord.evaluate.frontier.plan import Files, Plan, Planned, check_begun, planned
from accord.evaluate.frontier.prompts import groups_of, write_prompts
from accord.evaluate.frontier.result import NAME, PICTURE, Frontier
from accord.evaluate.frontier.scored import scores
from accord.records import Group
from accord.stages.commands import execute
from accord.stages.evaluation_configs import FrontierConfig
from accord.stages.options import Conflict
from accord.stages.resolve import flat
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.setup import say
from accord.stages.tables import put

Made = Mapping[str, str]  # name -> digest of what something is made from


def run(config: FrontierConfig, given: Mapping[str, object]) -> Frontier | None:
    """Trains, samples, measures, prints, writes and draws; None after a dry run.

    A run that fails is said in its row, and the others are made. AccordError: as the stages; a setting that changed.
    """
    for key in given:
        raise InputError("takes a name only", where=key, fix="give a directory or a file: what is kept names it")
    plan, gold = planned(config), _gold(config)
    if config.plan.dry_run:
        show.listing(plan, config.plan.output_dir)
        return None
    with taken(config) as folder:
        found = _Frontier(config, plan, gold).run()
        put(folder / NAME, json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
        draw(found, folder)
    show.printed(found, config.output.json)
    say(f"{NAME} and {PICTURE} are in {config.plan.output_dir}")
    return found


def _gold(config: FrontierConfig) -> RewardSourceOptions | None:
    """The gold score as sources of rewards. InputError: it is none."""
    if config.figures.gold is None:
        return None
    held = {"reward": config.figures.gold, "reward_weights": None, "reward_label": None, "reward_normalised": "none"}
    options = config.reward_sources.model_copy(update=held)
    try:
        options.entries()
    except Conflict as conflict:
        raise InputError(conflict.what, where="gold", fix=conflict.fix) from None
    return options


class _Frontier:
    """One run of the command, in its folder."""

    def __init__(self, config: FrontierConfig, plan: Plan, gold: RewardSourceOptions | None) -> None:
        self.config, self.plan, self.gold = config, plan, gold
        self.files = Files(Path(config.plan.output_dir))
        self.figures = config.figures
        self.exit_code = 0

    def run(self) -> Frontier:
        write_prompts(self.config.prompts, self.files)
        self.model = digest_of_model(self.config.model.model)
        self.reward = digest_of_sources(self.config.reward_sources)
        self.held_out = {group.id: group for group in groups_of(str(self.files.held_out))}
        begun = {one.name: check_begun(one, self._made_from(one), self.files) for one in self.plan.trained}
        start = self._answered(START, self.files.held_out, self._own_answers(self.files.held_out, self.plan.pool))
        if self.plan.makes_comparisons and self.config.plan.comparisons is None:
            self._compare()
        trained, failed = dict[str, Answered](), dict[str, str]()
        for number, one in enumerate(self.plan.trained, 1):
            say(f"run {number} of {len(self.plan.trained)}: {one.name}")
            try:
                trained[one.name] = self._policy(one, begun[one.name])
            except Stopped as stopped:
                fix = "the same command goes on from there"
                raise Stopped(stopped.signal, stopped.what, where=stopped.where, fix=fix) from stopped
            except Exception as error:  # one failing run does not lose the others
                failed[one.name] = self._said(error)
        return self._result(Policies(start, trained, failed))

    def _result(self, policies: Policies) -> Frontier:
        start, points, lines = analysed(self.plan, policies, self.config)
        found = Frontier(
            model=self.config.model.model,
            reward=_named(self.config.reward_sources),
            gold=None if self.gold is None else _named(self.gold),
            kl=self.figures.kl,
            prompts=len(self.held_out),
            level=self.figures.level,
            start=start.point,
            points=points,
            lines=lines,
            notes=[],
            options=flat(self.config),
            exit_code=self.exit_code,
        )
        return replace(found, notes=list(show.notes_of(found, self.plan)))

    def _compare(self) -> None:
        """comparisons.jsonl, unless it is there, of the same model, reward, prompts and options."""
        options = self.config.plan
        drawing = self._own_answers(self.files.prompts, options.comparison_samples)
        note = self.files.root / "comparisons.json"
        if not self.files.comparisons.exists():
            note.unlink(missing_ok=True)

        def make() -> Json:
            prompts = {group.id: group for group in groups_of(str(self.files.prompts))}
            say(f"comparisons: {options.comparison_samples} answers of the model to each of {len(prompts):,} prompts")
            answers = drawing.make()
            found = self._scores("comparisons", self.config.reward_sources, prompts, answers)
            return write_comparisons(prompts, answers, found["score"], self.files, seed=self._of_ranks())

        kept.kept(note, self._of_comparisons(), make)

    def _of_ranks(self) -> int | None:
        """The seed that draws the orders of comparisons; None: they are by score."""
        return self.figures.seed if self.config.plan.draw_ranks else None

    def _of_comparisons(self) -> Json:
        drawing = self._own_answers(self.files.prompts, self.config.plan.comparison_samples)
        return {"answers": drawing.of, "reward": self.reward, "seed": self._of_ranks()}

    def _made_from(self, one: Planned) -> dict[str, str]:
        """What a run learns from; of comparisons that are made here, what these are made from."""
        prompts = digest_of_data(str(self.files.prompts))
        if not one.method.offline:
            return {"model": self.model, "reward": self.reward, "prompts": prompts}
        if self.config.plan.comparisons is not None:
            return {"model": self.model, "comparisons": digest_of_data(self.config.plan.comparisons)}
        whole = {"comparisons": kept.digest_of(self._of_comparisons())}
        return {"model": self.model, "reward": self.reward, "prompts": prompts, **whole}

    def _policy(self, one: Planned, begun: bool) -> Answered:
        """Trained, unless it is, and measured, unless it is."""
        assert one.config is not None
        if begun and one.is_trained:
            say(f"done before: {one.config.run.output_dir}")
        else:
            kept.write(self.files.kept("runs", one.name), self._made_from(one))
            own = one.config.run.model_copy(update={"resume": begun})
            execute(one.method.command, one.config.model_copy(update={"run": own}), {})
            gc.collect()  # its networks are freed before others are loaded
        return self._answered(one.name, self.files.held_out, self._policy_answers(one))

    def _own_answers(self, prompts: Path, count: int) -> _Answers:
        of = self._of_answers(prompts, count, self.model)
        return _Answers(of, lambda: drawn_by_model(self.config.model, prompts, count, self.figures))

    def _policy_answers(self, one: Planned) -> _Answers:
        folder = self.files.run(one.name)
        of = self._of_answers(self.files.held_out, self.figures.samples, digest_of_model(str(folder)))
        return _Answers(of, lambda: drawn_by_policy(folder, self.config.model, self.files.held_out, self.figures))

    def _of_answers(self, prompts: Path, count: int, policy: str) -> Json:
        model, figures = self.config.model, self.figures
        return {
            **{"policy": policy, "model": self.model, "prompts": digest_of_data(str(prompts)), "samples": count},
            **{"seed": figures.seed, "max_new_tokens": figures.max_new_tokens, "dtype": model.dtype},
            **{"chat_template": model.chat_template, "chat_template_kwargs": model.chat_template_kwargs},
        }

    def _answered(self, name: str, prompts: Path, answers: _Answers) -> Answered:
        """A policy's answers to the held-out prompts, and their scores."""
        found = kept.kept(self.files.kept("answers", name), answers.of, lambda: answers.make().to_json())
        drawn = Drawn(**found)
        sides = {"proxy": self.config.reward_sources} | ({"gold": self.gold} if self.gold is not None else {})
        columns = {side: self._kept_scores(side, name, source, drawn, answers.of) for side, source in sides.items()}
        return Answered(drawn, columns["proxy"], columns.get("gold"))

    def _kept_scores(
        self, side: str, name: str, source: RewardSourceOptions, drawn: Drawn, of: Json
    ) -> list[list[float]]:
        made = {"answers": of, "source": digest_of_sources(source)}
        path = self.files.kept(side, name)
        found = kept.kept(path, made, lambda: self._scores(f"{side}: {name}", source, self.held_out, drawn))
        score: list[list[float]] = found["score"]
        return score

    def _scores(self, name: str, source: RewardSourceOptions, prompts: Mapping[str, Group], drawn: Drawn) -> Json:
        return scores(name, source, self.config.model, self.figures.threads, prompts, drawn)

    def _said(self, error: Exception) -> str:
        code = error.code if isinstance(error, AccordError) else 1
        self.exit_code = self.exit_code or code
        what = str(error) if isinstance(error, AccordError) else f"{type(error).__name__}: {error}"
        say(f"failed: {what}")
        return what.replace("\n", " ")


class _Answers(NamedTuple):
    """Answers that may be drawn: what they are made of, and how."""

    of: Json
    make: Callable[[], Drawn]


def _named(options: RewardSourceOptions) -> str:
    return " + ".join(str(one.source) for one in options.entries())
