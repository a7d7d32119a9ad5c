"""Comparisons for methods that learn from such: samples of the model, ordered by the reward that all methods have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from accord.errors import InputError
from accord.evaluate.frontier.drawn import Drawn
from accord.evaluate.frontier.kept import Json
from accord.evaluate.frontier.plan import Files
from accord.evaluate.frontier.prompts import lines
from accord.records import Group, Judgement
from accord.stages.online_judging import by_score
from accord.stages.online_judging import drawn as drawn_orders
from accord.stages.rl_prompts import answered
from accord.stages.setup import say
from accord.stages.tables import put


def write_comparisons(
    prompts: Mapping[str, Group], answers: Drawn, score: list[list[float]], files: Files, *, seed: int | None
) -> Json:
    """Writes comparisons.jsonl, rankings of each prompt's answers; counts of them.

    seed: draws the orders as Bradley-Terry judges with these rewards would; None: by score. Answers that were cut or
    are empty are not compared, as nobody would be shown them.
    """
    each = len(score[0])
    column = torch.tensor(score, dtype=torch.float64).flatten()
    judgements = by_score(column, each) if seed is None else drawn_orders(column, each, seed)
    rankings = list(_rankings(prompts, answers, judgements))
    if not rankings:
        what = f"of no prompt two of {each} answers came to an end and are not empty"
        raise InputError(what, where="comparison_samples", fix="give more --max_new_tokens, or comparisons of your own")
    put(files.comparisons, "".join(lines(rankings, "ranking")), with_folder=True)
    shown = sum(len(group.completions) for group in rankings)
    counts = {"rankings": len(rankings), "answers": shown, "left out": each * len(answers.id) - shown}
    how = "by score" if seed is None else "drawn by Bradley-Terry from their scores"
    say(f"comparisons: {len(rankings):,} rankings of {shown:,} answers, {how}; {counts['left out']:,} answers left out")
    return counts


def _rankings(prompts: Mapping[str, Group], answers: Drawn, judgements: list[Judgement]) -> Iterator[Group]:
    rows = zip(answers.id, answers.text, answers.ended, judgements, strict=True)
    for id, texts, ended, judgement in rows:
        places = [place for place, text in enumerate(texts) if ended[place] and text.strip()]
        if len(places) < 2 or judgement.ranks is None:
            continue
        own = [rank for place in places if (rank := judgement.ranks[place]) is not None]
        assert len(own) == len(places)  # scores keep nothing out
        ranks = tuple(1 + sum(other < rank for other in own) for rank in own)
        group = answered(prompts[id], [texts[place] for place in places])
        yield replace(group, judgements=(Judgement(ranks=ranks),))
