"""The entropy term of a policy's loss, from the tokens that were sampled."""

from torch import Tensor


def entropy_bonus(logp: Tensor, entropy: Tensor) -> Tensor:
    """-(log pi + H) log pi of sampled tokens, the bracket without gradient; (N,), (N,) nats -> (N,).

    Its gradient is in the mean that of the entropy H of the distribution they were drawn from: grad H =
    -E[log pi grad log pi], and H is a baseline (equation 15). Its value is no entropy.
    """
    return -(logp.detach() + entropy) * logp
