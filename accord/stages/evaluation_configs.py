"""The configs of the commands that compare and examine models."""

from typing import Self

from pydantic import model_validator

from accord.stages.agreement_options import AgreementOptions, OpinionOptions
from accord.stages.command_options import TableOptions
from accord.stages.compare_options import ComparedFiguresOptions, EntrantOptions
from accord.stages.frontier_options import FrontierFiguresOptions, FrontierPromptOptions, PolicyPlanOptions
from accord.stages.harness_options import HarnessOptions
from accord.stages.judge_options import AnsweringOptions, AskingOptions, JudgeOptions, changed_in
from accord.stages.options import Config, Conflict, ModelOptions
from accord.stages.output_options import PicturedOutput, ReportedOutput
from accord.stages.perplexity_options import PerplexityOptions, SeveralModelsOptions, TextOptions
from accord.stages.report_options import PageOptions
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.safety_options import AnswerOptions, ComparisonOptions, PropertyOptions
from accord.stages.sample_options import DrawingOptions
from accord.stages.scaling_options import LawOptions, ScaledRunsOptions
from accord.stages.theory_options import TheoryOptions
from accord.stages.winrate_options import ComparedOptions, WinRateOptions


class WinrateConfig(Config):
    """`accord winrate`: verdicts that are in files, or answers that a judge is to compare."""

    compared: ComparedOptions
    win_rate: WinRateOptions
    asking: AskingOptions
    judging: JudgeOptions
    output: ReportedOutput

    @model_validator(mode="after")
    def judged_or_read(self) -> Self:
        changed = [*changed_in(self.asking), *changed_in(self.judging)]
        if self.judging.judge is None:
            if changed:
                raise Conflict(changed[0], "would not be used, as no judge is given", "give judge too, or leave it out")
            return self
        if self.compared.data:
            raise Conflict("data", "has its verdicts, and a judge is given", "give one of the two")
        if self.compared.over is not None:
            raise Conflict("over", "a column of data, and a judge is given", "give temperatures, or leave it out")
        if self.win_rate.several != "all":
            raise Conflict("several", "a judge gives each pair one verdict", "leave it out")
        if self.asking.temperatures and self.compared.by != "none":
            raise Conflict("by", "not together with temperatures", "give one of the two")
        return self


JUDGED = ("length_control", "difficulty", "rounds")  # figures of accord compare that verdicts are needed for


class CompareConfig(Config):
    """`accord compare`."""

    entrants: EntrantOptions
    asking: AnsweringOptions
    judging: JudgeOptions
    figures: ComparedFiguresOptions
    output: PicturedOutput

    @model_validator(mode="after")
    def of_use(self) -> Self:
        if self.judging.judge is None:
            judged = [key for key in changed_in(self.figures) if key in JUDGED]
            if changed := [*changed_in(self.judging), *judged]:
                raise Conflict(changed[0], "would not be used, as no judge is given", "give judge too, or leave it out")
        if self.entrants.reference is not None and not self.drawn_from_all:
            what = "the KL is that of models that are drawn from as they are, and temperature is 0 or top_p below 1"
            raise Conflict("reference", what, "leave it out, or sample otherwise")
        return self

    @property
    def drawn_from_all(self) -> bool:
        """Whether an answer is drawn from all that the model could say, so that KL can be estimated from it."""
        return self.asking.temperature > 0 and self.asking.top_p == 1


class AgreementConfig(Config):
    """`accord agreement`."""

    opinions: OpinionOptions
    agreement: AgreementOptions
    output: PicturedOutput


class SafetyConfig(Config):
    """`accord safety`."""

    properties: PropertyOptions
    comparison: ComparisonOptions
    answering: AnswerOptions
    drawing: DrawingOptions
    output: PicturedOutput


class PerplexityConfig(Config):
    """`accord perplexity`."""

    model: SeveralModelsOptions
    data: TextOptions
    perplexity: PerplexityOptions


class ScalingConfig(Config):
    """`accord scaling`."""

    data: ScaledRunsOptions
    law: LawOptions


class HarnessConfig(Config):
    """`accord harness`."""

    model: ModelOptions
    harness: HarnessOptions


class TheoryConfig(Config):
    """`accord theory`."""

    theory: TheoryOptions
    output: PicturedOutput


class ReportConfig(Config):
    """`accord report`."""

    report: PageOptions


class FrontierConfig(Config):
    """`accord frontier`."""

    model: ModelOptions
    reward_sources: RewardSourceOptions
    prompts: FrontierPromptOptions
    plan: PolicyPlanOptions
    figures: FrontierFiguresOptions
    output: TableOptions
