"""What is wrong with one group by itself: texts that are empty, sides that are equal, roles that do not alternate.

What any of it means for a stage (an error, a warning, or nothing but data) stands in accord.data.findings. What only
several groups show is in accord.data.census.
"""

from __future__ import annotations

from collections.abc import Iterator

from accord.data.choose import standing
from accord.data.classified import is_labelled_text
from accord.data.findings import Finding
from accord.records import Group, Judgement, Text, Turns

EMPTY = "empty text"
SAME_SIDES = ("", "chosen and rejected are the same text; a tie is not a preference")  # field, what
SAME_ALL = ("completions", "all are the same text; there is nothing to prefer")
SAYS = ("user", "assistant")  # the roles that must say something; a system turn or a tool may be silent
LEADS = ("", "system", "developer")  # what may stand before a system turn


def row_findings(group: Group, names: tuple[str, ...] | None = None) -> Iterator[Finding]:
    """What is wrong with this group, whatever the stage. A field names the column as far as a group knows it.

    names: (K,) what the columns of the completions are called, where the group is a part of one that knew it.
    """
    names = field_names(group) if names is None else names
    yield from _empty_prompt(group)
    for name, completion in zip(names, group.completions, strict=True):
        yield from _empty_completion(group, name, completion.content)
    if len(names) > 1:
        yield from _sides(group, names)
    if not isinstance(group.prompt, str):
        yield from _odd_roles(group, names)
    if group.weight != 1.0:
        yield _of(group, "weighted", "weight", f"{group.weight:g}")


def taken_findings(group: Group, taken: Group) -> Iterator[Finding]:
    """What is wrong with the part of a group that a stage takes, perhaps one completion of several; in its names."""
    named = zip(group.completions, field_names(group), strict=True)
    one = taken.completions[0] if taken is not group and len(group.completions) > 1 and taken.completions else None
    yield from row_findings(taken, next(((name,) for completion, name in named if completion is one), None))


def field_names(group: Group) -> tuple[str, ...]:
    """(K,) what the columns of the completions are called: chosen and rejected, completion, text, or completions[i]."""
    k = len(group.completions)
    if k == 1:
        return ("text",) if is_labelled_text(group) else ("completion",)
    if k == 2 and group.judgements and all(judgement.ranks == (1, 2) for judgement in group.judgements):
        return ("chosen", "rejected")
    return tuple(f"completions[{i}]" for i in range(k))


def turns_of(content: Text) -> Turns:
    """The turns of a text; plain text has none."""
    return () if isinstance(content, str) else content


def orders(judgement: Judgement) -> bool:
    """Whether it says that one completion is better than another."""
    return len(set((standing(judgement) or {}).values())) > 1


def _empty_prompt(group: Group) -> Iterator[Finding]:
    """A document has an empty prompt and one completion, of which at most its label is said; elsewhere a prompt says
    something."""
    prompt = group.prompt
    if not prompt:
        if not is_labelled_text(group):
            yield _of(group, "empty_prompt", "prompt", EMPTY if prompt == "" else "no turns")
    elif isinstance(prompt, str):
        if prompt.isspace():
            yield _of(group, "empty_prompt", "prompt", EMPTY)
    else:
        for place in _silent(prompt):
            yield _of(group, "empty_turn", f"prompt[{place}].content", EMPTY)


def _empty_completion(group: Group, name: str, content: Text) -> Iterator[Finding]:
    """One without any words of the assistant is empty; in another one, single turns may be."""
    if isinstance(content, str) or not content:
        if not content or (isinstance(content, str) and content.isspace()):
            yield _of(group, "empty_completion", name, EMPTY if content == "" or content else "no turns")
        return
    places = _silent(content)
    kind = "empty_completion" if len(content) == 1 else "empty_turn"
    for place in places:
        yield _of(group, kind, f"{name}[{place}].content", EMPTY)


def _silent(turns: Turns) -> list[int]:
    """The places of the turns that should say something and do not; a call of a tool says something."""
    return [
        place
        for place, turn in enumerate(turns)
        if (not turn.content or turn.content.isspace()) and turn.role in SAYS and not turn.extra.get("tool_calls")
    ]


def _sides(group: Group, names: tuple[str, ...]) -> Iterator[Finding]:
    """Completions that are all the same and yet judged differently; and those that compare more than a reply."""
    contents = [completion.content for completion in group.completions]
    comparison = names[0] == "chosen"
    if all(content == contents[0] for content in contents[1:]):
        if any(map(orders, group.judgements)):
            yield _of(group, "equal_sides", *(SAME_SIDES if comparison else SAME_ALL))
    elif _compare_more(contents):
        both = "chosen and rejected" if comparison else "the completions"
        yield _of(group, "several_turns", "", f"{both} differ before their last turn: they are more than a reply")


def _compare_more(contents: list[Text]) -> bool:
    """Whether they differ before their last turn; what an assistant does with tools belongs to its reply."""
    if all(isinstance(content, str) or len(content) == 1 for content in contents):
        return False
    said = [
        tuple(turn for turn in turns_of(content)[:-1] if turn.role != "tool" and not turn.extra.get("tool_calls"))
        for content in contents
    ]
    return any(turns != said[0] for turns in said)


def _odd_roles(group: Group, names: tuple[str, ...]) -> Iterator[Finding]:
    """The first turn that is odd; one is enough to say of a group."""
    prompt = turns_of(group.prompt)
    last = prompt[-1].role if prompt else ""
    parts: list[tuple[str, Turns, str]] = [("prompt", prompt, "")]
    parts += [(name, turns_of(one.content), last) for name, one in zip(names, group.completions, strict=True)]
    for name, turns, before in parts:
        if (place := _first_odd(turns, before)) is not None:
            role, after = turns[place].role, turns[place - 1].role if place else before
            what = f"{_an(role)} turn after {_an(after)} turn" if after else f"{_an(role)} turn begins the conversation"
            yield _of(group, "odd_roles", f"{name}[{place}].role", what)
            return


def _first_odd(turns: Turns, before: str) -> int | None:
    """The place of the first turn that does not follow from the one before it, whose role is `before`.

    Users and assistants take turns, a user begins; an assistant may go on after a tool; a system turn comes first.
    """
    for place, turn in enumerate(turns):
        role = turn.role
        if role == "user":
            odd = before in ("user", "tool")
        elif role == "assistant":
            odd = before not in ("user", "tool")
        elif role == "tool":
            odd = before not in ("assistant", "tool")
        else:
            odd = before not in LEADS
        if odd:
            return place
        before = role
    return None


def _an(role: str) -> str:
    return f"an {role}" if role[0] == "a" else f"a {role}"


def _of(group: Group, name: str, field: str, what: str) -> Finding:
    return Finding(name, group.source, what, field, group.id)
