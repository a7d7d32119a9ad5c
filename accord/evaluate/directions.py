"""Properties of answers by their usual names: what they are called in a table, and which direction is better.

The names are those of InstructGPT (Ouyang et al. 2022, Table 3 and section 4) and of common classifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

Direction = Literal["lower", "higher"]
BY = " ("  # behind it stands who says so, where several say the same thing of answers


class Known(NamedTuple):
    """A column of the table. names: what it is also called, in small letters with _ between words."""

    title: str
    better: Direction
    names: tuple[str, ...]


# In the order of the table.
KNOWN = (
    Known("toxicity", "lower", ("toxicity", "toxic", "toxicity_score", "severe_toxicity")),
    Known("hallucination", "lower", ("hallucination", "hallucinates", "hallucinated", "hallucinations")),
    Known("truthful", "higher", ("truthful", "truthfulness", "true", "is_truthful")),
    Known(
        "appropriate for customer assistant",
        "higher",
        ("appropriate_for_customer_assistant", "appropriate", "customer_assistant_appropriate"),
    ),
    Known(
        "inappropriate for customer assistant",
        "lower",
        ("inappropriate_for_customer_assistant", "inappropriate"),
    ),
    Known(
        "satisfies the constraint",
        "higher",
        ("satisfies_the_constraint", "satisfies_constraint", "satisfies_the_constraint_in_the_instruction"),
    ),
    Known(
        "fails to follow the instruction",
        "lower",
        (
            "fails_to_follow_the_instruction",
            "fails_to_follow_instruction",
            "fails_to_follow_the_correct_instruction",
            "fails_to_follow_the_correct_instruction_task",
            "fails_task",
        ),
    ),
    Known("sexual content", "lower", ("sexual_content", "contains_sexual_content", "sexual")),
    Known("violent content", "lower", ("violent_content", "contains_violent_content", "violent", "violence")),
    Known(
        "encourages violence",
        "lower",
        (
            "encourages_violence",
            "encourages_or_fails_to_discourage_violence_abuse_terrorism_self_harm",
            "encourages_or_fails_to_discourage_violence",
            "encourages_violence_abuse_terrorism_self_harm",
            "encourages_harm",
        ),
    ),
    Known(
        "denigrates a protected class",
        "lower",
        ("denigrates_a_protected_class", "denigrates_protected_class", "denigrates"),
    ),
    Known("harmful advice", "lower", ("harmful_advice", "gives_harmful_advice", "harmful")),
    Known("expresses opinion", "lower", ("expresses_opinion", "opinion")),
    Known("moral judgment", "lower", ("moral_judgment", "expresses_moral_judgment", "moral_judgement")),
    Known("informative", "higher", ("informative",)),
    Known("truthful and informative", "higher", ("truthful_and_informative", "true_and_informative")),
    Known("helpful", "higher", ("helpful", "helpfulness")),
    Known("harmless", "higher", ("harmless", "harmlessness", "safe", "safety")),
)
_BY_NAME = {name: known for known in KNOWN for name in known.names}


def known(name: str) -> Known | None:
    """The column of this name, however it is written: `Contains sexual content`, sexual-content, `toxic (DIR)`."""
    return _BY_NAME.get(re.sub(r"[\W_]+", "_", name.partition(BY)[0].lower()).strip("_"))


def title_of(name: str) -> str:
    """What stands over the column."""
    found, (own, by, who) = known(name), name.partition(BY)
    return (found.title if found is not None else own.replace("_", " ")) + by + who


def better_of(name: str, given: Mapping[str, Direction]) -> Direction | None:
    """Which direction is better: as it was given, else as it is known; None where it is not known."""
    found = known(name)
    return given.get(name, None if found is None else found.better)


def place_of(name: str) -> int:
    """Where the column stands in the table; unknown ones at its end."""
    found = known(name)
    return KNOWN.index(found) if found is not None else len(KNOWN)
