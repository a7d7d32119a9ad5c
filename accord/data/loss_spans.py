"""Which tokens are shared, and which carry loss."""

from __future__ import annotations

import numpy as np

from accord.data.encode import Encoded, Ids, Rendering, Span


def common(a: Ids, b: Ids) -> int:
    """How many first ids two rows have in common."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def loss_spans(whole: Encoded, stretches: tuple[Span, ...], shared: int, prompt: Rendering | None) -> tuple[Span, ...]:
    """Stretches of tokens, counted from the end of the shared prompt. What starts at the border starts at its token."""
    first = 0 if shared else 1  # a token with nothing before it is not predicted
    if not stretches:
        spans = [(first, len(whole.ids) - shared)]
    else:
        border = len(prompt.text) if prompt else 0
        places = [(start, whole.tokens((start, end))) for start, end in stretches]
        spans = [(first if start == border else lo - shared, hi - shared) for start, (lo, hi) in places]
    return tuple((lo, hi) for lo, hi in spans if lo < hi)


def loss_spans_apart(whole: Encoded, stretches: tuple[Span, ...]) -> tuple[Span, ...]:
    """Stretches of a decoder's tokens. Its start token predicts the first; what reaches the end has EOS too."""
    if not stretches:
        return ((0, len(whole.ids)),)
    spans = [(whole.tokens(span)[0] if span[0] else 0, whole.tokens(span)[1]) for span in stretches]
    return tuple((lo, hi) for lo, hi in (*spans[:-1], (spans[-1][0], len(whole.ids))) if lo < hi)
