"""The options of `accord winrate` where it has answers judged: whose answers, and by whom."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, model_validator

from accord.stages.options import Conflict, Options, Threads
from accord.stages.reward_source_options import FUNCTION

SERVED = "openai:"  # before the name of a model that a server has
PEOPLE = "file"  # in the place of a judge: people, who judge in files
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
OWN = ("model", "messages", "logprobs", "top_logprobs", "stream")  # of a request, what is not for the user to set
KINDS = (
    "a reward model or classifier (a directory or name), module:function, openai:MODEL with --base_url, or file for "
    "people, with --judge_dir"
)


class AnsweringOptions(Options):
    """Which prompts, and how models answer them."""

    panel: ClassVar[str] = "Answers"
    prompts: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="The prompts that models answer, in any format. Not needed where all answers are in files.",
    )
    temperature: float = Field(1.0, ge=0, le=100, description="Of the answers that are sampled; 0: the likeliest.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw from the fewest most probable tokens that together have this probability."
    )
    max_new_tokens: int = Field(256, ge=1, description="The most tokens of an answer; longer ones are cut.")
    max_length: int | None = Field(
        None,
        ge=2,
        description="Longest prompt and answer together, in tokens, of models whose config names no context, as T5's; "
        "not given: the model's context.",
    )
    answers: list[str] = Field(
        [],
        title="FILE,...",
        description="Write the answers to these files, AlpacaEval's outputs: those of each model, in their order.",
    )
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the computation; none: float32 on CPU, bf16 on GPU."
    )
    device: str | None = Field(None, title="DEVICE", description="cpu, cuda, cuda:1; not given: a GPU if there is one.")
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directory.")
    threads: Threads = None

    def levels(self) -> list[float]:
        """The temperatures that are sampled at."""
        return [self.temperature]

    @model_validator(mode="after")
    def drawn_from_what_is_left(self) -> Self:
        if self.top_p < 1 and 0 in self.levels():
            raise Conflict(
                "top_p", "temperature 0 takes the most probable token, which is never cut off", "leave it out"
            )
        return self


class AskingOptions(AnsweringOptions):
    """The same for one baseline, at several temperatures."""

    prompts: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="The prompts that models answer, in any format; of demonstrations the completions are what "
        "--against reference means. Not needed where both answers are in files.",
    )
    temperatures: list[float] = Field(
        [],
        title="NUMBERS",
        description="Several temperatures of --model, each with a win rate of its own, as 0,0.25,0.5,0.75,1; the "
        "baseline keeps --temperature.",
    )
    answers: list[str] = Field(
        [],
        title="FILE,...",
        description="Write the answers to these files, AlpacaEval's outputs: those of each --model, then of --against.",
    )

    def levels(self) -> list[float]:
        return self.temperatures or [self.temperature]

    @model_validator(mode="after")
    def one_kind_of_temperature(self) -> Self:
        if wrong := [one for one in self.temperatures if not 0 <= one <= 100]:
            raise Conflict("temperatures", f"{wrong[0]:g} is out of range", "each from 0 to 100")
        if len(set(self.temperatures)) < len(self.temperatures):
            raise Conflict("temperatures", "names one twice", "name each once")
        return self


class JudgeOptions(Options):
    """Who judges, and how a language model is asked."""

    panel: ClassVar[str] = "Judge"
    judge: str | None = Field(
        None, title="JUDGE", description=f"Who says which of two answers is better: {KINDS} (docs/judges.md)."
    )
    judge_dir: str | None = Field(
        None,
        title="DIR",
        description="Of file: the folder whose to_judge.jsonl has the pairs of answers, without names, and in whose "
        "folder judged what people said of them is saved.",
    )
    judge_label: str | None = Field(
        None, title="NAME", description="Of a classifier: the label whose log-odds are the score."
    )
    base_url: str | None = Field(
        None, title="URL", description="Where an OpenAI-compatible server is, as http://127.0.0.1:8000/v1."
    )
    judge_key: str | None = Field(
        None, title="VARIABLE", description="The environment variable that holds the key of the server."
    )
    template: str = Field(
        "pairwise",
        title="NAME|FILE",
        description="What the model is asked: pairwise, pairwise_reasoning, rating, rating_turns, ranking, or a file.",
    )
    orders: Literal["both", "random", "first"] = Field(
        "both",
        description="In which order two answers are shown: both, where only the same winner wins; one that is drawn "
        "for each prompt and pair of models; or always --model first.",
    )
    judge_temperature: float = Field(0.0, ge=0, le=100, description="Of the judge's replies.")
    judge_tokens: int | None = Field(None, ge=1, description="The most tokens of a reply; not given: the template's.")
    judge_parameters: dict[str, JsonValue] = Field(
        {}, title="JSON", description="Further parameters of the request; null takes one out, as max_tokens."
    )
    workers: int = Field(8, ge=1, le=1000, description="Questions at the same time.")
    max_cost: int | None = Field(
        None, ge=1, title="TOKENS", description="Ask no more once so many tokens were paid for, prompts and replies."
    )
    judge_timeout: float = Field(120.0, gt=0, le=86_400, description="Seconds that one question may take.")
    judge_retries: int = Field(4, ge=0, le=1000, description="How often a question that got no answer is asked again.")
    judge_backoff: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="Seconds before the first new try; each further one waits twice as long, 60 at most, or as long as "
        "the server says.",
    )
    judge_cache: str = Field(
        "auto",
        title="FILE.jsonl",
        description="Where replies are kept, so that none is paid for twice; auto: judgements.jsonl in ACCORD_CACHE, "
        "else in ~/.cache/accord; none: nowhere.",
    )
    verdicts: str | None = Field(
        None,
        title="FILE.jsonl",
        description="Write every verdict with both answers, as AlpacaEval's annotations, which accord winrate and "
        "accord leaderboard read.",
    )

    @property
    def served(self) -> str | None:
        """The model that a server has, if that is the judge."""
        return self.judge[len(SERVED) :] if self.judge is not None and self.judge.startswith(SERVED) else None

    @property
    def is_people(self) -> bool:
        return self.judge == PEOPLE

    @property
    def is_function(self) -> bool:
        return self.judge is not None and self.served is None and FUNCTION.fullmatch(self.judge) is not None

    @model_validator(mode="after")
    def of_people(self) -> Self:
        if not self.is_people:
            if self.judge is not None and self.judge_dir is not None:
                raise Conflict("judge_dir", "belongs to people, and judge names another", f"leave it out, or {PEOPLE}")
            return self
        if self.judge_dir is None:
            fix = "give a folder for what they are asked and what they say"
            raise Conflict("judge_dir", "not given, and people are to judge", fix)
        if others := [key for key in changed_in(self) if key not in ("judge", "verdicts", "judge_dir")]:
            raise Conflict(others[0], "belongs to another kind of judge", "leave it out")
        return self

    @model_validator(mode="after")
    def of_this_kind_of_judge(self) -> Self:
        changed = [key for key in changed_in(self) if key not in ("judge", "verdicts")]
        if self.judge is None or self.is_people:
            return self
        if self.served is None:
            if self.judge.lower().startswith(("http://", "https://")):
                raise Conflict("judge", "a URL names no model", "openai:MODEL, and --base_url URL")
            if others := [key for key in changed if key != "judge_label"]:
                raise Conflict(
                    others[0], "belongs to a server, and judge names none", f"leave it out, or {SERVED}MODEL"
                )
            if self.judge_label is not None and self.is_function:
                raise Conflict("judge_label", "a function has no labels", "leave it out")
            return self
        if not self.served:
            raise Conflict("judge", "names no model", f"{SERVED}MODEL, as the server calls it")
        if self.judge_label is not None:
            raise Conflict("judge_label", "belongs to a classifier", "leave it out")
        return self

    @model_validator(mode="after")
    def a_server_to_ask(self) -> Self:
        if self.served and self.base_url is None:
            raise Conflict("base_url", "not given, and nothing is asked on the network by itself", "give the server's")
        if self.base_url is not None:
            _check_url(self.base_url)
        if self.judge_key is not None and not VARIABLE.fullmatch(self.judge_key):
            raise Conflict("judge_key", "no name of an environment variable", "name the one that holds the key")
        if own := sorted(set(self.judge_parameters) & set(OWN)):
            raise Conflict("judge_parameters", f"{own[0]} is set by the judge itself", "leave it out")
        return self


def changed_in(options: Options) -> list[str]:
    """The options of a group that are not as they are by default."""
    fields: dict[str, Any] = type(options).model_fields
    return [key for key, field in fields.items() if getattr(options, key) != field.get_default()]


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    wrong = not host or not url.isascii() or any(character.isspace() for character in url)
    if wrong or not url.lower().startswith(("http://", "https://")) or parts.query or parts.fragment:
        raise Conflict("base_url", f"{url!r} is no URL of a server", "as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise Conflict("base_url", "holds a password", "name an environment variable that holds a key: judge_key")
