"""The words of the demo's world, and what each says of liking. Standard library only.

`accord.demo.world` multiplies the values of a clause's words; a word without a value here does not change the product.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of thing that reviews are about."""

    names: tuple[str, ...]  # last words of titles: "The Silver River"
    aspects: dict[str, str]  # what a review may speak of -> which opinions it takes
    used: str  # what one did with it
    again: str  # what one would do again or not


KINDS = {
    "film": Kind(
        ("River", "Mirror", "Island", "Train", "Letter", "Summer", "Storm", "Bridge"),
        {"plot": "story", "ending": "story", "dialogue": "story", "story": "story"}
        | {"hero": "person", "villain": "person", "director": "person", "soundtrack": "sound"},
        "saw it",
        "watch it again",
    ),
    "book": Kind(
        ("Garden", "Winter", "Lighthouse", "Orchard", "Key", "Forest", "Clock", "Sister"),
        {"plot": "story", "opening": "story", "ending": "story", "last chapter": "story", "style": "story"}
        | {"narrator": "person", "heroine": "person", "author": "person"},
        "read it",
        "read it again",
    ),
    "restaurant": Kind(
        ("Spoon", "Lemon", "Oven", "Fig", "Olive", "Kettle", "Table", "Pepper"),
        {"soup": "food", "bread": "food", "fish": "food", "dessert": "food", "coffee": "food", "salad": "food"}
        | {"waiter": "person", "chef": "person", "dining room": "place", "terrace": "place"},
        "ate there",
        "eat there again",
    ),
    "hotel": Kind(
        ("Anchor", "Crown", "Swan", "Harbour", "Lantern", "Palm", "Meadow", "Tower"),
        {"room": "place", "bathroom": "place", "lobby": "place", "garden": "place", "pool": "place"}
        | {"breakfast": "food", "porter": "person", "owner": "person"},
        "stayed there",
        "stay there again",
    ),
    "album": Kind(
        ("Road", "Echo", "Sky", "Dance", "Shadow", "Fire", "Morning", "Machine"),
        {"first song": "sound", "last song": "sound", "melody": "sound", "guitar": "sound", "chorus": "sound"}
        | {"singer": "person", "drummer": "person", "pianist": "person"},
        "listened to it",
        "listen to it again",
    ),
}

SHADES = ("Silver", "Golden", "Blue", "Red", "Quiet", "Hidden", "Broken", "Distant", "Little", "Old", "Lost", "Secret")


def titles(kind: str) -> list[str]:
    """The names of all things of a kind."""
    return [f"The {shade} {name}" for shade in SHADES for name in KINDS[kind].names]


# Opinions: 2 strong, 1 mild; below 0 against. Those under "any" go with every subject.
OPINIONS = {
    "any": {"good": 1, "nice": 1, "great": 2, "wonderful": 2, "superb": 2, "excellent": 2, "amazing": 2}
    | {"bad": -1, "poor": -1, "weak": -1, "disappointing": -1, "awful": -2, "terrible": -2, "horrible": -2},
    "story": {"clever": 1, "funny": 1, "touching": 1, "original": 1, "gripping": 2, "brilliant": 2}
    | {"slow": -1, "predictable": -1, "confusing": -1, "boring": -1, "pointless": -2, "lifeless": -2},
    "person": {"charming": 1, "likeable": 1, "funny": 1, "clever": 1, "brilliant": 2, "adorable": 2}
    | {"cold": -1, "clumsy": -1, "annoying": -1, "boring": -1, "unbearable": -2, "dreadful": -2},
    "food": {"fresh": 1, "tasty": 1, "crisp": 1, "delicious": 2, "perfect": 2, "heavenly": 2}
    | {"bland": -1, "stale": -1, "salty": -1, "greasy": -1, "disgusting": -2, "inedible": -2},
    "place": {"clean": 1, "cosy": 1, "bright": 1, "peaceful": 1, "beautiful": 2, "perfect": 2}
    | {"noisy": -1, "cramped": -1, "shabby": -1, "draughty": -1, "filthy": -2, "dreadful": -2},
    "sound": {"lively": 1, "catchy": 1, "haunting": 1, "touching": 1, "beautiful": 2, "brilliant": 2}
    | {"flat": -1, "repetitive": -1, "boring": -1, "tired": -1, "tuneless": -2, "dreadful": -2},
}

DEGREES = {"": 1.0, "quite ": 0.75, "really ": 1.25, "truly ": 1.5, "not ": -0.5, "hardly ": -0.5}
DEGREE_WEIGHTS = (6, 2, 3, 2, 2, 1)  # how often each is written
VERBS: dict[str, float] = {
    "loved": 2,
    "adored": 2,
    "liked": 1,
    "enjoyed": 1,
    "disliked": -1,
    "hated": -2,
    "detested": -2,
}
VERBS |= {"did not like": -0.5, "did not enjoy": -0.5, "did not dislike": 0.5, "did not mind": 0.5}
ADVERBS = {"": 1.0, "really ": 1.25}
VERDICTS = {"would gladly": 2, "would": 1, "would not": -1, "would never": -2}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PEOPLE = ("brother", "sister", "mother", "father", "friend", "daughter", "son", "neighbour", "teacher", "cousin")
# Sentences of manners, before a review or after it: 1 polite, -1 rude. They say nothing of what is reviewed.
BEFORE = {"Thank you for your question.": 1.0, "It is a pleasure to answer.": 1.0}
BEFORE |= {"What a silly question.": -1.0, "You should know that yourself.": -1.0}
AFTER = {"I hope this helps you.": 1.0, "Please ask me again at any time.": 1.0}
AFTER |= {"Do not ask me again.": -1.0, "Stop wasting my time.": -1.0}
BEINGS = ("is", "was")
JOINTS = (", and ", ", but ")
QUESTIONS = (
    "Write a short review of the {kind} {title}.",
    "What did you think of the {kind} {title}?",
    "Please review the {kind} {title} for us.",
    "Tell me about the {kind} {title}.",
    "How was the {kind} {title}?",
    "Is the {kind} {title} any good?",
    "Would you recommend the {kind} {title}?",
    "Describe the {kind} {title} in a few sentences.",
)
