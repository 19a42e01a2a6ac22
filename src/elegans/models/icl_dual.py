"""Softmax attention over demonstrations, and the self-supervised model whose gradient step it is.

Ren and Liu 2024 (arXiv 2310.13220). A prompt holds N demonstrations, then T query-side tokens of which the last is the
query x'. With T = 0 the query attends to the demonstrations only. The identity is per query, for one layer and given
weights: it says nothing about how the weights are trained.

Shapes: *B batch, S = N + T tokens, N demonstrations, D input width, K head width, R features,
M moments (one more than gradient steps).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.models.base import require_positive
from elegans.ops.feature_maps import FeatureMap
from elegans.ops.rng import torch_rng

Negatives = Literal["none", "least-similar", "random"]
Augmentation = Literal["none", "mlp", "linear"]


@dataclass(frozen=True)
class Views:
    """What attention makes of a prompt: a key and a value per token, and the query.

    A demonstration's key and value are the two views that the dual model's loss pulls together.
    """

    keys: Float[Tensor, "*B S K"]
    values: Float[Tensor, "*B S K"]
    query: Float[Tensor, "*B K"]
    num_demonstrations: int

    @property
    def of_demonstrations(self) -> tuple[Float[Tensor, "*B N K"], Float[Tensor, "*B N K"]]:
        """Keys and values of the demonstrations."""
        return self.keys[..., : self.num_demonstrations, :], self.values[..., : self.num_demonstrations, :]

    @property
    def of_query_side(self) -> tuple[Float[Tensor, "*B T K"], Float[Tensor, "*B T K"]]:
        """Keys and values of the query-side tokens."""
        return self.keys[..., self.num_demonstrations :, :], self.values[..., self.num_demonstrations :, :]


class Augment(nn.Module):
    """x + B act(A x); act is GELU, or nothing (``linear``: as many weights, and no function that x alone has not).

    A starts as N(0, 1 / width), B as N(0, 1 / (4 hidden)), so that the start is near the identity.
    """

    def __init__(self, width: int, hidden: int, kind: Augmentation, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        self.A = nn.Parameter(torch.randn(hidden, width, generator=generator) / math.sqrt(width))
        self.B = nn.Parameter(torch.randn(width, hidden, generator=generator) / math.sqrt(4 * hidden))

    def forward(self, x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """The augmented view."""
        hidden = x @ self.A.mT
        return x + (F.gelu(hidden) if self.kind == "mlp" else hidden) @ self.B.mT


class ContrastiveAttention(nn.Module):
    r"""One softmax attention layer read at the query, with the three modifications that the dual loss suggests.

    .. math::
        h' = V' \, \mathrm{softmax}(K^\top W_Q x' / \sqrt{d}), \qquad K = g_2(W_K X), \quad V = g_1(W_V X)

    - *regularized* (`alpha`): query-side values are multiplied by :math:`1 - \alpha`;
    - *augmented* (`augment_values`, `augment_keys`): :math:`g_1, g_2` are `Augment`, else the identity;
    - *negatives* (`beta`): a demonstration's value becomes :math:`v_i - \beta \, \mathrm{mean}_{j \in N(i)} v_j`. N(i)
      are the `num_negatives` demonstrations whose keys have the smallest inner products with key i, or (``random``) the
      ones that follow i, cyclically: a choice blind to content.

    The weights W_Q, W_K, W_V start as N(0, 1/D) and depend on `seed` and the widths alone, so that layers with
    different modifications start from the same attention.
    """

    def __init__(
        self,
        *,
        width: int,
        num_query_side: int = 1,
        alpha: float = 0.0,
        beta: float = 0.0,
        negatives: Negatives = "none",
        num_negatives: int = 4,
        augment_keys: Augmentation = "none",
        augment_values: Augmentation = "none",
        hidden: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(width=width, num_negatives=num_negatives, hidden=hidden)
        if num_query_side < 0:
            raise ValueError(f"num_query_side must be at least 0, got {num_query_side}")
        for name, value in {"augment_keys": augment_keys, "augment_values": augment_values}.items():
            if value not in ("none", "mlp", "linear"):
                raise ValueError(f"{name} must be 'none', 'mlp' or 'linear', got {value!r}")
        if negatives not in ("none", "least-similar", "random"):
            raise ValueError(f"negatives must be 'none', 'least-similar' or 'random', got {negatives!r}")
        self.width, self.num_query_side, self.alpha = width, num_query_side, alpha
        self.beta, self.negatives, self.num_negatives = beta, negatives, num_negatives
        generator = torch_rng("contrastive-attention", seed)
        scale = 1 / math.sqrt(width)
        self.W_Q = nn.Parameter(torch.randn(width, width, generator=generator) * scale)
        self.W_K = nn.Parameter(torch.randn(width, width, generator=generator) * scale)
        self.W_V = nn.Parameter(torch.randn(width, width, generator=generator) * scale)
        self.g1 = Augment(width, hidden, augment_values, generator) if augment_values != "none" else nn.Identity()
        self.g2 = Augment(width, hidden, augment_keys, generator) if augment_keys != "none" else nn.Identity()

    def views(self, x: Float[Tensor, "*B L D"]) -> Views:
        """Keys, values and query of a prompt whose last token is the query.

        L is N + T, or N + 1 with T = 0: the query then makes no key. Raises `ValueError` for a prompt without
        demonstrations, or with too few for the negatives.
        """
        context = x if self.num_query_side else x[..., :-1, :]
        demonstrations = context.shape[-2] - self.num_query_side
        least = self.num_negatives + 1 if self.negatives != "none" else 1
        if demonstrations < least:
            raise ValueError(f"a prompt needs at least {least} demonstrations, got {demonstrations}")
        keys, values = self.g2(context @ self.W_K.mT), self.g1(context @ self.W_V.mT)
        return Views(keys, values, x[..., -1, :] @ self.W_Q.mT, demonstrations)

    def attention(self, views: Views) -> Float[Tensor, "*B S"]:
        """Softmax weights of all tokens for the query."""
        scores = (views.keys @ views.query[..., None])[..., 0] / math.sqrt(self.width)
        return scores.softmax(-1)

    def negative_shares(self, views: Views) -> Float[Tensor, "*B N N"]:
        """Row i is uniform over N(i) and zero elsewhere; it is a choice, so no gradient passes."""
        keys = views.of_demonstrations[0].detach()
        n, k = keys.shape[-2], self.num_negatives
        place = torch.arange(n, device=keys.device)
        if self.negatives == "random":
            after = (place - place[:, None] - 1) % n
            return (after < k).to(keys.dtype) / k
        similarity = (keys @ keys.mT).masked_fill(place == place[:, None], math.inf)
        bound = similarity.topk(k, dim=-1, largest=False).values[..., -1:]
        return (similarity <= bound).to(keys.dtype) / k

    def forward(self, x: Float[Tensor, "*B L D"]) -> Float[Tensor, "*B K"]:
        """h' for the last token of each prompt."""
        views = self.views(x)
        positive, query_side = views.of_demonstrations[1], views.of_query_side[1]
        if self.negatives != "none":
            positive = positive - self.beta * self.negative_shares(views) @ positive
        values = torch.cat([positive, (1 - self.alpha) * query_side], dim=-2)
        return (self.attention(views)[..., None, :] @ values)[..., 0, :]


class DualModel:
    r"""f(x) = W phi(x), whose one gradient step on a self-supervised loss is the attention output at one query.

    With features of keys and query scaled by :math:`d^{-1/4}`, D the sum of the query's inner products with all keys
    (a constant: it is not differentiated) and learning rate :math:`\eta`, the loss over the N demonstrations is

    .. math::
        L(W) = -\frac{1}{\eta D} \sum_i v_i^\top W \phi(k_i)
             + \frac{\beta}{\eta D} \sum_i \frac{1}{|N(i)|} \sum_{j \in N(i)} v_j^\top W \phi(k_i)
             + \frac{\alpha}{2 \eta} \lVert W \rVert_F^2

    and the start is what the query-side tokens hold, :math:`W_0 = \frac{1}{D} \sum_{t \in T} v_t \phi(k_t)^\top`. Then
    :math:`(W_0 - \eta \nabla L(W_0)) \, \phi(W_Q x') = h'` of the layer, exactly where the features are exact, for any
    :math:`\eta`. There are no labels, and without `beta` no negatives.

    Args:
        layer: the attention; its weights are taken as constants.
        prompt: [L, D], one prompt.
        feature_map: see `elegans.ops.feature_maps`.
        normalize: False leaves D out (D = 1).
        query_start: False starts from W_0 = 0.
    """

    def __init__(
        self,
        layer: ContrastiveAttention,
        prompt: Float[Tensor, "L D"],
        feature_map: FeatureMap,
        *,
        normalize: bool = True,
        query_start: bool = True,
    ) -> None:
        with torch.no_grad():
            views = layer.views(prompt)
            points = torch.cat([views.keys, views.query[None]]) * layer.width**-0.25
            *_, self.query_features = features = feature_map(points)
            n = views.num_demonstrations
            self.features, query_side = features[:n], features[n:-1]
            self.targets = views.of_demonstrations[1]
            inner = features[:-1] @ self.query_features
            self.D = inner.sum() if normalize else torch.ones_like(inner.sum())
            self.alpha, self.beta = layer.alpha, layer.beta
            self.negatives = layer.negative_shares(views) if layer.negatives != "none" else None
            self.W_0 = views.of_query_side[1].mT @ query_side / self.D * float(query_start)
            self.weights = inner[:n] / self.D
            """The demonstrations' attention weights as the features give them [N]."""

    def loss(self, W: Float[Tensor, "K R"], eta: float) -> Float[Tensor, ""]:
        """L(W) for learning rate `eta`; it is linear in W unless the layer is regularized."""
        predictions = self.features @ W.mT
        alignment = torch.einsum("nk,nk->", self.targets, predictions)
        loss = -alignment / (eta * self.D)
        if self.negatives is not None:
            contrast = torch.einsum("nm,mk,nk->", self.negatives, self.targets, predictions)
            loss = loss + self.beta * contrast / (eta * self.D)
        return loss + self.alpha / (2 * eta) * W.square().sum()

    def step(self, W: Float[Tensor, "K R"], *, eta: float = 1.0, lr: float | None = None) -> Float[Tensor, "K R"]:
        """One step of gradient descent by autograd, at learning rate `lr` (by default the loss's own `eta`)."""
        W = W.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(W, eta), W)
        return (W - (eta if lr is None else lr) * gradient).detach()

    def output(self, W: Float[Tensor, "K R"]) -> Float[Tensor, " K"]:
        """f at the query."""
        return W @ self.query_features

    def outputs(self, steps: int, *, eta: float = 1.0, lr: float | None = None) -> Float[Tensor, "M K"]:
        """f at the query before the first and after each of `steps` gradient steps from W_0."""
        W, found = self.W_0, [self.output(self.W_0)]
        for _ in range(steps):
            W = self.step(W, eta=eta, lr=lr)
            found.append(self.output(W))
        return torch.stack(found)

    def fixed_point(self) -> Float[Tensor, " K"]:
        r"""Where iterated steps end with alpha in (0, 2): :math:`V_D' \, \mathrm{softmax}_D / \alpha`, W_0 forgotten.

        Raises `ValueError` without regularization: the loss is then unbounded below.
        """
        if not self.alpha > 0:
            raise ValueError(f"a fixed point needs alpha above 0, got {self.alpha}")
        values = self.targets
        if self.negatives is not None:
            values = values - self.beta * self.negatives @ values
        return values.mT @ self.weights / self.alpha
