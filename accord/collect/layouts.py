"""What each layout asks, and an annotator's answer: from letters of the page to places of the group, checked, and back.

The page names outputs by the letter of the place at which it showed them; what is stored names them by their place in
the file. So no answer tells which model was meant, and none depends on the order in which outputs were shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from accord.collect.refusals import Invalid
from accord.collect.settings import MOST_OUTPUTS, Layout, Settings

LETTERS = "ABCDEFGHI"
MOST_TEXT = 100_000  # characters of one demonstration, and of one note
Wire = Mapping[str, Any]
Answer = dict[str, Any]


class Parts(NamedTuple):
    """What a layout has. outputs: how many a group may have, at least and at most."""

    title: str
    about: str
    rates: bool = False
    ranks: bool = False
    labels: bool = False
    text: bool = False
    outputs: tuple[int, int] = (1, MOST_OUTPUTS)


PARTS: dict[Layout, Parts] = {
    "ranking": Parts("Rate and rank", "rate each output, then rank all of them; ties allowed", rates=True, ranks=True),
    "pair": Parts(
        "Compare two", "A is better, B is better, equal, or both are bad", rates=True, ranks=True, outputs=(2, 2)
    ),
    "rating": Parts("Rate", "a rating and flags for each output", rates=True),
    "thumbs": Parts("Thumb up or down", "each output is good or bad", labels=True),
    "demonstration": Parts("Write the ideal answer", "a text box: what the assistant should have said", text=True,
                           outputs=(0, MOST_OUTPUTS)),
}  # fmt: skip
OF_ANSWER = ("ratings", "flags", "notes", "excluded", "ranking", "both_bad", "labels", "text")


def rates(settings: Settings) -> bool:
    """Whether outputs are rated."""
    return settings.layout == "rating" or (PARTS[settings.layout].rates and settings.rate)


def canonical(wire: Wire, settings: Settings, shown: Sequence[int], *, complete: bool = True) -> Answer:
    """The answer by places 0..K-1 of the group. Invalid, with the fields, where something is wrong.

    shown: (K,) the place of the output that was shown first, second ... complete: what the layout asks must be there.
    """
    reader = _Reader(wire, settings, {letter: place for letter, place in zip(LETTERS, shown, strict=False)}, complete)
    answer = reader.answer()
    if reader.wrong:
        first = next(iter(reader.wrong.items()))
        raise Invalid(f"{first[1]}", where=first[0], fields=reader.wrong)
    return answer


class _Reader:
    """One answer, read part by part; `wrong` collects what is missing or no such thing."""

    def __init__(self, wire: Wire, settings: Settings, places: Mapping[str, int], complete: bool) -> None:
        self.wire, self.settings, self.places, self.complete = wire, settings, places, complete
        self.layout, self.k = PARTS[settings.layout], len(places)
        self.wrong: dict[str, str] = {}

    def answer(self) -> Answer:
        if unknown := [name for name in self.wire if name not in OF_ANSWER]:
            self.wrong[str(unknown[0])[:40]] = f"no part of an answer; there are {', '.join(OF_ANSWER)}"
        found: dict[str, Any] = {
            "ratings": self.ratings() if rates(self.settings) else None,
            "flags": self.flags() if not self.layout.text else None,
            "notes": self.notes() if self.settings.notes and not self.layout.text else None,
            "labels": self.labels() if self.layout.labels else None,
            "text": self.text() if self.layout.text else None,
        }
        if self.layout.ranks and self.k > 1:
            found["ranks"] = self.ranks()
            found["both_bad"] = self.both_bad(found["ranks"])
        self.nothing_else()
        return {name: value for name, value in found.items() if value}

    def nothing_else(self) -> None:
        """What the layout does not ask is not stored silently, nor dropped silently."""
        asked = {
            "ratings": rates(self.settings), "flags": not self.layout.text, "labels": self.layout.labels,
            "notes": self.settings.notes and not self.layout.text, "text": self.layout.text,
            "ranking": self.layout.ranks, "excluded": self.layout.ranks,
            "both_bad": self.settings.layout == "pair",
        }  # fmt: skip
        for name, wanted in asked.items():
            if self.wire.get(name) and not wanted:
                self.wrong.setdefault(name, "this project does not ask for it")

    def each(self, name: str) -> Iterator[tuple[str, object]]:
        """Letter and value of a part that has one value an output."""
        given = self.wire.get(name) or {}
        if not isinstance(given, Mapping):
            self.wrong[name] = "give an object: a value for each letter"
            return
        for letter, value in given.items():
            if letter in self.places:
                yield letter, value
            else:
                self.wrong[f"{name}.{str(letter)[:10]}"] = "there is no such output"

    def whole(self, name: str, values: Mapping[str, Any], ask: str) -> list[Any] | None:
        """(K,) by place, where every output has its value."""
        lacking = [letter for letter in self.places if letter not in values]
        if self.complete:
            self.wrong.update({f"{name}.{letter}": ask for letter in lacking if f"{name}.{letter}" not in self.wrong})
        if lacking:
            return None
        by_place = {self.places[letter]: value for letter, value in values.items()}
        return [by_place[place] for place in range(self.k)]

    def ratings(self) -> list[Any] | None:
        values = {}
        for letter, value in self.each("ratings"):
            if type(value) is int and 1 <= value <= self.settings.scale:
                values[letter] = value
            else:
                self.wrong[f"ratings.{letter}"] = f"a whole number from 1 to {self.settings.scale}"
        return self.whole("ratings", values, "rate this output")

    def labels(self) -> list[Any] | None:
        values = {}
        for letter, value in self.each("labels"):
            if isinstance(value, bool):
                values[letter] = value
            else:
                self.wrong[f"labels.{letter}"] = "true (good) or false (bad)"
        return self.whole("labels", values, "say whether this output is good")

    def flags(self) -> dict[str, list[bool]]:
        """Every flag of the project: what is not ticked is a no."""
        known = {flag.key: [False] * self.k for flag in self.settings.flags}
        for letter, value in self.each("flags"):
            if not isinstance(value, list):
                self.wrong[f"flags.{letter}"] = "give a list of flags"
                continue
            for name in value:
                if isinstance(name, str) and name in known:
                    known[name][self.places[letter]] = True
                else:
                    self.wrong[f"flags.{letter}"] = "no flag of this project"
        return known if self.k else {}

    def notes(self) -> list[str] | None:
        found = [""] * self.k
        for letter, value in self.each("notes"):
            if isinstance(value, str) and len(value) <= MOST_TEXT and _is_text(value):
                found[self.places[letter]] = value
            else:
                self.wrong[f"notes.{letter}"] = f"a text of at most {MOST_TEXT} characters"
        return found if any(found) else None

    def text(self) -> str | None:
        value = self.wire.get("text")
        if value is None or value == "":
            if self.complete:
                self.wrong["text"] = "write the answer"
            return None
        if not isinstance(value, str) or len(value) > MOST_TEXT or not _is_text(value):
            self.wrong["text"] = f"a text of at most {MOST_TEXT} characters"
            return None
        if self.complete and not value.strip():
            self.wrong["text"] = "write the answer"
        return value

    def excluded(self) -> set[str]:
        given = self.wire.get("excluded") or []
        if not isinstance(given, list) or any(letter not in self.places for letter in map(str, given)):
            self.wrong["excluded"] = "a list of letters of outputs"
            return set()
        return {str(letter) for letter in given}

    def ranks(self) -> list[int | None] | None:
        """(K,) 1 is best, equal ones share a rank, none for those kept out of the ranking."""
        out, ranking = self.excluded(), self.wire.get("ranking") or []
        if not isinstance(ranking, list) or any(not isinstance(tied, list) for tied in ranking):
            self.wrong["ranking"] = "a list of lists of letters, the best first"
            return None
        ranking = [tied for tied in ranking if tied]
        letters = [str(letter) for tied in ranking for letter in tied]
        wanted = [letter for letter in self.places if letter not in out]
        if len(set(letters)) < len(letters) or not set(letters) <= set(wanted):
            self.wrong["ranking"] = "each output that is included stands in it once"
        elif self.complete and len(letters) < len(wanted):
            lacking = ", ".join(letter for letter in wanted if letter not in letters)
            self.wrong["ranking"] = f"rank all outputs: {lacking} left"
        elif not self.settings.ties and any(len(tied) > 1 for tied in ranking):
            self.wrong["ranking"] = "no two may be equal in this project"
        if "ranking" in self.wrong or len(letters) < len(wanted) or not letters:
            return None
        ranks = {self.places[str(letter)]: i for i, tied in enumerate(ranking, 1) for letter in tied}
        return [ranks.get(place) for place in range(self.k)]

    def both_bad(self, ranks: list[int | None] | None) -> bool | None:
        value = self.wire.get("both_bad")
        if value not in (None, False, True):
            self.wrong["both_bad"] = "true or false"
        if value is True and ranks is not None and ranks != [1, 1]:
            self.wrong["both_bad"] = "both are bad, so neither is better"
        return value is True or None


def _is_text(value: str) -> bool:
    """Not half a character, as a program may send."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def wire(answer: Mapping[str, Any], shown: Sequence[int]) -> dict[str, Any]:
    """A canonical answer as the page has it: by letters."""
    letter = {place: name for name, place in zip(LETTERS, shown, strict=False)}
    found: dict[str, Any] = {}
    for name in ("ratings", "labels"):
        if answer.get(name) is not None:
            found[name] = {letter[place]: value for place, value in enumerate(answer[name])}
    if answer.get("flags"):
        found["flags"] = {
            letter[place]: [name for name, values in answer["flags"].items() if values[place]] for place in letter
        }
    if answer.get("notes"):
        found["notes"] = {letter[place]: note for place, note in enumerate(answer["notes"]) if note}
    if (ranks := answer.get("ranks")) is not None:
        best = sorted({rank for rank in ranks if rank is not None})
        found["ranking"] = [[letter[place] for place in shown if ranks[place] == rank] for rank in best]
        found["excluded"] = [letter[place] for place in shown if ranks[place] is None]
    for name in ("both_bad", "text"):
        if answer.get(name):
            found[name] = answer[name]
    return found


def warnings(answer: Mapping[str, Any], shown: Sequence[int]) -> list[str]:
    """Where ratings and ranks contradict each other. They never block: both are what the annotator said."""
    ratings, ranks = answer.get("ratings"), answer.get("ranks")
    if not ratings or not ranks:
        return []
    letter = {place: name for name, place in zip(LETTERS, shown, strict=False)}
    said = []
    for one, other in combinations(shown, 2):
        better, worse = (one, other) if ratings[one] > ratings[other] else (other, one)
        if None in (ranks[one], ranks[other]) or ratings[one] == ratings[other]:
            continue
        if ranks[better] > ranks[worse]:
            said.append(f"{letter[better]} is rated higher than {letter[worse]}, but ranked below it")
    return said
