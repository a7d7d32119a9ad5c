"""The options of `accord online-dpo`: how many samples, who judges them, and what of them is compared."""

from typing import ClassVar, Literal

from pydantic import Field

from accord.stages.options import Options
from accord.stages.rl_options import RoundOptions


class OnlineRolloutOptions(RoundOptions):
    """A round of sampling: batch_size x num_mini_batches prompts, num_generations samples of each."""

    num_generations: int = Field(2, ge=2, le=4096, description="Samples of each prompt, which are held together.")
    num_epochs: int = Field(1, ge=1, le=1000, description="How often each round of samples is learnt from.")
    temperature: float = Field(
        1.0, gt=0, le=100, description="Of the sampling; the loss sees log-probabilities at temperature 1."
    )


class JudgeOptions(Options):
    """Who says which samples are better, and what becomes of it."""

    panel: ClassVar[str] = "Judging"
    judge: Literal["reward", "file"] = Field(
        "reward",
        description="Who orders the samples of a prompt: the sources of reward, or a person through files in the run "
        "folder, for which the run ends after each round and is resumed.",
    )
    pairs: Literal["best_worst", "all"] | None = Field(
        None,
        description="What a loss of pairs or labels takes of more than two samples: the best and the worst, or all of "
        "different rank; not given: best_worst.",
    )
    draw_ranks: bool = Field(
        False,
        description="Draw the order of the samples as judges would whose Bradley-Terry rewards the scores are, instead "
        "of ordering by score; with all pairs, sigmoid then ends in the optimum of rewards and KL.",
    )
    reference_each_round: bool = Field(
        False, description="Hold the policy to what it was as the round began (iterative DPO), not to the start."
    )
