"""One group's turns as the chat template writes them, and which of the characters the assistant says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accord.data.encode import Encoder, Rendering, Span
from accord.data.report import Particular
from accord.data.sandbox import OTHER_TEMPLATE
from accord.data.template import Template
from accord.errors import AccordError
from accord.records import Group, RecordError, Text, Turns

SHOWN = 40  # characters shown on either side of a difference


class Conversation:
    """A group's turns, of which any number of the first may be written. Control strings in them stay words."""

    def __init__(self, group: Group, template: Template, encoder: Encoder) -> None:
        self.group, self.template, self.encoder = group, template, encoder
        self.stand_in = encoder.stand_ins(_strings(group))
        self.tools = self._hidden(list(group.tools)) or None

    def render(self, turns: Turns, *, generation: bool = False, after: Rendering | None = None) -> Rendering:
        """What the chat template writes for these turns. RecordError: it refuses them, or does not begin with `after`,
        which is what it writes for the first of them."""
        messages = [self._hidden(turn.plain()) for turn in turns]
        try:
            text = self.template.write(messages, self.tools, generation=generation)
        except AccordError:
            raise
        except Exception as error:  # whatever it is, the template has caused it
            said = str(error) or type(error).__name__
            what = f"the chat template refuses these turns ({said})"
            fix = f"drop the row, or {OTHER_TEMPLATE}"
            raise RecordError(what, origin=self.group.source, fix=fix, finding="refused_turns") from error
        rendering = self.encoder.reveal(text, self.stand_in, after)
        if after is not None:
            self.check_start(after.text, rendering.text)
        return rendering

    def _hidden(self, value: Any) -> Any:
        return self.encoder.hide(value, self.stand_in) if self.stand_in else value

    def check_start(self, prompt: str, whole: str) -> None:
        """What the model is given to continue must be the start of what it is trained on."""
        if whole.startswith(prompt):
            return
        pairs = enumerate(zip(prompt, whole, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(whole)))
        near = slice(max(0, at - SHOWN), at + SHOWN)
        reason = "the chat template writes the prompt alone differently from the start of the whole"
        what = (
            f"the chat template writes the prompt alone as ...{prompt[near]!r}, but before a completion as "
            f"...{whole[near]!r} (they differ at character {at + 1})"
        )
        raise Particular(reason, what, origin=self.group.source, fix=OTHER_TEMPLATE, finding="not_prefix")

    def stretches(self, reply: Turns, border: int, whole: str, *, last: bool) -> tuple[Span, ...]:
        """The characters of `whole` from `border` on that the assistant says, unless that is all of them: then ().

        Left out: what others say within the reply, and the header of the assistant's turn after it. last: only the
        last turn of the reply counts.
        """
        prompt, start, found = as_turns(self.group.prompt), border, list[Span]()
        if last and len(reply) > 1:
            return ((self._reach(prompt + reply[:-1], border, whole, generation=True), len(whole)),)
        for i in (i for i, turn in enumerate(reply) if turn.role != "assistant"):
            if reply[i - 1].role == "assistant":
                found.append((start, self._reach(prompt + reply[:i], start, whole)))
            if reply[i + 1].role == "assistant":
                start = self._reach(prompt + reply[: i + 1], start, whole, generation=True)
        return (*found, (start, len(whole))) if found else ()

    def _reach(self, turns: Turns, since: int, whole: str, *, generation: bool = False) -> int:
        """Where these first turns end in `whole`, of which they are known to hold the characters up to `since`.

        Some templates write the last turn differently from earlier ones (Qwen3 puts an empty thought before it). If it
        still ends the same way, that end is found; if not, RecordError.
        """
        part = self.render(turns, generation=generation).text
        if not generation and not whole.startswith(part):
            said = turns[-1].content.strip()[-SHOWN:]
            for end in range(min(len(whole), since + len(part)), since, -1):
                if part.endswith(whole[since:end]) and said in whole[since:end]:
                    return end
        self.check_start(part, whole)
        return len(part)

    def system_end(self, whole: str) -> int:
        """Where the system turn ends in the rendering of the prompt; 0 without one."""
        first = as_turns(self.group.prompt)[0]
        if first.role not in ("system", "developer"):
            return 0
        try:
            alone = self.render((first,)).text
        except RecordError:  # templates that write it inside the user's turn refuse it alone
            alone = ""
        said = first.content.strip()
        if alone and said in alone and whole.startswith(alone):
            return len(alone)
        return whole.index(said) + len(said) if said in whole else len(whole)


def as_turns(content: Text) -> Turns:
    assert not isinstance(content, str), "plain text where the group has turns; read_groups refuses that"
    return content


def _strings(group: Group) -> Iterator[str]:
    """Everything that somebody said. The names of a tool's parameters are theirs, too."""
    for content in (group.prompt, *(completion.content for completion in group.completions)):
        for turn in () if isinstance(content, str) else content:
            yield from (turn.role, turn.content)
            if turn.extra:
                yield from _deep(turn.extra)
    yield from _deep(group.tools)


def _deep(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _deep(key)
            yield from _deep(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _deep(item)
