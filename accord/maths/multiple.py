"""Several tests at once: of many columns some differ by chance. numpy only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """(k,) p-values -> adjusted ones: Holm 1979. Of all that fall below a level, any is wrong with that chance at most.

    The i-th smallest, from 0, times k - i, and none below one that is smaller. NaN is no test and is not counted.
    """
    value = np.asarray(p, dtype=np.float64)
    found = np.full(value.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(value))
    order = tests[np.argsort(value[tests], kind="stable")]
    factors = len(order) - np.arange(len(order))
    found[order] = np.minimum(1.0, np.maximum.accumulate(value[order] * factors)) if len(order) else []
    return found
