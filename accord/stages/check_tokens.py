"""What only tokens show: what does not fit, what becomes the same, and how much of it carries loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from accord.data.choose import pairs
from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.findings import Finding, Stage
from accord.data.length import length_of
from accord.data.measures import Measures
from accord.data.repeats import digests
from accord.data.report import DataReport
from accord.records import Group, Origin
from accord.stages.check_options import CheckTokensOptions
from accord.stages.options import LengthOptions, ModelOptions, ReadOptions
from accord.stages.setup import Given, apart, context, tokenizer_of


class TokenCheck:
    """Tokenises groups as training does, and keeps the lengths, the findings and the first groups to be shown."""

    def __init__(self, options: CheckTokensOptions, given: Given, report: DataReport) -> None:
        """report: takes what the dialogue notes and drops."""
        named = options.model_dump(exclude={"max_length", "show"})
        model = ModelOptions.model_validate(named)
        self.max_length = _longest(options.max_length, context(model, given))
        self.dialogue = Dialogue(
            tokenizer_of(model, given),
            template_kwargs=model.chat_template_kwargs,
            apart=apart(model, given),
            report=report,
        )
        self.lengths = Measures("tokens")
        self.found: list[Finding] = []
        self.shown: list[tuple[Group, TokenGroup]] = []
        self.total = self.with_loss = self.groups = self.too_long = 0
        self.longest: tuple[int, Origin] = (0, Origin("", 0))
        self._show = options.show

    def take(self, groups: Iterable[Group], stage: Stage) -> Iterator[Group]:
        """All of them, looked at."""
        stream = self.dialogue.stream_documents if stage == "pretrain" else self.dialogue.stream
        for group, tokens in stream(groups, on_bad_row="drop"):
            self._measure(group, tokens, stage)
            if len(self.shown) < self._show:
                self.shown.append((group, tokens))
            yield group

    def _measure(self, group: Group, tokens: TokenGroup, stage: Stage) -> None:
        sizes = [len(completion.ids) for completion in tokens.completions]
        self.lengths.add(tokens.group, len(tokens.prompt), sizes, digests(group).prompt)
        self.groups += 1
        self.total += len(tokens.prompt) + sum(sizes)
        self.with_loss += sum(end - start for one in tokens.completions for start, end in one.loss)
        length = length_of(tokens, apart=self.dialogue.apart)
        self.longest = max(self.longest, (length, tokens.group.source), key=lambda pair: pair[0])
        if stage != "pretrain" and length > self.max_length:  # pre-training packs what is too long into several blocks
            self.too_long += 1
            self._say("too_long", group, _too_long(tokens, self.max_length))
            if _equal_after_cut(tokens, self.max_length):
                self._say("equal_after_cut", group, f"the same up to token {self.max_length}")
        if pairs(group) and not pairs(tokens.group):
            self._say("equal_tokens", group, "the completions differ as texts, and are the same tokens")

    def _say(self, name: str, group: Group, what: str) -> None:
        self.found.append(Finding(name, group.source, what, "", group.id))

    def findings(self, source: str) -> list[Finding]:
        """Those of rows, and whether more are too long than training takes."""
        allowed = float(LengthOptions.model_fields["max_dropped"].default)
        if self.too_long <= allowed * self.groups:
            return self.found
        share = 100 * self.too_long / self.groups
        what = f"{self.too_long:,} of {self.groups:,} groups ({share:.0f} %) are longer than {self.max_length} tokens"
        more = f"allow more than {100 * allowed:.0f} % with --max_dropped"
        fix = f"raise --max_length, --on_long truncate_prompt, or {more}"
        return [*self.found, Finding("many_too_long", Origin(source, 0), what, fix=fix)]

    def to_json(self) -> dict[str, Any]:
        return {
            "max_length": self.max_length,
            "groups": self.groups,
            "too_long": self.too_long,
            "tokens": self.total,
            "tokens_with_loss": self.with_loss,
            "longest": {"tokens": self.longest[0], "where": str(self.longest[1])},
        }


def _longest(asked: int | None, context: int | None) -> int:
    """As in training: what was asked for, or the default there, and no more than the model takes."""
    wanted = asked or int(ReadOptions.model_fields["max_length"].default)
    return wanted if context is None else min(wanted, context)


def _too_long(tokens: TokenGroup, max_length: int) -> str:
    prompt = len(tokens.prompt)
    return f"prompt {prompt} + longest completion {tokens.length - prompt} tokens > max_length {max_length}"


def _equal_after_cut(tokens: TokenGroup, max_length: int) -> bool:
    """Whether a trainer that cuts completions would be left with a pair of the same tokens."""
    room = max_length - len(tokens.prompt)

    def cut(completion: TokenCompletion) -> Any:
        return completion.ids[:room]

    return room > 0 and any(
        np.array_equal(cut(tokens.completions[pair.chosen]), cut(tokens.completions[pair.rejected]))
        for pair in pairs(tokens.group)
    )
