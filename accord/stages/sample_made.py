"""Samples of prompts as texts: drawn or searched, and scored where there are rewards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b

from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import TokenGroup
from accord.data.encode import Ids
from accord.models.beam import beam_search
from accord.models.draw import Drawing
from accord.models.logprobs import LanguageModel
from accord.models.sample import Sampled, ends_of, sample
from accord.models.stop_strings import StopStrings
from accord.records import Group
from accord.stages.config import SampleConfig
from accord.stages.reward_sources import Rewards
from accord.stages.rl_prompts import answered, sampled_text
from accord.stages.sample_kept import One
from accord.stages.sample_options import DrawingOptions

Advance = Callable[[int, int], None]


def drawing_of(options: DrawingOptions) -> Drawing:
    return Drawing(options.temperature, options.top_k, options.top_p, options.min_p)


def stop_of(options: DrawingOptions, tokenizer: PreTrainedTokenizerBase) -> StopStrings | None:
    return StopStrings(tokenizer, tuple(options.stop)) if options.stop else None


class Sampler:
    """Makes the samples of a command, window by window. A prompt that comes again gets others than before."""

    def __init__(
        self, config: SampleConfig, model: LanguageModel, tokenizer: PreTrainedTokenizerBase, rewards: Rewards | None
    ) -> None:
        self.config, self.model, self.tokenizer, self.rewards = config, model, tokenizer, rewards
        self.ends, self.stop = ends_of(model.network, tokenizer), stop_of(config.drawing, tokenizer)
        self._made: Counter[bytes] = Counter()

    def samples(self, tokens: Sequence[TokenGroup], groups: Sequence[Group], advance: Advance) -> list[list[One]]:
        """Of each prompt n samples. AccordError: as sampling and scoring."""
        prompts = [group.prompt for group in tokens]
        made = self._searched(prompts, advance) if self.config.samples.beams > 1 else self._drawn(prompts, advance)
        texts = [
            [sampled_text(self.tokenizer, prompt, one.ids, self.ends, self.stop) for one in samples]
            for prompt, samples in zip(prompts, made, strict=True)
        ]
        scores = iter(self._scores([answered(group, said) for group, said in zip(groups, texts, strict=True)]))
        return [
            [_one(text, one, next(scores, None)) for text, one in zip(said, samples, strict=True)]
            for said, samples in zip(texts, made, strict=True)
        ]

    def _drawn(self, prompts: Sequence[Ids], advance: Advance) -> list[list[Sampled]]:
        drawing, samples = self.config.drawing, self.config.samples
        keys = [blake2b(prompt.tobytes(), digest_size=16).digest() for prompt in prompts]
        first = [self._made[key] for key in keys]
        self._made.update({key: samples.n * count for key, count in Counter(keys).items()})
        return sample(
            self.model,
            prompts,
            count=samples.n,
            max_new_tokens=drawing.max_new_tokens,
            ends=self.ends,
            seed=drawing.seed,
            drawing=drawing_of(drawing),
            stop=self.stop,
            max_rows=samples.sample_rows,
            first=first,
            advance=advance,
        )

    def _searched(self, prompts: Sequence[Ids], advance: Advance) -> list[list[Sampled]]:
        options, made = self.config.samples, []
        for prompt in prompts:
            found = beam_search(
                self.model,
                prompt,
                beams=options.beams,
                max_new_tokens=self.config.drawing.max_new_tokens,
                ends=self.ends,
                length_penalty=options.length_penalty,
                stop=self.stop,
            )
            made.append([one.sample for one in found[: options.n]])
            advance(options.n, sum(len(one.ids) for one in made[-1]))
        return made

    def _scores(self, texts: Sequence[Group]) -> list[float]:
        return [] if self.rewards is None else self.rewards.of(texts).total.tolist()


def _one(text: str, made: Sampled, score: float | None) -> One:
    return One(text, made.ids, float(made.logp.sum(dtype=float)), made.ended, score)
