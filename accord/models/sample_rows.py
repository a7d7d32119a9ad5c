"""Samples that are made together: the rows of one batch, which grows smaller as they come to their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accord.data.encode import Ids
from accord.errors import Diverged
from accord.models.decoding import Way
from accord.models.draw import Drawing, Drawn, draw
from accord.models.next_token import Reader
from accord.models.stop_strings import StopStrings
from accord.models.streams import Streams
from accord.models.written import Lines, Sampled, Written

LEAVE = 8  # rows at their end leave the batch when they are one in so many
DRAWN = 1 << 23  # numbers: logits that are made and drawn from at a time


class Wanted(NamedTuple):
    """A sample to be made: of which prompt, the how manieth of it, of at most how many tokens."""

    prompt: Ids
    number: int
    most: int


class Rules(NamedTuple):
    """What all samples of a call have in common."""

    ends: npt.NDArray[np.int64]
    seed: int
    drawing: Drawing
    stop: StopStrings | None
    advance: Callable[[int, int], None]


def together(ask: Reader, way: Way, wanted: Sequence[Wanted], rules: Rules) -> list[Sampled]:
    """These samples. Those of one prompt stand one after the other."""
    device, starts = ask.network.device, _starts(wanted)
    of = torch.from_numpy(np.repeat(np.arange(len(starts)), np.diff([*starts, len(wanted)]))).to(device)
    decoding, states = way.begin(ask, [wanted[start].prompt for start in starts], of)
    streams = Streams(rules.seed, [one.prompt for one in wanted], [one.number for one in wanted])
    written, most = Written(len(wanted)), np.array([one.most for one in wanted])
    lines, running = np.arange(len(wanted)), np.ones(len(wanted), dtype=bool)  # of each row of the batch
    while True:
        drawn = _draw(ask, states, torch.from_numpy(streams.next()).to(device), rules.drawing)
        tokens = _write(written, lines, running, drawn, rules)
        out_of_room = written.length[lines] >= most[lines]
        before = int(running.sum())
        running &= ~written.ended[lines] & ~out_of_room
        rules.advance(before - int(running.sum()), before)
        if not running.any():
            return written.samples()
        # A row that stays beyond its end is of no consequence, unless its place lies outside of the model's context.
        if not running.all() and (LEAVE * int((~running).sum()) >= len(lines) or bool(out_of_room.any())):
            stay = np.flatnonzero(running)
            rows = torch.from_numpy(stay).to(device)
            decoding.keep(rows)
            streams.keep(stay)
            lines, running, tokens = lines[stay], running[stay], tokens[rows]
        states = decoding.step(tokens)


def _starts(wanted: Sequence[Wanted]) -> list[int]:
    """Where the samples of another prompt begin."""
    return [i for i in range(len(wanted)) if not i or not np.array_equal(wanted[i].prompt, wanted[i - 1].prompt)]


def _draw(ask: Reader, states: Tensor, uniform: Tensor, drawing: Drawing) -> Drawn:
    """(N, D), (N,) -> a token of each row. Never the logits of all rows at once, where they are many."""
    rows = max(1, DRAWN // ask.words)
    parts = zip(states.split(rows), uniform.split(rows), strict=True)
    ids, logp = zip(*(draw(ask.logits(one), numbers, drawing) for one, numbers in parts), strict=True)
    return Drawn(torch.cat(ids), torch.cat(logp))


def _write(written: Written, lines: Lines, running: npt.NDArray[np.bool_], drawn: Drawn, rules: Rules) -> Tensor:
    """Adds the tokens of the rows that are running, and notes which of them ended by that."""
    ids, logp = drawn.ids.cpu().numpy(), drawn.logp.cpu().numpy()
    check_logp(logp)
    live = lines[running]
    written.add(live, ids[running], logp[running])
    written.ended[live] |= np.isin(ids[running], rules.ends)
    if rules.stop is not None:
        for line in live:
            written.ended[line] |= rules.stop.found(written.ids[line, : written.length[line]])
    return drawn.ids


def check_logp(logp: npt.NDArray[np.floating]) -> None:
    """Diverged where the log-probability of what was drawn is no number."""
    if np.isnan(logp).any():
        raise Diverged("the model's logits are not finite", where="sampling", fix="take an earlier checkpoint")
