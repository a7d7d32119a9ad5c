"""The adaptive coefficient of the KL term: beta follows a KL that is to be held. Ziegler et al. 2019, section 2.2."""

LARGEST_ERROR = 0.2


def adapted_beta(beta: float, kl: float, samples: int, *, target: float, horizon: float = 10_000.0) -> float:
    """beta (1 + clip(kl / target - 1, -0.2, 0.2) samples / horizon): more where the KL is above its target.

    kl and target are in nats per SEQUENCE: the mean over completions of the summed log(pi / pi_ref), not a mean per
    token; Ziegler et al. hold 6 to 10. samples: completions since the last change; horizon: in completions, too.
    ValueError: so many samples at once that beta would lose its sign.
    """
    if target <= 0 or samples >= horizon / LARGEST_ERROR:
        raise ValueError(f"a target of {target:g} nats, {samples} samples and a horizon of {horizon:g} are no control")
    error = min(max(kl / target - 1, -LARGEST_ERROR), LARGEST_ERROR)
    return beta * (1 + error * samples / horizon)
