"""`accord classify`: a model that says what a text is; equation 2 with a classification head, and equation 14."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.data.classified import Kind, Vocabulary, classified, has_class, vocabulary
from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.models.heads import MULTI, SINGLE, Head
from accord.records import Judged
from accord.stages.classify_language import language_term
from accord.stages.classify_plot import draw
from accord.stages.classify_report import Row, report
from accord.stages.config import ClassifyConfig
from accord.stages.course import course_of
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, fitting
from accord.stages.load_data import Data
from accord.stages.outcome import Result
from accord.stages.scorers import scored
from accord.stages.session import Begun, Findings, Session, begin
from accord.stages.setup import Given, say
from accord.training.classification import ClassObjective, ClassTerm, class_weights, label_counts, whole_rows

PICTURE = "classify_report.png"


def run(config: ClassifyConfig, given: Given) -> Result | None:
    """Trains on labelled texts; ends with a report on the held-out ones. None after a dry run."""
    intake = Intake("classify", has_class, fitting(config.length))

    def head(data: Data) -> Head:
        labels = _labels(config, data)
        return Head(labels.names, MULTI if labels.several else SINGLE, config.train.seed)

    with begin("classify", config, given, intake, config.length, head=head) as begun:
        labels = _labels(config, begun.data)
        _check_head(begun, labels)
        term = _term(config, begun.data, labels)
        groups: Sequence[TokenGroup] = begun.data.groups
        language = language_term(config, given, begun.model) if config.classify.lm_alpha > 0 else None
        if language is not None:
            groups = [whole_rows(group) for group in groups]
        objective = ClassObjective(term, language)
        course = course_of(groups, begun.data.train, objective, config.data, config.train, begun.cut)
        session = Session("classify", config, begun, course, ClassObjective(term), prompts=())
        session.extra_state = {"labels": _Names(labels.names)}
        session.at_end = lambda session: _findings(session, labels)
        return carry_out(session)


class _Names:
    """What the numbers of the head stand for, in a checkpoint: its run goes on with the same labels alone."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def state_tensors(self) -> Mapping[str, Tensor]:
        return {"names": torch.tensor(list(json.dumps(self.names).encode()), dtype=torch.uint8)}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """InputError where the run that goes on means other labels by the same numbers."""
        kept = json.loads(bytes(tensors["names"].tolist()))
        if kept != self.names:
            what = f"the checkpoint's head is of {', '.join(kept)}, and the labels are {', '.join(self.names)} now"
            raise InputError(what, where="labels", fix="resume with the same, or begin another run")


def _labels(config: ClassifyConfig, data: Data) -> Vocabulary:
    """InputError: labels that the options do not have, or a loss of two labels for more."""
    options = config.classify
    labels = vocabulary((group.group for group in data.groups), options.labels)
    if options.loss_type != "cross_entropy" and not labels.several and len(labels.names) != 2:
        what = f"{options.loss_type} is a loss of two labels, and there are {len(labels.names)}"
        raise InputError(what, where="loss_type", fix="leave it out: cross_entropy takes any number")
    return labels


def _check_head(begun: Begun, labels: Vocabulary) -> None:
    """InputError where the model that is trained further means other labels by its numbers."""
    config: Any = begun.model.network.config
    own = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    if own != labels.names:
        what = f"the model's labels are {', '.join(own)}, and those of the run {', '.join(labels.names)}"
        raise InputError(what, where="labels", fix=f"give --labels {','.join(own)}, or begin with a language model")
    if config.problem_type != (MULTI if labels.several else SINGLE):
        what = (
            "the model has one label for each text, and the data any number of them"
            if labels.several
            else ("the model has any number of labels for each text, and the data one")
        )
        raise InputError(what, where="data", fix="give data of the same kind, or begin with a language model")


def _term(config: ClassifyConfig, data: Data, labels: Vocabulary) -> ClassTerm:
    """The loss; says which labels there are, and how many texts have each."""
    options = config.classify
    trained = [data.groups[place].group for place in data.train]
    for line in _told(options.loss_type, labels, trained):
        say(line)
    weight = None
    if options.class_weight == "balanced":
        weight = class_weights(label_counts(trained, labels), labels)
        shown = weight[1] if labels.several else weight
        pairs = zip(labels.names, shown.tolist(), strict=True)
        say("class weights: " + ", ".join(f"{name} {value:.3g}" for name, value in pairs))
    return ClassTerm(labels, options.loss_type, weight)


def _told(loss: str, labels: Vocabulary, groups: Sequence[Judged]) -> list[str]:
    """How the labels are understood, in lines for the user."""
    kinds = [one.kind for group in groups for one in classified(group)]
    holds = Counter(name for kind in kinds for name in _names(kind))
    named = ", ".join(f"{name} {holds[name]:,}" for name in labels.names)
    how = "any number of them holds of a text, as rows have lists or flags" if labels.several else "one holds of a text"
    lines = [f"labels of {len(kinds):,} texts trained on: {named}; {how}"]
    if loss != "cross_entropy" and not labels.several:
        lines.append(f"{loss} loss: +1 is {labels.names[1]}, -1 is {labels.names[0]}")
    never = [name for name in labels.names if not holds[name]]
    if never:
        lines.append(f"note: no text trained on has the label {', '.join(never)}")
    return lines


def _names(kind: Kind) -> tuple[str, ...]:
    """The labels that hold."""
    if isinstance(kind, str):
        return (kind,)
    return tuple(name for name, holds in kind.items() if holds) if isinstance(kind, Mapping) else kind


def _findings(session: Session, labels: Vocabulary) -> Findings:
    """The labels, and the report on what was held out."""
    begun, folder = session.begun, session.folder
    summary = {"labels": list(labels.names), "several_labels": labels.several}
    held = [begun.data.groups[place] for place in begun.data.held]
    if not held:
        return Findings(summary)
    numbers = scored("report", begun.model, held, begun.place.max_tokens)
    rows = [
        Row(score[one.completion].tolist(), *labels.target(one.kind), one.weight, place)
        for place, (group, score) in enumerate(zip(held, numbers, strict=True))
        for one in classified(group.group)
    ]
    about = report(rows, labels)
    folder.write_json("classify_report.json", about.to_json())
    picture = Path(folder.path) / PICTURE
    draw(about, str(picture))
    lines = [*about.lines(), f"the report as a picture: {picture}"]
    return Findings(summary, [*about.markdown(), "", f"![classifier report]({PICTURE})"], lines)
