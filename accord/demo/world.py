"""A small written world: short reviews whose sentiment is known exactly. Standard library only.

A clause's value is the product of its words' values: superb (2) and truly (1.5) make 3, not (-0.5) and superb make -1.
A sentence's value is its clause's, or the mean of its two. A review's sentiment is the mean over its sentences, divided
by the largest value that there is: a number in -1..1 that neither length nor repetition raises.

Only sentences of the grammar count as said. Any other, a cut one too, counts as -1, the worst, and so does an empty
text: whatever a model writes has an exact score, and nothing unreadable beats a readable review. Sentences of manners
say nothing of liking; accord.demo.axes counts them, and words.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from accord.demo import words

WORST = -1.0
BEST_CLAUSE = 3.0  # "truly superb"; a test looks for a better one


def _all(members: Sequence[str], value: float = 1.0) -> dict[str, float]:
    return dict.fromkeys(members, value)


# What may stand at each place of a form, and its value. One table writes reviews and reads them.
SLOTS: dict[str, Mapping[str, float]] = {
    "kind": _all(tuple(words.KINDS)),
    "title": _all([title for kind in words.KINDS for title in words.titles(kind)]),
    "aspect": _all([aspect for kind in words.KINDS.values() for aspect in kind.aspects]),
    "be": _all(words.BEINGS),
    "degree": words.DEGREES,
    "opinion": {word: value for taken in words.OPINIONS.values() for word, value in taken.items()},
    "adverb": words.ADVERBS,
    "verb": words.VERBS,
    "verdict": words.VERDICTS,
    "again": _all([kind.again for kind in words.KINDS.values()]),
    "used": _all([kind.used for kind in words.KINDS.values()], 0.0),  # that one was there is no opinion
    "day": _all(words.DAYS),
    "person": _all(words.PEOPLE),
}

# Clauses as they stand within a sentence. Two of the first kind may be joined; the others stand alone.
ASPECT, FEELING = "the {aspect} {be} {degree}{opinion}", "I {adverb}{verb} the {aspect}"
NAMED, FACT = "{title} {be} {article} {opinion} {kind}", "I {used} on {day} with my {person}"
AGAIN, RECOMMEND = "I {verdict} {again}", "I {verdict} recommend {title} to my {person}"
JOINED, ALONE = (ASPECT, FEELING), (NAMED, FACT, AGAIN, RECOMMEND)


def _capital(form: str) -> str:
    return form[0].upper() + form[1:]


def _pattern(form: str) -> re.Pattern[str]:
    """A form as a regular expression with a named group for each slot."""

    def place(slot: re.Match[str]) -> str:
        if slot[1] == "article":
            return "(?:a(?= [^aeiou])|an(?= [aeiou]))"
        return f"(?P<{slot[1]}>{'|'.join(map(re.escape, SLOTS[slot[1]]))})"

    return re.compile(re.sub(r"\{(\w+)\}", place, form))


_FIRST = {form: _pattern(_capital(form)) for form in JOINED + ALONE}
_SECOND = {form: _pattern(form) for form in JOINED}


MANNERS = words.BEFORE | words.AFTER


def sentiment(text: str) -> float:
    """How much a review likes its subject, in -1..1: exact, for any text. The head of this file says how."""
    said = [sentence for sentence in sentences(text) if sentence.strip() not in MANNERS]
    return sum(map(sentence_value, said)) / len(said) if said else WORST


def sentences(text: str) -> list[str]:
    """A text cut after each full stop; what follows the last one is a sentence too."""
    return re.findall(r"[^.]*\.|[^.]+$", text.strip())


def sentence_value(sentence: str) -> float:
    """The value of one sentence of a review, in -1..1; -1 where the grammar cannot make it."""
    value = _read(sentence)
    return WORST if value is None else value


def is_grammatical(sentence: str) -> bool:
    """Whether the grammar can make this sentence. Its value does not tell: "The plot was truly awful." has -1, too."""
    return sentence.strip() in MANNERS or _read(sentence) is not None


def _read(sentence: str) -> float | None:
    body = sentence.strip()
    if not body.endswith("."):
        return None
    first, *second = re.split("|".join(words.JOINTS), body[:-1], maxsplit=1)
    values = [_value(first, {form: _FIRST[form] for form in JOINED} if second else _FIRST)]
    values += [_value(clause, _SECOND) for clause in second]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) / BEST_CLAUSE if len(known) == len(values) else None


def _value(clause: str, patterns: Mapping[str, re.Pattern[str]]) -> float | None:
    """The product of a clause's values; None where no form fits it."""
    for pattern in patterns.values():
        if found := pattern.fullmatch(clause):
            return math.prod(SLOTS[slot][word] for slot, word in found.groupdict().items())
    return None


class Style(NamedTuple):
    """What the texts of a world differ in, beside their mood."""

    manners: bool = False  # polite and rude sentences
    lengths: bool = False  # from one sentence to eight


PLAIN = Style()


class Prompt(NamedTuple):
    """A question about one thing of the world."""

    kind: str
    title: str
    text: str

    @property
    def turns(self) -> list[dict[str, str]]:
        """The question as a chat."""
        return [{"role": "user", "content": self.text}]


def prompts(seed: int) -> list[Prompt]:
    """Every question about every thing there is, each once, in an order of the seed: take slices that do not meet."""
    every = [
        Prompt(kind, title, question.format(kind=kind, title=title))
        for kind in words.KINDS
        for title in words.titles(kind)
        for question in words.QUESTIONS
    ]
    random.Random(f"prompts {seed}").shuffle(every)
    return every


def documents(n: int, seed: int, style: Style = PLAIN) -> list[str]:
    """n reviews of all kinds and moods, each under a line that names its subject: what to pre-train on."""
    chance = random.Random(f"documents {seed}")
    subjects = [(kind, title) for kind in words.KINDS for title in words.titles(kind)]
    chosen = [chance.choice(subjects) for _ in range(n)]
    return [f"The {kind} {title}\n{write_answer(kind, title, chance, style)}" for kind, title in chosen]


def demonstrations(asked: Sequence[Prompt], seed: int, style: Style = PLAIN) -> list[dict[str, Any]]:
    """Rows `prompt / completion`: each question answered with a review of the right thing, in any mood."""
    chance = random.Random(f"demonstrations {seed}")
    return [{"prompt": prompt.turns, "completion": reply(write_answer(*prompt[:2], chance, style))} for prompt in asked]


def write_answer(kind: str, title: str, chance: random.Random, style: Style = PLAIN) -> str:
    """A review in any mood, as the style has it. Of a plain one nothing is drawn but the review."""
    review = write_review(kind, title, chance.uniform(-1, 1), chance)
    if style.lengths:
        more = [write_review(kind, title, chance.uniform(-1, 1), chance) for _ in range(chance.choice((0, 0, 1)))]
        said = sentences(" ".join([review, *more]))
        review = "".join(said[: chance.randint(1, len(said))])
    if not style.manners:
        return review
    polite = chance.random() < 0.5
    before, after = (_choose(taken, polite, chance) for taken in (words.BEFORE, words.AFTER))
    said = [[], [before], [after], [before, after]][chance.choices(range(4), (3, 2, 2, 1))[0]]
    return " ".join(
        [*(one for one in said if one in words.BEFORE), review, *(one for one in said if one in words.AFTER)]
    )


def write_review(kind: str, title: str, mood: float, chance: random.Random) -> str:
    """A review of 2 to 4 sentences. mood in -1..1: each clause likes its subject with probability (1 + mood) / 2."""
    subject = words.KINDS[kind]
    be = chance.choice(words.BEINGS)
    aspects = iter(chance.sample(tuple(subject.aspects), 5))

    def likes() -> bool:
        return chance.random() < (1 + mood) / 2

    def remark() -> str:
        liked = (likes(), likes()) if chance.random() < 0.4 else (likes(),)
        clauses = [_remark(subject, next(aspects), be, like, chance) for like in liked]
        return (words.JOINTS[0] if len(set(liked)) == 1 else words.JOINTS[1]).join(clauses)

    clauses = [_named(kind, title, be, likes(), chance)] if chance.random() < 0.7 else [remark()]
    if chance.random() < 0.3:
        clauses.append(FACT.format(used=subject.used, day=chance.choice(words.DAYS), person=_person(chance)))
    clauses.append(remark())
    if chance.random() < 0.4:
        verdict = _choose(words.VERDICTS, likes(), chance)
        form = chance.choice((AGAIN, RECOMMEND))
        clauses.append(form.format(verdict=verdict, again=subject.again, title=title, person=_person(chance)))
    return " ".join(f"{_capital(clause)}." for clause in clauses)


def _named(kind: str, title: str, be: str, like: bool, chance: random.Random) -> str:
    opinion = _choose(words.OPINIONS["any"], like, chance)
    article = "an" if opinion[0] in "aeiou" else "a"
    return NAMED.format(title=title, be=be, article=article, opinion=opinion, kind=kind)


def _remark(subject: words.Kind, aspect: str, be: str, like: bool, chance: random.Random) -> str:
    if chance.random() < 0.25:
        adverb, verb = chance.choice(tuple(words.ADVERBS)), _choose(words.VERBS, like, chance)
        return FEELING.format(adverb=adverb, verb=verb, aspect=aspect)
    degree = chance.choices(tuple(words.DEGREES), words.DEGREE_WEIGHTS)[0]
    # "not dull" likes and "not good" does not.
    wanted = like if words.DEGREES[degree] > 0 else not like
    taken = words.OPINIONS["any"] | words.OPINIONS[subject.aspects[aspect]]
    return ASPECT.format(aspect=aspect, be=be, degree=degree, opinion=_choose(taken, wanted, chance))


def _choose(values: Mapping[str, float], positive: bool, chance: random.Random) -> str:
    return chance.choice([word for word, value in values.items() if (value > 0) == positive])


def _person(chance: random.Random) -> str:
    return chance.choice(words.PEOPLE)


def reply(text: str) -> list[dict[str, str]]:
    """A text as the turn that answers a question."""
    return [{"role": "assistant", "content": text}]
