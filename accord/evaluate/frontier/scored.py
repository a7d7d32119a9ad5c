"""What a scorer says of answers that were drawn."""

from __future__ import annotations

from collections.abc import Mapping

from accord.data.measures import characters
from accord.evaluate.frontier.drawn import Drawn
from accord.evaluate.frontier.kept import Json
from accord.records import Group
from accord.stages.options import ModelOptions
from accord.stages.reward_model_source import Longest
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.reward_sources import rewards_of
from accord.stages.rl_prompts import answered
from accord.stages.setup import machine
from accord.training.progress import Progress

AT_ONCE = 64  # prompts, with all their answers
TRIED = 8  # answers of a prompt with which a reward model is held against stock


def scores(
    name: str,
    source: RewardSourceOptions,
    model: ModelOptions,
    threads: int | None,
    prompts: Mapping[str, Group],
    drawn: Drawn,
) -> Json:
    """{"score": (G, K) numbers}. name: of the score, before the bar. AccordError: where the source has none."""
    place = machine(model, threads=threads, max_tokens=None)
    asked = [prompts[id] for id in drawn.id]
    longest = max(asked, key=lambda group: characters(group.prompt))
    most = Longest(longest, min(TRIED, len(drawn.text[0])), max(max(one) for one in drawn.tokens))
    rewards, found = rewards_of(source, model, {}, place, longest=most), list[list[float]]()
    with Progress(name, len(asked), unit="prompt") as progress:
        for start in range(0, len(asked), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            groups = [answered(*pair) for pair in zip(asked[part], drawn.text[part], strict=True)]
            found += rewards.of(groups).total.reshape(len(groups), -1).tolist()
            read = sum(map(sum, drawn.tokens[part]))
            progress.advance(len(found), None, None, len(groups), read)
        progress.log()
    return {"score": found}
