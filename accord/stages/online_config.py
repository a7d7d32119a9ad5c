"""The config of `accord online-dpo`."""

from typing import ClassVar, Self

from pydantic import model_validator

from accord.data.take import Kind
from accord.stages.config import RlConfig, WriterConfig
from accord.stages.loss_options import LossOptions
from accord.stages.online_options import JudgeOptions, OnlineRolloutOptions
from accord.stages.options import Conflict, LengthOptions, Options
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.rl_options import EndOptions, PtxOptions, WatchOptions, check_room


class OnlineDpoConfig(WriterConfig):
    """`accord online-dpo`."""

    defaults: ClassVar = {"learning_rate": 1e-6, "warmup_steps": 0.1, "loss_type": "sigmoid", "reward": None}
    length: LengthOptions
    rollout: OnlineRolloutOptions
    judging: JudgeOptions
    preference: LossOptions
    reward_sources: RewardSourceOptions
    ends: EndOptions
    watching: WatchOptions
    ptx: PtxOptions

    @property
    def generations(self) -> int:
        """Samples of a prompt."""
        return self.rollout.num_generations

    @property
    def epochs(self) -> int:
        """How often a round is learnt from."""
        return self.rollout.num_epochs

    @property
    def by_people(self) -> bool:
        """Whether a person judges, through files."""
        return self.judging.judge == "file"

    @property
    def kind(self) -> Kind:
        """What the loss learns from."""
        from accord.stages.losses import chosen_loss  # here, not above: it imports torch, and help must not

        return chosen_loss(self.preference).kind

    @property
    def extremes(self) -> bool:
        """Whether only the best and the worst sample of a prompt are learnt from."""
        return self.kind != "rankings" and self.judging.pairs != "all" and self.generations > 2

    @model_validator(mode="after")
    def a_judge(self) -> Self:
        if not self.by_people:
            if self.reward_sources.reward is None:
                what = "required, and not given: it judges the samples"
                raise Conflict("reward", what, "give a source of rewards, or judge file to have a person judge")
            return self
        if self.judging.draw_ranks:
            raise Conflict("draw_ranks", "a person judges, and there are no scores to draw from", "leave it out")
        for options in (self.reward_sources, self.ends):
            if key := _changed(options):
                raise Conflict(key, "would not be used, as judge is file", "leave one of the two out")
        return self

    @model_validator(mode="after")
    def pairs_of_several(self) -> Self:
        pairs = self.judging.pairs
        if pairs is not None and self.generations == 2:
            raise Conflict("pairs", "two samples are one pair", "leave it out, or give more num_generations")
        if pairs is not None and self.kind == "rankings":
            raise Conflict("pairs", f"{self.preference.loss_type} takes rankings whole", "leave it out")
        return self

    @model_validator(mode="after")
    def one_reference(self) -> Self:
        from accord.stages.losses import chosen_loss

        if not self.judging.reference_each_round:
            return self
        if not chosen_loss(self.preference).needs_reference:
            what = f"not used, as {self.preference.loss_type} has no reference"
            raise Conflict("reference_each_round", what, "leave it out")
        if self.preference.reference is not None:
            what = "not used, as reference_each_round takes the policy itself"
            raise Conflict("reference", what, "leave one of the two out")
        return self

    @model_validator(mode="after")
    def room_for_a_prompt(self) -> Self:
        check_room(self.data.max_length, self.rollout.max_new_tokens)
        return self


SampledConfig = RlConfig | OnlineDpoConfig  # of stages that learn from samples


def _changed(options: Options) -> str | None:
    """The first option that is not what it is by default."""
    fields = type(options).model_fields.items()
    given = ((key, getattr(options, key)) for key, field in fields if getattr(options, key) != field.default)
    return next((key for key, value in given if value is not None), None)
