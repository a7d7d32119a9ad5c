"""The options of the run folder, and of what is written into it when."""

from typing import Annotated, ClassVar, Literal, Self

from annotated_types import Ge
from pydantic import Field, model_validator

from accord.stages.options import Conflict, Options, Threads

Steps = Annotated[int, Ge(1)] | Literal["epoch"]  # how often: every so many steps, or once an epoch
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow", "none"]


class RunOptions(Options):
    """The run folder, and what is written into it when."""

    panel: ClassVar[str] = "Run"
    output_dir: str = Field(title="DIR", description="The run folder: the trained model, its config, metrics, curves.")
    logging_steps: Steps = Field(
        10, title="INTEGER|epoch", description="Write metrics every so many steps, or once an epoch."
    )
    eval_steps: Steps | None = Field(
        None,
        title="INTEGER|epoch",
        description="Evaluate on the held-out data every so many steps, or once an epoch; not given: at the end only.",
    )
    save_steps: Steps | None = Field(
        500,
        title="INTEGER|epoch",
        description="Write a checkpoint every so many steps, or once an epoch; none: at the end only.",
    )
    save_total_limit: int | None = Field(
        2, ge=2, description="Checkpoints kept; the oldest goes when a new one is safe; none: all stay."
    )
    resume: bool | str = Field(
        False,
        title="[PATH]",
        description="Continue from the newest checkpoint in output_dir, or from this one; with none yet, start anew.",
    )
    allow_change: list[str] = Field(
        [],
        title="KEY[,KEY]",
        description="With resume: these options, or data for other data under the same name, may differ from those "
        "that the run began with; which did is kept in run.json.",
    )
    report_to: list[Tracker] = Field(
        ["tensorboard"],
        min_length=1,
        title="NAME[,NAME]",
        description="Where curves are shown besides metrics.jsonl and curves.png, several with commas.",
    )
    run_name: str | None = Field(
        None, title="NAME", description="The run's name in wandb, trackio, mlflow; not given: that of output_dir."
    )
    project: str | None = Field(
        None,
        title="NAME",
        description="Their project or experiment; not given: what WANDB_PROJECT, TRACKIO_PROJECT or "
        "MLFLOW_EXPERIMENT_NAME say, else accord.",
    )
    push_to_hub: str | None = Field(
        None,
        title="USER/NAME",
        description="Upload the trained model to this repository of the Hugging Face hub, made private if it is new.",
    )
    dry_run: bool = Field(False, description="Only say what would be trained: groups, tokens, steps, memory, time.")
    threads: Threads = None

    @model_validator(mode="after")
    def changes_of_something(self) -> Self:
        if self.allow_change and not self.resume:
            raise Conflict("allow_change", "only for a run that is resumed", "add --resume, or leave it out")
        return self

    @model_validator(mode="after")
    def none_alone(self) -> Self:
        if "none" in self.report_to and len(self.report_to) > 1:
            raise Conflict("report_to", "none together with trackers", "none alone, or only the trackers")
        return self


class SampleOptions(Options):
    """What the model is seen to write, before and after training."""

    panel: ClassVar[str] = "Run"
    samples: int = Field(4, ge=0, description="Prompts that the model answers before and after training; 0 = none.")
    sample_tokens: int = Field(64, ge=1, description="Longest such answer, in tokens.")
