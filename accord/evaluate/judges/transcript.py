"""Prompts and answers as one who reads them sees them: a single text, or who said what."""

from __future__ import annotations

from accord.records import Message, Text, Turns

SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def asked(prompt: Text) -> str:
    """A prompt as a text: of one user's turn its words alone, else who said what."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return _spoken(prompt)


def said(answer: Text) -> str:
    """An answer as a text: of one turn its words alone, else who said what."""
    if isinstance(answer, str):
        return answer
    return answer[0].content if len(answer) == 1 else _spoken(answer)


def conversation(prompt: Text, answer: Text) -> list[dict[str, str]]:
    """All turns in their order, {"role", "content"}; plain texts are a user's and the assistant's."""
    turns = (*_turns(prompt, "user"), *_turns(answer, "assistant"))
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _turns(text: Text, role: str) -> Turns:
    return (Message(role, text),) if isinstance(text, str) else text


def _spoken(turns: Turns) -> str:
    return "\n\n".join(f"{SPEAKERS[turn.role]}: {turn.content}" for turn in turns)
