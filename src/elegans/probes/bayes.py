"""How far a recaller is from the Bayes predictor, and which part of it says what.

Shapes: B sentences, N tokens.
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from elegans.tasks.base import evaluating
from elegans.tasks.recall import InContextRecall, last_logits


def excess_risk(logits: Float[Tensor, "B N"], bayes: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    r"""Expected loss above that of the Bayes predictor, per sentence, in nats.

    .. math:: \sum_v p^*_v (\ln p^*_v - \ln p_v) = \mathrm{KL}(p^* \Vert p)

    The mean over labels is taken exactly (Rao-Blackwell), so no label noise is left and the excess is never negative.
    """
    log_p = logits.double().log_softmax(-1)
    bayes = bayes.double()
    return (torch.xlogy(bayes, bayes) - bayes * log_p).sum(-1)


def recall_accuracy(logits: Float[Tensor, "B N"], answers: Int[Tensor, " B"], noise: int) -> Bool[Tensor, " B"]:
    """Whether the answer has the largest logit of all tokens but the noise token; ties count as wrong."""
    others = logits.clone()
    others[:, noise] = -torch.inf
    return _strictly_largest(others, answers)


def role_separation(
    attention: Float[Tensor, "B N"], feed_forward: Float[Tensor, "B N"], answers: Int[Tensor, " B"], noise: int
) -> tuple[Bool[Tensor, " B"], Bool[Tensor, " B"]]:
    """Whether attention speaks for y (xi_A is largest at y) and the feed-forward part for tau (xi_F is largest there).

    With noise both y and tau follow the trigger; xi_A must tell them apart, so a tie counts as no. Source: Nguyen and
    Nguyen-Tang 2025 (arXiv 2505.15009), Theorem 5.6.
    """
    return _strictly_largest(attention, answers), _strictly_largest(feed_forward, torch.full_like(answers, noise))


def _strictly_largest(logits: Float[Tensor, "B N"], at: Int[Tensor, " B"]) -> Bool[Tensor, " B"]:
    best = logits.topk(2, dim=-1)
    return (best.indices[:, 0] == at) & (best.values[:, 0] > best.values[:, 1])


def recall_report(model: nn.Module, task: InContextRecall, *splits: str) -> xr.Dataset:
    """Means over the sentences of each of `splits` (default: id and ood), along a `split` dimension.

    - `excess`: nats above the Bayes risk; `nll`: excess + Bayes risk, the expected loss
    - `recall`: `recall_accuracy`; `p_answer`, `p_noise`: probability of y and of tau
    - `attention_says_answer`, `feed_forward_says_noise`: `role_separation`, where the model has `components`
    """
    names = splits or ("id", "ood")
    device = next(model.parameters()).device
    found = []
    for split in names:
        tokens = task.dataset(split).tokens
        answers = task.answers(tokens).to(device)
        with evaluating(model):
            logits = last_logits(model, tokens.to(device))
            p = logits.double().softmax(-1)
            values = {
                "excess": excess_risk(logits, task.bayes_probs(tokens).to(device)),
                "recall": recall_accuracy(logits, answers, task.noise_token),
                "p_answer": p.gather(1, answers[:, None]),
                "p_noise": p[:, task.noise_token],
            }
            if hasattr(model, "components"):
                roles = role_separation(*model.components(tokens.to(device)), answers, task.noise_token)  # pyright: ignore
                values |= dict(zip(("attention_says_answer", "feed_forward_says_noise"), roles, strict=True))
        found.append({name: value.double().mean().item() for name, value in values.items()})
    data = xr.Dataset(
        {name: ("split", np.array([row[name] for row in found])) for name in found[0]}, coords={"split": list(names)}
    )
    return data.assign(nll=data.excess + task.bayes_risk)
