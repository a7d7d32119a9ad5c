"""How a run samples, by its options."""

from __future__ import annotations

from accord.models.sample import ends_of
from accord.models.stop_strings import StopStrings
from accord.stages.online_config import SampledConfig
from accord.stages.rl_rollouts import Sampling
from accord.stages.session import Begun


def sampling_of(config: SampledConfig, begun: Begun) -> Sampling:
    options, tokenizer = config.rollout, begun.tokenizer
    return Sampling(
        config.generations,
        options.max_new_tokens,
        options.temperature,
        ends_of(begun.model.network, tokenizer),
        StopStrings(tokenizer, tuple(options.stop)) if options.stop else None,
        options.sample_rows,
        config.train.seed,
    )
