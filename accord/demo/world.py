"""A small written world: short reviews whose sentiment is known exactly. Standard library only.

A clause's value is the product of its words' values: superb (2) and truly (1.5) make 3, not (-0.5) and superb make -1.
A sentence's value is its clause's, or the mean of its two. A review's sentiment is the mean over its sentences, divided
by the largest value that there is: a number in -1..1 that neither length nor repetition raises.

Only sentences of the grammar count as said. Any other, a cut one too, counts as -1, the worst, and so does an empty
text: whatever a model writes has an exact score, and nothing unreadable beats a readable review.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
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


def sentiment(text: str) -> float:
    """How much a review likes its subject, in -1..1: exact, for any text. The head of this file says how."""
    said = sentences(text)
    return sum(map(sentence_value, said)) / len(said) if said else WORST


def sentences(text: str) -> list[str]:
    """A text cut after each full stop; what follows the last one is a sentence too."""
    return re.findall(r"[^.]*\.|[^.]+$", text.strip())


def sentence_value(sentence: str) -> float:
    """The value of one sentence, in -1..1; -1 where the grammar cannot make it."""
    value = _read(sentence)
    return WORST if value is None else value


def is_grammatical(sentence: str) -> bool:
    """Whether the grammar can make this sentence. Its value does not tell: "The plot was truly awful." has -1, too."""
    return _read(sentence) is not None


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


def documents(n: int, seed: int) -> list[str]:
    """n reviews of all kinds and moods, each under a line that names its subject: what to pre-train on."""
    chance = random.Random(f"documents {seed}")
    subjects = [(kind, title) for kind in words.KINDS for title in words.titles(kind)]
    chosen = [chance.choice(subjects) for _ in range(n)]
    return [f"The {kind} {title}\n{write_review(kind, title, chance.uniform(-1, 1), chance)}" for kind, title in chosen]


def demonstrations(asked: Sequence[Prompt], seed: int) -> list[dict[str, Any]]:
    """Rows `prompt / completion`: each question answered with a review of the right thing, in any mood."""
    chance = random.Random(f"demonstrations {seed}")
    return [
        {"prompt": prompt.turns, "completion": _reply(write_review(*prompt[:2], chance.uniform(-1, 1), chance))}
        for prompt in asked
    ]


def comparisons(
    asked: Sequence[Prompt],
    completions: Sequence[Sequence[str]],
    seed: int | str,
    *,
    temperature: float = 0.2,
    noise: float = 0.05,
) -> list[dict[str, Any]]:
    """Rows `prompt / completions / ranks`: what simulated annotators say of K completions of each question.

    They rank by Plackett-Luce with the reward sentiment / temperature, so each pair follows Bradley-Terry; with the
    probability `noise` one ranks blindly. Equal texts are shown once; a question with only one text gives no row.
    """
    chance = random.Random(f"comparisons {seed}")
    rows = []
    for prompt, written in zip(asked, completions, strict=True):
        shown = list(dict.fromkeys(written))
        blind = chance.random() < noise
        # The order of rewards with Gumbel noise is a Plackett-Luce ranking (Yellott 1977).
        noisy = [
            (0.0 if blind else sentiment(text) / temperature) - math.log(chance.expovariate(1.0)) for text in shown
        ]
        if len(shown) > 1:
            ranks = [1 + sum(other > own for other in noisy) for own in noisy]
            rows.append({"prompt": prompt.turns, "completions": list(map(_reply, shown)), "ranks": ranks})
    return rows


def preference(first: str, second: str, *, temperature: float = 0.2, noise: float = 0.05) -> float:
    """The probability that an annotator of `comparisons` puts the first text before the second one."""
    margin = (sentiment(first) - sentiment(second)) / temperature
    return (1 - noise) / (1 + math.exp(-margin)) + noise / 2


def best_accuracy(rows: Sequence[Mapping[str, Any]], *, temperature: float = 0.2, noise: float = 0.05) -> float:
    """The share of right guesses about the pairs of `comparisons` that one who knows the sentiment may expect.

    Nobody can expect more. Each row counts the same, as in training: the mean over rows of the mean over their pairs.
    """

    def guess(row: Mapping[str, Any]) -> float:
        pairs = list(combinations([turns[0]["content"] for turns in row["completions"]], 2))
        chances = [preference(*pair, temperature=temperature, noise=noise) for pair in pairs]
        return sum(max(p, 1 - p) for p in chances) / len(chances)

    return sum(map(guess, rows)) / len(rows)


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


def _reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
