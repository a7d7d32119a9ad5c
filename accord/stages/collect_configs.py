"""The configs of `accord collect ...`: the labelling site and its database."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.command_options import TableOptions
from accord.stages.options import Config, Conflict, Data, ImplicitPrompt, OnBadRow, Options, Seed, Split


class DatabaseOptions(Options):
    """Which labelling database."""

    panel: ClassVar[str] = "Database"
    db: str = Field(
        "sqlite:///prefs.db",
        title="URL",
        description="sqlite:///prefs.db, a path to such a file, or postgresql://user@host/database for teams.",
    )


class ProjectOptions(Options):
    """Which project of the database."""

    panel: ClassVar[str] = "Project"
    project: str | None = Field(None, title="NAME", description="The project; not given: the only one there is.")


class NewProjectOptions(Options):
    """The project that groups are imported to, made where it is not there yet."""

    panel: ClassVar[str] = "Project"
    project: str | None = Field(
        None, title="NAME", description="The project; made if it is not there. Not given: named after the file."
    )
    layout: Literal["ranking", "pair", "rating", "thumbs", "demonstration"] | None = Field(
        None, description="Of a new project: what annotators do; not given: ranking."
    )
    overlap: int | None = Field(
        None, ge=1, le=100, description="Of a new project: judgements wanted of each group; not given: 1."
    )
    settings: str | None = Field(
        None, title="FILE.yaml", description="Of a new project: all that can be set (docs/collect.md), in a file."
    )


class ImportedOptions(Options):
    """What is imported, and what becomes of judgements that it holds."""

    panel: ClassVar[str] = "Import"
    data: Data
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    implicit_prompt: ImplicitPrompt = False
    prompt_field: str | None = Field(
        None, title="NAME", description="Of an export of Argilla or Label Studio: the field that holds the prompt."
    )
    output_fields: list[str] = Field(
        [], title="NAMES", description="Of such an export: the fields that hold the outputs, in their order."
    )
    label_questions: list[str] = Field(
        [], title="NAMES", description="Of such an export: questions whose answers say what an output is, not a note."
    )
    judgements: Literal["keep", "gold", "drop"] | None = Field(
        None,
        description="Judgements in the file: keep those of named annotators as labels, take the first as the known "
        "answer (gold), or drop them; not given: keep where annotators are named, else drop.",
    )
    sensitive: bool = Field(False, description="Mark the groups as sensitive: their outputs are blurred at first.")
    scores: bool = Field(
        False, description="The rows are {id, score}: how uncertain groups are that are there (for choice: uncertain)."
    )


class ServeOptions(Options):
    """Where the site is served."""

    panel: ClassVar[str] = "Server"
    host: str = Field("127.0.0.1", title="ADDRESS", description="The address to listen at; 0.0.0.0 for all.")
    port: int = Field(8080, ge=0, le=65_535, description="The port; 0 for any that is free.")
    workers: int = Field(1, ge=1, le=64, description="Processes; more than one with PostgreSQL only.")
    origin: str | None = Field(
        None,
        title="URL",
        description="What people type, as https://label.example.org; not given: http(s)://host:port.",
    )
    certfile: str | None = Field(None, title="FILE", description="A TLS certificate, to serve https.")
    keyfile: str | None = Field(None, title="FILE", description="Its key.")
    behind_proxy: bool = Field(
        False, description="A proxy on this machine speaks https, and tells who asks (X-Forwarded-For)."
    )
    upload_mb: int = Field(200, ge=1, le=10_000, description="The largest file that can be uploaded, in megabytes.")
    open: bool = Field(False, description="Open the site in a browser.")

    @model_validator(mode="after")
    def both_or_none(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            lacks = "keyfile" if self.keyfile is None else "certfile"
            raise Conflict(lacks, "missing, and the other one is given", "give both")
        return self


class AccountOptions(Options):
    """An account, or an invitation to make one."""

    panel: ClassVar[str] = "Account"
    name: str | None = Field(None, title="NAME", description="The account; not given: all are listed.")
    role: Literal["admin", "annotator", "viewer"] | None = Field(
        None, description="Make the account, or give it this role: admins may all, viewers see numbers."
    )
    password_file: str | None = Field(
        None, title="FILE", description="Its first line is the password; not given: asked for on the terminal."
    )
    reset: bool = Field(False, description="Give an account that is there a new password.")
    deactivate: bool = Field(False, description="Nobody can log in with it any more; what it said stays.")
    activate: bool = Field(False, description="Take that back.")
    invite: Literal["admin", "annotator", "viewer"] | None = Field(
        None, description="Print a link that makes one account of this role, once, within a week."
    )

    @model_validator(mode="after")
    def one_thing(self) -> Self:
        asked = [key for key in ("reset", "deactivate", "activate") if getattr(self, key)]
        if self.role is not None:
            asked.append("role")
        if len(asked) > 1:
            raise Conflict(asked[0], f"not together with {asked[1]}", "give one of them")
        if self.invite is not None and (self.name is not None or asked):
            raise Conflict("invite", "who follows the link chooses a name", "leave the other options out")
        if asked and self.name is None:
            raise Conflict("name", f"missing, and {asked[0]} is given", "name the account")
        return self


class ExportedOptions(Options):
    """What is exported."""

    panel: ClassVar[str] = "Export"
    output: str = Field(title="FILE", description="Where to: a name ending in .jsonl, or .csv for tables.")
    kind: Literal["groups", "pairs", "demonstrations", "csv", "csv_pairs"] | None = Field(
        None,
        description="groups: everything that was said of each, which can be imported again; pairs: comparisons with "
        "their weight; demonstrations: for sft; csv: a table of judgements; csv_pairs: the pairs as a table. Not "
        "given: groups, or csv where the name ends so.",
    )
    take: Literal["all", "adjudicated", "majority", "mean_rank", "dawid_skene"] = Field(
        "all",
        description="Whose word counts: all judgements; where an admin settled a group, only that; or one consensus a "
        "group, by votes on pairs, by mean rank, or by Dawid and Skene's model of annotators.",
    )
    ties: Literal["drop", "both"] = Field(
        "drop", description="Pairs of equals: left out, or written in both directions at half the weight."
    )
    models: bool = Field(False, description="Name the models in pairs, too; groups always name them.")

    @model_validator(mode="after")
    def as_it_is_called(self) -> Self:
        wanted = ".csv" if self.chosen.startswith("csv") else ".jsonl"
        if not self.output.lower().endswith(wanted):
            raise Conflict("output", f"{self.output!r} is no name for {self.chosen}", f"a name ending in {wanted}")
        for key, default, kinds in (
            ("ties", "drop", ("pairs", "csv_pairs")),
            ("models", False, ("pairs", "csv_pairs")),
        ):
            if getattr(self, key) != default and self.chosen not in kinds:
                raise Conflict(key, f"it is for {' and '.join(kinds)}", "leave it out")
        return self

    @property
    def chosen(self) -> Literal["groups", "pairs", "demonstrations", "csv", "csv_pairs"]:
        """The kind, also where it is not given."""
        return self.kind or ("csv" if self.output.lower().endswith(".csv") else "groups")


class DemoSiteOptions(Options):
    """The filled example."""

    panel: ClassVar[str] = "Demo"
    host: str = Field("127.0.0.1", title="ADDRESS", description="The address to listen at.")
    port: int = Field(8080, ge=0, le=65_535, description="The port; 0 for any that is free.")
    directory: str | None = Field(
        None, title="DIR", description="Keep the example's database here; not given: it is gone afterwards."
    )
    open: bool = Field(True, description="Open it in a browser, logged in.")


class SimulatedOptions(Options):
    """Annotators that are no people."""

    panel: ClassVar[str] = "Simulation"
    annotators: int = Field(20, ge=1, le=1_000, description="How many, all at once.")
    noise: float = Field(1.0, ge=0, le=100, description="Scale of the noise (Gumbel, in logits) in what one sees.")
    tie_width: float = Field(0.3, ge=0, le=100, description="Outputs that seem closer than this are called equal.")
    position_bias: float = Field(0.0, ge=-100, le=100, description="How much better the output shown first seems.")
    skip_rate: float = Field(0.02, ge=0, le=1, description="Share of pages that are skipped.")
    double_click_rate: float = Field(0.1, ge=0, le=1, description="Share of submissions that are sent twice.")
    lose_connection_rate: float = Field(0.05, ge=0, le=1, description="Share whose answer is lost, and is sent again.")
    most: int | None = Field(None, ge=1, description="Pages of one annotator; not given: until nothing is left.")
    seed: Seed = 0


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class StatusOptions(TableOptions):
        """How a labelling project stands."""

        verify: bool = Field(False, description="Also check the chain of the event log, row by row.")


class CollectInitConfig(Config):
    """`accord collect init`."""

    database: DatabaseOptions


class CollectServeConfig(Config):
    """`accord collect serve`."""

    database: DatabaseOptions
    serve: ServeOptions


class CollectImportConfig(Config):
    """`accord collect import`."""

    database: DatabaseOptions
    imported: ImportedOptions
    project: NewProjectOptions

    @model_validator(mode="after")
    def scores_alone(self) -> Self:
        about = self.project
        if self.imported.scores:
            others = [key for key in ("prompt_field", "output_fields", "judgements") if getattr(self.imported, key)]
            others += [key for key in ("layout", "overlap", "settings") if getattr(about, key) is not None]
            if others:
                raise Conflict(others[0], "not together with scores", "give one of the two")
        if about.settings is not None and (about.layout is not None or about.overlap is not None):
            raise Conflict("settings", "not together with layout or overlap", "write them into the file")
        return self


class CollectExportConfig(Config):
    """`accord collect export`."""

    database: DatabaseOptions
    project: ProjectOptions
    exported: ExportedOptions


class CollectUserConfig(Config):
    """`accord collect user`."""

    database: DatabaseOptions
    account: AccountOptions
    project: ProjectOptions


class CollectStatusConfig(Config):
    """`accord collect status`."""

    database: DatabaseOptions
    project: ProjectOptions
    output: StatusOptions


class CollectDemoConfig(Config):
    """`accord collect demo`."""

    demo: DemoSiteOptions


class CollectSimulateConfig(Config):
    """`accord collect simulate`."""

    database: DatabaseOptions
    project: ProjectOptions
    simulation: SimulatedOptions
    output: TableOptions
