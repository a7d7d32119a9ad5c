"""Groups token by token: who says what, and which tokens carry loss; readable without colours, too."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from accord.data.check import field_names, turns_of
from accord.data.choose import pairs
from accord.data.dialogue import TokenGroup
from accord.data.encode import Ids, Span
from accord.records import Group, Message, Turns

STYLE = {"system": "magenta", "developer": "magenta", "user": "blue", "assistant": "green", "tool": "yellow"}
BEGIN, END = "⟦", "⟧"  # around tokens that carry loss
EDGE = "│"  # between two tokens
PART = "⋯"  # a token that is a part of a character
ESCAPES = {"\n": "↵", "\t": "→"}
LEGEND = f"{BEGIN}tokens in these brackets{END} carry loss; {EDGE} ends a token, ↵ is a new line"
PARTIAL = "\ufffd"  # what a tokenizer writes for a part of a character


class Piece(NamedTuple):
    """A token as text, whether it is a control token, and whether it carries loss."""

    text: str
    control: bool
    loss: bool


class Line(NamedTuple):
    """The tokens of one turn, with those that the template puts around it. role: empty for plain text."""

    role: str
    pieces: Sequence[Piece]


def show_groups(shown: Sequence[tuple[Group, TokenGroup]], tokenizer: PreTrainedTokenizerBase, out: Console) -> None:
    """Prints each group: its prompt turn by turn, then its completions."""
    for number, (group, tokens) in enumerate(shown, 1):
        if number == 1:
            out.print(f"\n{LEGEND}", style="dim", markup=False)
        out.print(f"\ngroup {number}  {group.source}  id {group.id}", style="bold", markup=False)
        names, after = field_names(group), _first_role(group)
        prompt = pieces(tokenizer, tokens.prompt, ())
        _show("prompt", f"{len(prompt)} tokens", lines(prompt, turns_of(group.prompt), after), out)
        for name, words, made in zip(names, group.completions, tokens.completions, strict=True):
            found = pieces(tokenizer, made.ids, made.loss)
            loss = sum(piece.loss for piece in found)
            says = f"{len(found)} tokens, {loss} with loss"
            _show(name, says + _place(group, names.index(name)), lines(found, turns_of(words.content), ""), out)


def _first_role(group: Group) -> str:
    """The role of the turn that comes after the prompt."""
    turns = turns_of(group.completions[0].content) if group.completions else ()
    return turns[0].role if turns else "assistant"


def _place(group: Group, place: int) -> str:
    found = pairs(group)
    won, lost = sum(pair.chosen == place for pair in found), sum(pair.rejected == place for pair in found)
    if len(found) == 1:
        return "; wins" if won else "; loses"
    return f"; wins {won}, loses {lost}" if won or lost else ""


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Ids, loss: Sequence[Span]) -> list[Piece]:
    """Of each token the characters that it completes: those of several tokens stand at the last of these."""
    control = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    with_loss = {place for start, end in loss for place in range(start, end)}
    made, waiting = list[Piece](), list[int]()
    for place, number in enumerate(ids.tolist()):
        waiting.append(number)
        text = str(tokenizer.decode(waiting, skip_special_tokens=False))
        whole = not text.endswith(PARTIAL) or number in control
        made.append(Piece(text if whole else "", number in control, place in with_loss))
        if whole:
            waiting = []
    return made


def lines(found: Sequence[Piece], turns: Turns, after: str) -> list[Line]:
    """Tokens -> turns. after: the role of the turn that comes next, whose header may stand at the end; or empty.

    The words of each turn are looked for in the text; where they are not found, nobody is named. What the template
    writes between two turns belongs to the later one, but for the first control token of several, with the white space
    after it: that ends the earlier one.
    """
    if not turns:
        return [Line("", found)] if found else []
    starts = [0, *accumulate(len(piece.text) for piece in found)]
    text, reached, spans = "".join(piece.text for piece in found), 0, list[Span]()
    for turn in turns:
        words = turn.content.strip()
        at = text.find(words, reached)
        if at < 0:  # a tokenizer may change the words, or a template
            return [Line("", found)]
        reached = at + len(words)
        if called := _called(turn):
            named = text.find(called, reached)
            controls = (starts[place] for place, piece in enumerate(found) if piece.control)
            reached = next((start for start in controls if start >= named >= 0), reached)
        spans.append((bisect_right(starts, at) - 1, bisect_left(starts, reached)))
    borders = [_border(found, end, begin) for (_, end), (begin, _) in pairwise(spans)]
    last = _border(found, spans[-1][1], len(found)) if after else len(found)
    bounds = pairwise([0, *borders, last, len(found)])
    roles = [*(turn.role for turn in turns), after]
    return [Line(role, found[start:end]) for role, (start, end) in zip(roles, bounds, strict=True) if start < end]


def _called(turn: Message) -> str:
    """The name of the last tool that a turn calls, after whose words a template writes its calls; empty for none."""
    calls = turn.extra.get("tool_calls")
    last = calls[-1] if isinstance(calls, list | tuple) and calls else {}
    inner = last.get("function", last) if isinstance(last, Mapping) else {}
    return str(inner.get("name", "")) if isinstance(inner, Mapping) else ""


def _border(found: Sequence[Piece], end: int, begin: int) -> int:
    """Where the next turn starts, between the words of one turn and those of the next."""
    control = [place for place in range(end, begin) if found[place].control]
    if len(control) < 2:
        return end
    place = control[0] + 1
    while place < begin and found[place].text.isspace():
        place += 1
    return place


def _show(name: str, says: str, found: Sequence[Line], out: Console) -> None:
    out.print(Text.assemble((f"  {name}", "bold"), f"  {says}"))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=13, justify="right")
    table.add_column(overflow="fold")
    for line in found:
        style = STYLE.get(line.role, "default")
        table.add_row(Text(line.role, style=style), _tokens(line.pieces, style))
    out.print(table)


def _tokens(found: Sequence[Piece], style: str) -> Text:
    """Tokens with loss are bold and underlined and stand in brackets, others are dim."""
    text = Text()
    for place, piece in enumerate(found):
        before = found[place - 1].loss if place else False
        if piece.loss != before:
            text.append(f" {END} " if before else BEGIN, "bold")
        elif place:
            text.append(EDGE, "dim")
        own = "cyan" if piece.control else style
        text.append(shown(piece.text), f"bold {own}" if piece.loss else f"dim {own}")
    return text.append(END, "bold") if found and found[-1].loss else text


def shown(text: str) -> str:
    """The characters of a token, control characters written out."""
    written = "".join(c if c.isprintable() else ESCAPES.get(c, f"<{ord(c):02x}>") for c in text)
    return written or PART
