"""A judge behind an OpenAI-compatible server, in the place of a language model: it says what it is told to say."""

import re
from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from reward_service_double import Answer, Asked, Reply

from accord.evaluate.judges.asking import Asking, Patience
from accord.evaluate.judges.cache import ReplyCache
from accord.evaluate.judges.llm import LlmJudge
from accord.evaluate.judges.purse import Purse
from accord.evaluate.judges.server import ChatServer
from accord.evaluate.judges.template import template
from accord.evaluate.verdicts import Answer as Said
from accord.evaluate.verdicts import Matched

USAGE = (90, 10)  # tokens of each reply
ANSWERS = re.compile(r"<answer(?: of m| of M| of assistant [AB]| [A-Z])?>\n(.*?)\n</answer", re.DOTALL)


def says(text: str, first: Mapping[str, float] | None = None, usage: tuple[int, int] | None = USAGE) -> Reply:
    """first: the probability of each first token."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if first is not None:
        top = [{"token": token, "logprob": log(p), "bytes": None} for token, p in first.items()]
        choice["logprobs"] = {"content": [{"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}]}
    body: dict[str, Any] = {"object": "chat.completion", "choices": [choice]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Reply(body)


def shown(asked: Asked) -> list[str]:
    """The answers in the order in which a question shows them."""
    return ANSWERS.findall(asked["messages"][-1]["content"])


def prefers(score: Callable[[str], float], labels: Sequence[str] = ("m", "M")) -> Answer:
    """A judge whose reply is a label alone: of the answer with the greater score, of equal ones the first."""

    def answer(asked: Asked) -> Reply:
        first, second = shown(asked)
        return says(labels[score(second) > score(first)])

    return answer


def base(url: str) -> str:
    """A double's URL as a user gives a server's."""
    return url.removesuffix("/score") + "/v1"


def judge(url: str, *, name: str = "pairwise", cache: Path | None = None, **settings: Any) -> LlmJudge:
    """With no waiting between two tries. settings: of LlmJudge, Asking or its parts, by their names."""
    chosen = template(name)
    parameters = {"model": "jury", "temperature": 0.0, "max_tokens": chosen.header.max_tokens}
    asking = Asking(
        ChatServer(base(url), settings.pop("timeout", 5.0), settings.pop("token", None)),
        {**parameters, **settings.pop("parameters", {})},
        ReplyCache(cache),
        Purse(settings.pop("max_cost", None)),
        Patience(settings.pop("retries", 2), 0.0),
        settings.pop("workers", 1),
        settings.pop("say", lambda text: None),
    )
    return LlmJudge(chosen, asking, **settings)


def pairs(*texts: tuple[str, str], prompt: str = "What is it") -> list[Matched]:
    """Of each pair of answers a prompt of its own."""
    return [
        Matched(f"p{i}", f"{prompt} {i} ?", Said("new", first), Said("old", second))
        for i, (first, second) in enumerate(texts)
    ]
