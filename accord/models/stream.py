"""One sample, token by token as it comes."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch

from accord.data.encode import Ids
from accord.models.decoding import room_of
from accord.models.draw import WHOLE, Drawing, draw
from accord.models.logprobs import LanguageModel, resting
from accord.models.sample_rows import check_logp
from accord.models.stop_strings import StopStrings
from accord.models.streams import Streams
from accord.models.ways import way_of


def stream(
    model: LanguageModel,
    prompt: Ids,
    *,
    max_new_tokens: int,
    ends: Collection[int],
    seed: int,
    number: int = 0,
    drawing: Drawing = WHOLE,
    stop: StopStrings | None = None,
) -> Iterator[Ids]:
    """After each token the (T,) ids so far: those of the `number`-th sample of `accord.models.sample.sample`."""
    most = min(max_new_tokens, room_of(model.network, prompt))
    if most < 1:
        return
    device, ids = model.device, np.zeros(0, dtype=np.int32)
    streams = Streams(seed, [prompt], [number])
    with torch.no_grad(), resting(model.network), model.acting():
        ask, way = way_of(model, [prompt])
        with way.within(model.network):
            decoding, states = way.begin(ask, [prompt], torch.zeros(1, dtype=torch.long, device=device))
            while True:
                drawn = draw(ask.logits(states), torch.from_numpy(streams.next()).to(device), drawing)
                check_logp(drawn.logp.cpu().numpy())
                ids = np.append(ids, drawn.ids.cpu().numpy().astype(np.int32))
                yield ids
                if len(ids) == most or int(ids[-1]) in ends or (stop is not None and stop.found(ids)):
                    return
                states = decoding.step(drawn.ids)
