"""What models wrote to the same prompts, side by side: before and after training, and by run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.evaluate.report.page import Conversations, Exchange, Reply, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import number

PROMPTS = 6
LONGEST = 2000  # characters of a text; the rest of it is counted
TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>\n?)", re.DOTALL)
OPENING = re.compile(r"<\|im_start\|>assistant\n\Z")
ENDS = ("<|im_end|>", "<|endoftext|>", "</s>")
INTRO = (
    "What the models answered to a few prompts. The prompts of each run are its own, so only prompts that several runs "
    "share are shown for all of them. The signs of a chat template are left out where they are the usual ones."
)


def section(runs: Sequence[Ran]) -> Section | None:
    """None where no run wrote samples."""
    sampling = [ran for ran in runs if ran.samples]
    together: dict[tuple[str, ...], list[Ran]] = {}
    for ran in sampling:
        together.setdefault(tuple(_by_prompt(ran.samples)), []).append(ran)
    parts = [_side_by_side(prompts, group) for prompts, group in together.items()]
    return Section("samples", "Samples", INTRO, parts) if parts else None


def _side_by_side(prompts: Sequence[str], runs: Sequence[Ran]) -> Conversations:
    exchanges = [
        Exchange(
            shortened(_untemplated(prompt)),
            [reply for ran in runs for reply in _replies(ran, prompt, alone=len(runs) == 1)],
        )
        for prompt in prompts[:PROMPTS]
    ]
    left = len(prompts) - len(exchanges)
    note = f"{left} more prompts are in the runs' samples.jsonl." if left else ""
    return Conversations(", ".join(ran.name for ran in runs), exchanges, note)


def _replies(ran: Ran, prompt: str, *, alone: bool) -> Iterator[Reply]:
    """Of the last step that sampled; of a run alone also of the first."""
    said = _by_prompt(ran.samples)[prompt]
    for one in [said[0], said[-1]] if alone and len(said) > 1 else [said[-1]]:
        step = number(one.get("step"))
        when = "" if step is None else "before training" if step == 0 else f"after step {step:.0f}"
        yield Reply(f"{ran.name}, {when}" if when else ran.name, *_reply(one))


def _reply(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """Text, score and note."""
    text, tokens = str(one.get("completion", "")), number(one.get("tokens"))
    end = next((end for end in ENDS if text.endswith(end)), "")
    ended = "" if end else ", without an end token"
    note = f"{tokens:.0f} token{'s' * (tokens != 1)}{ended}" if tokens is not None else ""
    score = number(one.get("score"))
    return shortened(text.removesuffix(end)) or "(nothing)", "" if score is None else f"score {score:.3g}", note


def _by_prompt(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in samples:
        found.setdefault(str(one.get("prompt", "")), []).append(one)
    return found


def _untemplated(prompt: str) -> str:
    """The turns of a ChatML prompt, each with its role, a single one of the user alone; any other text as it is."""
    body = OPENING.sub("", prompt)
    turns = TURN.findall(body)
    if not turns or TURN.sub("", body).strip():
        return prompt
    if len(turns) == 1 and turns[0][0] == "user":
        return str(turns[0][1])
    return "\n".join(f"{role}: {text}" for role, text in turns)


def shortened(text: str, most: int = LONGEST) -> str:
    """Its beginning, and how much more there is."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} … ({left:,} more characters)"
