"""`accord reward`: a model that scores completions as people rank them; equations 5 to 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from accord.data.choose import best, demonstration
from accord.data.dialogue import TokenGroup
from accord.data.sources import Source
from accord.models.adapters import is_adapted
from accord.models.heads import BESIDE, Head
from accord.models.scorer import Normalisation, normalise
from accord.stages.config import RewardConfig
from accord.stages.course import course_of
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, fitting
from accord.stages.load_data import Data
from accord.stages.outcome import Result
from accord.stages.reward_losses import holds_of, in_numbers, reward_term, take_of, taken_name, told
from accord.stages.reward_plot import draw
from accord.stages.reward_report import Scored, report
from accord.stages.scorers import scored
from accord.stages.session import Begun, Findings, Session, begin
from accord.stages.setup import Given, say
from accord.training.rewards import reward_objective

CALIBRATED = 1_000  # chosen completions at most that the normalisation is made of: its error is 3 % of the spread
PICTURE = "reward_report.png"


def run(config: RewardConfig, given: Given) -> Result | None:
    """Trains on the judgements of every group; ends with a report on the held-out ones. None after a dry run."""
    options = config.reward
    objective = reward_objective(reward_term(options))
    intake = Intake(
        "reward", take_of(options), fitting(config.length), name=taken_name(options), holds=holds_of(options)
    )

    def head(data: Data) -> Head:
        for line in told(options, [group.group for group in data.groups]):
            say(line)
        return Head(("reward",), seed=config.train.seed)

    with begin("reward", config, given, intake, config.length, head) as begun:
        best_ones = _demonstrations(config, given, begun)
        course = course_of(begun.data.groups, begun.data.train, objective, config.data, config.train, begun.cut)
        session = Session("reward", config, begun, course, objective, prompts=())
        session.at_end = lambda session: _findings(session, config, best_ones)
        return carry_out(session)


def _demonstrations(config: RewardConfig, given: Given, begun: Begun) -> list[TokenGroup]:
    """What the scores are normalised by: the file of demonstrations, or chosen completions of those trained on."""
    if config.reward.demonstrations is not None or "demonstrations" in given:
        source = cast(Source, given.get("demonstrations", config.reward.demonstrations))
        intake = Intake("sft", demonstration, fitting(config.length))
        return replace(begun.preparation, intake=intake).of(source, config.data.split).groups
    data = begun.data
    every = max(1, -(-data.trained // CALIBRATED))
    return [_chosen(group) for group in data.groups[: data.trained : every]]


def _chosen(group: TokenGroup) -> TokenGroup:
    """With its best completion alone."""
    return TokenGroup(group.group, group.prompt, (group.completions[best(group.group)],))


def _findings(session: Session, config: RewardConfig, best_ones: Sequence[TokenGroup]) -> Findings:
    """The normalisation, which the written model keeps, and the report on what was held out."""
    begun, of_file = session.begun, config.reward.demonstrations is not None
    found = torch.cat(scored("scores to normalise by", begun.model, best_ones, begun.place.max_tokens)).double()
    normalisation = Normalisation(found.mean().item(), found.std(correction=0).item())
    normalise(begun.model.network, normalisation)
    whose = "demonstrations" if of_file else "chosen completions"
    lines = [
        f"scores of {len(found):,} {whose}: mean {normalisation.mean:.4f}, standard deviation {normalisation.std:.4f}; "
        f"kept in {BESIDE if is_adapted(begun.model.network) else 'config.json'} for accord score --normalised"
    ]
    summary = {
        "losses": in_numbers(config.reward),
        "normalisation": {**normalisation._asdict(), "completions": len(found), "of": whose},
    }
    held = [begun.data.groups[place] for place in begun.data.held]
    if not held:
        return Findings(summary, lines=lines)
    numbers = scored("report", begun.model, held, begun.place.max_tokens)
    rows = [
        Scored(group.group, score[:, 0].tolist(), [len(completion.ids) for completion in group.completions])
        for group, score in zip(held, numbers, strict=True)
    ]
    about = report(rows)
    session.folder.write_json("reward_report.json", about.to_json())
    draw(about, str(session.folder.path / PICTURE))
    lines += [*about.lines(), f"the report as a picture: {session.folder.path / PICTURE}"]
    return Findings(summary, [*about.markdown(), "", f"![reward report]({PICTURE})"], lines)
