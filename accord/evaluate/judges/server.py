"""One question to an OpenAI-compatible server: `POST {base_url}/chat/completions`, and what it replies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accord.evaluate.judges.replies import Reply, Usage
from accord.evaluate.judges.template import Messages
from accord.stages.http_post import NoAnswer, post

LARGEST = 2**24  # bytes of an answer
TOP = 20  # likeliest first tokens whose log-probabilities are asked for: the most that OpenAI and vLLM give
CHARACTERS = 4  # of a token, where the server does not count


@dataclass(frozen=True)
class ChatServer:
    """Where, and how long one request may take, in seconds. token: sent as Authorization: Bearer."""

    base_url: str
    timeout: float = 60.0
    token: str | None = None

    @property
    def url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def ask(self, messages: Messages, parameters: Mapping[str, Any]) -> Reply:
        """NoAnswer: none, or no such JSON as the protocol has."""
        body = json.dumps({**parameters, "messages": list(messages)}).encode()
        found = post(self.url, body, timeout=self.timeout, token=self.token, largest=LARGEST)
        try:
            value: Any = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise NoAnswer(f"the answer is no JSON ({error})", status=200) from error
        return _reply(value, messages)


def _reply(value: Any, messages: Messages) -> Reply:
    """`choices[0].message.content`, `choices[0].logprobs.content[0].top_logprobs`, `usage`."""
    try:
        choice = value["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise NoAnswer("the answer has no choices[0].message.content", status=200) from error
    if text is None:  # of a reply that is all reasoning, or cut before its first word
        text = ""
    if not isinstance(text, str):
        raise NoAnswer("choices[0].message.content of the answer is no text", status=200)
    return Reply(text, _first(choice), _usage(value, text, messages))


def _first(choice: Any) -> dict[str, float] | None:
    """Of the likeliest first tokens each text with its log-probability, those of one text added up; None: not given."""
    try:
        listed = [(one["token"], one["logprob"]) for one in choice["logprobs"]["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError):
        return None
    found: dict[str, float] = {}
    for token, logp in listed:
        if not isinstance(token, str) or isinstance(logp, bool) or not isinstance(logp, int | float):
            return None
        if logp <= 0:  # what is no log-probability, as NaN, is left out
            found[token] = math.log(math.exp(found[token]) + math.exp(logp)) if token in found else float(logp)
    return found or None


def _usage(value: Any, text: str, messages: Messages) -> Usage:
    said = value.get("usage") if isinstance(value, dict) else None
    counts: list[Any] = []
    if isinstance(said, dict):
        counts = [said.get(f"{side}_tokens") for side in ("prompt", "completion")]
    if len(counts) == 2 and all(type(one) is int and one >= 0 for one in counts):
        return Usage(counts[0], counts[1])
    asked = sum(len(one["content"]) for one in messages)
    return Usage(-(-asked // CHARACTERS), -(-len(text) // CHARACTERS), counted=False)
