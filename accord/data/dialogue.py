"""Groups -> token ids: the prompt once, each completion after it, and which of its tokens carry loss.

The ids of a prompt with a completion are those of stock `apply_chat_template`, or of the tokenizer for plain text. One
exception: a control string (`</s>`, `<|im_end|>`) that stands in somebody's words stays words. For an encoder-decoder
prompt and completion are two sequences, each as the tokenizer writes it, and nothing is shared between them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accord.data.ahead import one_ahead
from accord.data.conversation import Conversation, as_turns
from accord.data.encode import Encoded, Encoder, Ids, Rendering, Span
from accord.data.findings import FINDINGS, Finding
from accord.data.loss_spans import common, loss_spans, loss_spans_apart
from accord.data.report import DataReport, Refusals
from accord.data.template import Template
from accord.errors import InputError
from accord.records import Group, Judged, Message, RecordError, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512  # groups tokenised in one call of the tokenizer
AS_WORDS = "control strings in the data were tokenised as words"
NO_END = "the chat template ends an assistant turn without EOS or another special token: a model cannot learn to stop"


@dataclass(frozen=True, slots=True, eq=False)
class TokenCompletion:
    """ids (T,): what follows the shared prompt. loss: half-open stretches of `ids` that carry loss."""

    ids: Ids
    loss: tuple[Span, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TokenGroup:
    """A group as tokens: the ids all its completions share, and each completion's own. group: without its texts.

    Where the prompt is empty (a document), a completion's first token has nothing before it and carries no loss.
    """

    group: Judged
    prompt: Ids
    completions: tuple[TokenCompletion, ...]

    @property
    def length(self) -> int:
        """Tokens of the prompt and the longest completion."""
        return len(self.prompt) + max((len(completion.ids) for completion in self.completions), default=0)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has to be tokenised for one group: the prompt (a document has none) and the whole of each completion.

    stretches: for each whole the characters that carry loss, or () where that is everything after the prompt.
    """

    group: Group
    prompt: Rendering | None
    wholes: tuple[Rendering, ...]
    stretches: tuple[tuple[Span, ...], ...]

    @property
    def renderings(self) -> tuple[Rendering, ...]:
        return (self.prompt, *self.wholes) if self.prompt else self.wholes

    @property
    def located(self) -> tuple[bool, ...]:
        """For each rendering, whether the characters of its tokens must be known."""
        return (*([False] if self.prompt else []), *map(bool, self.stretches))


class Dialogue:
    """Tokenises groups with one tokenizer and one chat template. What it noticed is noted in `report`.

    turns: which assistant turns of a single completion carry loss, all or the last. apart: for an encoder-decoder; the
    encoder reads the prompt (as the chat template writes it, where there is one) with what the tokenizer puts around a
    text, the decoder writes what comes after it, and EOS. clock: as for `Template`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        turns: Literal["all", "last"] = "all",
        apart: bool = False,
        report: DataReport | None = None,
        clock: datetime | None = None,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError("tokenizer has no eos_token", where=tokenizer.name_or_path, fix="set one and save it")
        self.tokenizer, self.turns, self.apart = tokenizer, turns, apart
        self.report = DataReport() if report is None else report
        self.encoder = Encoder(tokenizer)
        self.template = Template(tokenizer, chat_template, template_kwargs or {}, clock)

    def tokens(self, group: Group) -> TokenGroup:
        """RecordError: the template refuses the turns, or does not write the prompt as the start of the whole."""
        return self.many([group])[0]

    def many(self, groups: Iterable[Group], *, on_bad_row: str = "error") -> list[TokenGroup]:
        """[tokens(group) for group in groups], with the tokenizer called on lists. Bad rows as in read_groups."""
        return [tokens for _, tokens in self.stream(groups, on_bad_row=on_bad_row)]

    def stream(self, groups: Iterable[Group], *, on_bad_row: str = "error") -> Iterator[tuple[Group, TokenGroup]]:
        """Each group that is no bad row, and its tokens; CHUNK groups of `groups` are held at a time."""
        return self._tokenise(groups, self._plan, on_bad_row)

    def document(self, group: Group) -> TokenGroup:
        """A group of one completion as one document: no prompt, and loss on every token that has one before it."""
        return self.documents([group])[0]

    def documents(self, groups: Iterable[Group], *, on_bad_row: str = "error") -> list[TokenGroup]:
        """[document(group) for group in groups], with the tokenizer called on lists."""
        return [tokens for _, tokens in self.stream_documents(groups, on_bad_row=on_bad_row)]

    def stream_documents(
        self, groups: Iterable[Group], *, on_bad_row: str = "error"
    ) -> Iterator[tuple[Group, TokenGroup]]:
        """As `stream`, each group as one document."""
        return self._tokenise(groups, self._plan_document, on_bad_row)

    def prompt_ids(self, prompt: Text, tools: Sequence[Mapping[str, Any]] = ()) -> Ids:
        """(T,) the ids to sample from: with the generation prompt for turns, without an end for text that goes on."""
        plan = self._plan(Group("", prompt, (), tools=tuple(tools)))
        return self._prompt(plan, self.encoder.encode(plan.renderings, plan.located)[0])

    def kept(self, group: Group, tokens: TokenGroup) -> tuple[int, int]:
        """(first, last): how many ids of the group's prompt a cut must leave at each end.

        First: BOS and the system turn. Last: the header of the turn to come, what the tokenizer puts at the end for an
        encoder, and one token before it.
        """
        ids = tokens.prompt
        first = int(len(ids) > 0 and ids[0] == self.tokenizer.bos_token_id)
        if isinstance(group.prompt, str):
            return first, 1 + (len(self.encoder.suffix) if self.apart else 0)
        conversation = self._conversation(group)
        whole = self._for_encoder(conversation.render(group.prompt, generation=True))
        headless = self._for_encoder(conversation.render(group.prompt))
        encoded, bare = self.encoder.encode([whole, headless], [True, False])
        system = encoded.tokens((0, conversation.system_end(whole.text)))[1]
        return max(first, system), len(ids) - common(ids, bare.ids) + 1

    def _conversation(self, group: Group) -> Conversation:
        return Conversation(group, self.template, self.encoder)

    def _plan(self, group: Group) -> _Plan:
        plan = self._plan_joined(group)
        return self._taken_apart(plan) if self.apart else plan

    def _taken_apart(self, plan: _Plan) -> _Plan:
        """The prompt for the encoder, and of each whole only what comes after the prompt."""
        assert plan.prompt is not None
        border = len(plan.prompt.text)
        wholes = [
            replace(one.part(border, max(border, self._end(one))), plain=True, target=True) for one in plan.wholes
        ]
        stretches = [tuple((start - border, end - border) for start, end in spans) for spans in plan.stretches]
        return _Plan(plan.group, self._for_encoder(plan.prompt), tuple(wholes), tuple(stretches))

    def _end(self, whole: Rendering) -> int:
        """Where a whole ends, the EOS left out that a template writes, and the white space behind it."""
        text, eos = whole.text.rstrip(), str(self.tokenizer.eos_token)
        said = whole.plain or any(end == len(text) for _, end in whole.words)
        return len(whole.text) if said or not text.endswith(eos) else len(text) - len(eos)

    def _for_encoder(self, rendering: Rendering) -> Rendering:
        """Its own kind of text, where there is an encoder: with what the tokenizer puts around it, BOS once."""
        if not self.apart:
            return rendering
        bos = str(self.tokenizer.bos_token)
        doubled = self.tokenizer.bos_token_id in self.encoder.prefix and rendering.text.startswith(bos)
        return replace(rendering.part(len(bos) if doubled else 0, len(rendering.text)), plain=True)

    def _plan_joined(self, group: Group) -> _Plan:
        completions = [completion.content for completion in group.completions]
        last = self.turns == "last" and len(completions) == 1
        if isinstance(group.prompt, str):
            wholes = [self._plain(group, group.prompt + self._unended(reply)) for reply in completions]
            return _Plan(group, self._plain(group, group.prompt), tuple(wholes), ((),) * len(wholes))
        conversation = self._conversation(group)
        prompt = conversation.render(group.prompt, generation=True)
        wholes, stretches = [], []
        for reply in map(as_turns, completions):
            whole = conversation.render(group.prompt + reply, after=prompt)
            wholes.append(whole)
            stretches.append(conversation.stretches(reply, len(prompt.text), whole.text, last=last))
        return _Plan(group, prompt, tuple(wholes), tuple(stretches))

    def _plan_document(self, group: Group) -> _Plan:
        if self.apart:
            what = "a language-model loss on whole texts needs a model that only decodes; this one has an encoder"
            raise InputError(what, where=self.tokenizer.name_or_path, fix="accord sft, with prompts and completions")
        (completion,) = group.completions
        if isinstance(group.prompt, str) and isinstance(completion.content, str):
            whole = self._plain(group, group.prompt + self._unended(completion.content))
        else:
            whole = self._conversation(group).render((*as_turns(group.prompt), *as_turns(completion.content)))
        return _Plan(group, None, (whole,), ((),))

    def _unended(self, reply: Text) -> str:
        """A text that ends with the text of EOS means that EOS, not a second one."""
        assert isinstance(reply, str), "turns after a prompt of plain text; read_groups refuses that"
        return reply.removesuffix(str(self.tokenizer.eos_token))

    def _plain(self, group: Group, text: str) -> Rendering:
        """Where the tokenizer adds BOS, a text that starts with it means that one."""
        bos = self.tokenizer.bos_token
        if bos and text.startswith(bos):
            if text.startswith(bos + bos):
                raise self._doubled(group)
            text = text.removeprefix(bos if self.tokenizer.bos_token_id in self.encoder.prefix else "")
        return Rendering(text, self.encoder.find(text), plain=True)

    @staticmethod
    def _doubled(group: Group) -> RecordError:
        fix = FINDINGS["double_bos"].fix
        return RecordError("BOS stands twice at the start", origin=group.source, fix=fix, finding="double_bos")

    def _tokenise(
        self, groups: Iterable[Group], plan: Callable[[Group], _Plan], on_bad_row: str
    ) -> Iterator[tuple[Group, TokenGroup]]:
        refusals = Refusals(on_bad_row, self.report)
        for plans, encoded in one_ahead(self._planned(groups, plan, refusals), self._encode):
            found = iter(encoded)
            for one in plans:
                try:
                    tokens = self._group(one, list(islice(found, len(one.renderings))))
                except RecordError as error:
                    refusals.add(error, id=one.group.id)
                    continue
                yield one.group, tokens
        refusals.close()

    def _planned(
        self, groups: Iterable[Group], plan: Callable[[Group], _Plan], refusals: Refusals
    ) -> Iterator[list[_Plan]]:
        rest = iter(groups)
        while chunk := list(islice(rest, CHUNK)):
            plans = []
            for group in chunk:
                try:
                    plans.append(plan(group))
                except RecordError as error:
                    refusals.add(error, id=group.id)
            yield plans

    def _encode(self, plans: Sequence[_Plan]) -> list[Encoded]:
        renderings = [rendering for one in plans for rendering in one.renderings]
        return self.encoder.encode(renderings, [located for one in plans for located in one.located])

    def _group(self, plan: _Plan, encoded: list[Encoded]) -> TokenGroup:
        """The shared prompt is what its own ids have in common with the ids of all wholes: where a token runs over the
        border it belongs to the completion (as in TRL 1.16)."""
        self._note(plan, encoded)
        prompt = self._prompt(plan, encoded.pop(0)) if plan.prompt else np.empty(0, dtype=np.int32)
        wholes = [self._whole(one, ids) for one, ids in zip(plan.wholes, encoded, strict=True)]
        shared = min((common(prompt, whole.ids) for whole in wholes), default=len(prompt))
        shared, begin = (len(prompt), 0) if self.apart else (shared, shared)
        completions = []
        for whole, stretches in zip(wholes, plan.stretches, strict=True):
            loss = (
                loss_spans_apart(whole, stretches) if self.apart else loss_spans(whole, stretches, shared, plan.prompt)
            )
            if not loss:
                what, fix = "no token carries loss", FINDINGS["no_loss"].fix
                raise RecordError(what, origin=plan.group.source, fix=fix, finding="no_loss")
            completions.append(TokenCompletion(whole.ids[begin:], loss))
        said = replace(plan.group.said, same=_same([completion.ids for completion in completions]))
        return TokenGroup(said, prompt[:shared], tuple(completions))

    def _prompt(self, plan: _Plan, encoded: Encoded) -> Ids:
        """Without what the tokenizer puts at the end of each plain text, if this one goes on."""
        plain = plan.prompt is not None and plan.prompt.plain and not self.apart
        return encoded.ids[: len(encoded.ids) - len(self.encoder.suffix)] if plain else encoded.ids

    def _whole(self, rendering: Rendering, encoded: Encoded) -> Encoded:
        """With EOS after a plain text that lacks it."""
        eos = self.tokenizer.eos_token_id
        if not rendering.plain or (encoded.ids[-1:].tolist() if self.apart else self.encoder.suffix[-1:]) == [eos]:
            return encoded
        return Encoded(np.append(encoded.ids, np.int32(eos)))

    def _note(self, plan: _Plan, encoded: Sequence[Encoded]) -> None:
        group = plan.group
        if any(rendering.words for rendering in plan.renderings):
            self.report.find(Finding("control_string", group.source, AS_WORDS, id=group.id))
        if plan.renderings[0].plain:
            return
        if turn := _left_out(plan):
            what = f"the chat template leaves out the words of a {turn.role} turn"
            self.report.find(Finding("left_out", group.source, what, id=group.id))
        bos = self.tokenizer.bos_token_id
        if any(bos is not None and one.ids[:2].tolist() == [bos, bos] for one in encoded):
            raise self._doubled(plan.group)
        if plan.wholes and not all(self._ends(one.ids) for one in encoded[-len(plan.wholes) :]):
            self.report.find(Finding("no_end", group.source, NO_END, id=group.id))

    def _ends(self, ids: Ids) -> bool:
        """Whether the last token that is more than white space is a special one."""
        for token in reversed(ids.tolist()):
            if token in self.encoder.control or str(self.tokenizer.decode([token])).strip():
                return token in self.encoder.control
        return False


def _left_out(plan: _Plan) -> Message | None:
    """The first turn, but the assistant's, whose words were not written, be it as JSON. Of what an assistant has said
    earlier some templates leave out the thoughts."""
    contents = [plan.group.prompt, *(completion.content for completion in plan.group.completions)]
    texts = [plan.renderings[0].text, *(whole.text for whole in plan.wholes)]
    for content, text in zip(contents, texts, strict=True):
        for turn in as_turns(content):
            said = turn.content.strip()
            if turn.role != "assistant" and said not in text and json.dumps(said, ensure_ascii=False)[1:-1] not in text:
                return turn
    return None


def _same(completions: Sequence[Ids]) -> tuple[int, ...]:
    """For each completion the first one of the same tokens: texts that differ may still become the same."""
    held = [ids.tobytes() for ids in completions]
    return tuple(held.index(ids) for ids in held)
