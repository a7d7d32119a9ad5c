"""`accord pretrain`: equation 1 on packed texts."""

from __future__ import annotations

from accord.data.choose import document
from accord.data.dialogue import TokenGroup
from accord.data.packing import pack
from accord.stages.config import PretrainConfig
from accord.stages.course import course_of
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, documents
from accord.stages.options import ReadOptions
from accord.stages.outcome import Result
from accord.stages.session import Findings, Session, begin
from accord.stages.setup import Given
from accord.training.objectives import Likelihood
from accord.training.seen import tokens_seen

PROMPT_TOKENS = 16  # of a text, which the model goes on with in the samples


def blocks(texts: list[TokenGroup], options: ReadOptions) -> list[TokenGroup]:
    """Whole texts in blocks of max_length; nothing is too long."""
    assert options.max_length is not None
    return pack(texts, options.max_length)


INTAKE = Intake("pretrain", document, documents, pack=blocks)


def run(config: PretrainConfig, given: Given) -> Result | None:
    """Trains on whole texts: `text`, `messages`, or prompt and best completion. None after a dry run."""
    with begin("pretrain", config, given, INTAKE) as begun:
        objective = Likelihood()
        data = begun.data
        course = course_of(data.groups, data.train, objective, config.data, config.train, begun.cut)
        beginnings = [block.completions[0].ids[:PROMPT_TOKENS] for block in data.groups[data.trained :] or data.groups]
        session = Session("pretrain", config, begun, course, objective, beginnings, at_end=extent)
        return carry_out(session)


def extent(session: Session) -> Findings:
    """How large the model is, and how much it has read: what a power law of losses is fitted to (accord scaling)."""
    network = session.begun.model.network
    tables = (network.get_input_embeddings(), network.get_output_embeddings())
    # A tied output layer has the table of the input: it counts once, as it does among all parameters.
    embedding = {weight for table in tables if table is not None for weight in table.parameters()}
    return Findings(
        {
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "embedding_parameters": sum(weight.numel() for weight in embedding),
            "tokens": tokens_seen(session.folder.metrics()),
        }
    )
