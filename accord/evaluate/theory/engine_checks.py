"""The engine and the sampler on completions that can be counted: layouts against stock, sums of 1, frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from accord.data.batches import Layout
from accord.evaluate.theory.ends import Meant, measured
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.frequencies import LEAST, chi_square
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.spoken import Spoken, counted, spoken_of
from accord.evaluate.theory.world import World, logits_of
from accord.models.layout import stock_logprobs
from accord.models.logprobs import LanguageModel
from accord.models.sample import Drawing, sample

KIND = "the engine"
LAYOUTS: tuple[Layout, ...] = ("tree", "cache", "rows")
ROUNDING = 2e-5  # nats of a whole completion, float32
SAMPLES = 20_000
DRAWINGS: Mapping[str, Drawing] = {
    "temperature 1": Drawing(),
    "temperature 0.6": Drawing(0.6),
    "top_k 2": Drawing(top_k=2),
    "top_p 0.8": Drawing(top_p=0.8),
    "min_p 0.3": Drawing(min_p=0.3),
}


def tasks(worlds: Sequence[World]) -> list[Task]:
    made = []
    for world in worlds:
        if world.trained is not None:
            spoken = spoken_of(world)
            made += [Task(f"layouts, {world.name}", partial(_layouts, world, spoken))]
            made += [
                Task(f"sampler, {name}", partial(_sampled, world, spoken, name, drawing))
                for name, drawing in DRAWINGS.items()
            ]
    return made


def _layouts(world: World, spoken: Spoken) -> list[Found]:
    """Each against stock transformers, and all completions together against 1."""
    stock = stock_sums(spoken)
    rows = []
    kinds: list[tuple[Layout, str]] = [(layout, "gathered") for layout in LAYOUTS]
    for layout, head in [*kinds, ("rows", "stock")]:
        model = LanguageModel(spoken.model.network, layout, head)  # type: ignore[arg-type]
        found = counted(spoken._replace(model=model))
        off = float((found - stock).abs().max())
        total = float((found.exp().sum(-1) - 1).abs().max())
        note = f"off stock by {off:.0e} nats at most; all completions sum to 1 within {total:.0e}"
        name = f"log-probabilities, {layout}" + (", stock's logits" if head == "stock" else "")
        claim = "stock's, and sum to 1"
        rows.append(measured(world, Meant(name, KIND, claim, note=note), off < ROUNDING and total < ROUNDING))
    return rows


def stock_sums(spoken: Spoken) -> Tensor:
    """(G, S) by stock transformers, one unpadded row a completion."""
    rows = []
    for group in spoken.groups:
        tokens = stock_logprobs(spoken.model, group).double().cpu()
        parts = tokens.split([len(one.ids) for one in group.completions])
        rows.append(torch.stack([part.sum() for part in parts]))
    return torch.stack(rows)


def _sampled(world: World, spoken: Spoken, name: str, drawing: Drawing) -> list[Found]:
    """The first prompt's samples, counted by completion."""
    made = came(spoken, 0, SAMPLES, drawing)
    found = chi_square(made, drawn_by(world, counted(spoken), drawing)[0].exp())
    note = f"{int((made > 0).sum())} of {len(made)} completions came in {SAMPLES:,}: {found}"
    claim = "as often as probable"
    return [measured(world, Meant(f"samples, {name}", KIND, claim, note=note), found.p > LEAST)]


def came(spoken: Spoken, prompt: int, count: int, drawing: Drawing, *, seed: int = 0) -> Tensor:
    """(S,) how often the sampler wrote each completion."""
    (samples,) = sample(
        spoken.model,
        [spoken.prompts[prompt]],
        count=count,
        max_new_tokens=spoken.longest,
        ends={spoken.end},
        seed=seed,
        drawing=drawing,
        max_rows=4096,
    )
    number = spoken.number()
    return torch.bincount(
        torch.tensor([number[tuple(one.ids.tolist())] for one in samples]), minlength=len(spoken.completions)
    )


def drawn_by(world: World, policy: Tensor, drawing: Drawing) -> Tensor:
    """(G, S) log-probabilities -> those of a drawing: each next token's tempered, cut, and made to sum to 1 again.

    Word by word, in plain numbers: nothing is shared with the sampler's own cuts.
    """
    p = (logits_of(world, policy) / drawing.temperature).softmax(-1)
    place = p.argsort(dim=-1, descending=True, stable=True).argsort(-1)
    if drawing.top_k:
        p = torch.where(place < drawing.top_k, p, 0.0)
    if drawing.top_p < 1:
        ahead = torch.stack(
            [torch.where(place < place[..., v : v + 1], p, 0.0).sum(-1) for v in range(p.shape[-1])], -1
        )
        p = torch.where(ahead < drawing.top_p * p.sum(-1, keepdim=True), p, 0.0)
    if drawing.min_p:
        p = torch.where(p >= drawing.min_p * p.amax(-1, keepdim=True), p, 0.0)
    logits = (p / p.sum(-1, keepdim=True)).log()
    tokens = torch.where(world.mask, logits[:, world.place, world.tokens], 0.0)
    return tokens.sum(-1)
