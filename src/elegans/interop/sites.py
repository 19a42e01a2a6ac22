"""The sites of Hugging Face's causal language models, under the names of `elegans.models.base.Site`.

Shapes: B batch, T positions, S keys, D width, H heads, K head width, V vocabulary.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel, Sites

OPEN = "elegans"
"""The attention implementation whose scores and weights pass through sites, as transformers knows it."""


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a pre-norm causal language model are.

    Attributes:
        blocks, norm: the list of blocks and the last norm, as paths from the model.
        norm_mixer: the first norm of a block; this and the following are paths from a block.
        attention: the attention module, which calls transformers' attention interface.
        mixer, mlp: the modules whose outputs are added to the residual stream.
        project_out: the projection that reads the heads.
        parallel: option of the config that says whether mixer and MLP read the same stream; such blocks have no ``mid``.
    """

    blocks: str = "model.layers"
    norm: str = "model.norm"
    norm_mixer: str = "input_layernorm"
    attention: str = "self_attn"
    mixer: str = "self_attn"
    mlp: str = "mlp"
    project_out: str = "self_attn.o_proj"
    parallel: str = ""


_LLAMA = Anatomy()
ANATOMY = {
    "gpt2": Anatomy("transformer.h", "transformer.ln_f", "ln_1", "attn", "attn", "mlp", "attn.c_proj"),
    "gpt_neox": Anatomy(
        "gpt_neox.layers",
        "gpt_neox.final_layer_norm",
        attention="attention",
        mixer="post_attention_dropout",
        mlp="post_mlp_dropout",
        project_out="attention.dense",
        parallel="use_parallel_residual",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
"""By `model_type`."""


def adapt(model: nn.Module, anatomy: Anatomy | None = None) -> "Adapted":
    """A causal language model of the transformers library, with sites, so that all probes work on it.

    GPT-2, GPT-NeoX, Llama, Mistral, Qwen2 and Qwen3 are known; for another architecture give its `anatomy`. The model is
    not copied. It carries hooks until `Adapted.release`, so its own methods (``generate``) pass the sites too, all but
    ``scores`` and ``weights``, which exist in calls of the adapted model and only where somebody looks at them.

    Raises `ValueError` for an architecture that is not known and for a model that is adapted already.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    anatomy = anatomy or ANATOMY.get(str(kind))
    if anatomy is None:
        raise ValueError(
            f"{type(model).__name__} (model_type={kind!r}) is not known, only {', '.join(ANATOMY)};"
            " for another architecture give its anatomy"
        )
    return Adapted(model, anatomy)


class Adapted(SequenceModel):
    """A model of the transformers library as tokens to logits with sites (see `adapt`)."""

    def __init__(self, hf: nn.Module, anatomy: Anatomy) -> None:
        super().__init__()
        self.hf, self._anatomy = hf, anatomy
        self._config: Any = hf.config
        self.vocab_size = self._config.vocab_size
        attentions = [block.get_submodule(anatomy.attention) for block in self._layers()]
        if any(attention in _MAPS for attention in attentions):
            raise ValueError("this model is adapted already; use what adapt returned, or release it first")
        parallel = bool(anatomy.parallel) and getattr(self._config, anatomy.parallel)
        self.at = Sites("embed", "final")
        self.blocks = nn.ModuleList([_BlockSites(parallel) for _ in attentions])
        self._hooks = []
        for level, (block, sites, attention) in enumerate(zip(self._layers(), self.blocks, attentions, strict=True)):
            assert isinstance(sites, _BlockSites)
            _MAPS[attention] = sites.mixer.at
            self._hook_block(level, block, sites)
        self._hooks.append(self.norm.register_forward_hook(lambda _, args, y: self.at["final"](y)))
        _register_attention()

    def _hook_block(self, level: int, block: nn.Module, sites: "_BlockSites") -> None:
        at, part, number = sites.at, block.get_submodule, self._config.num_attention_heads

        def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            x = self.at["embed"](args[0]) if level == 0 else args[0]
            return (at["in"](x), *args[1:])

        def enter_mixer(_: nn.Module, args: tuple[Any, ...]) -> None:
            sites.stream = args[0] if "mid" in at and at.watched("mid") else None

        def add(_: nn.Module, args: Any, output: Any) -> Any:
            mixed = at["mixer"](output[0] if isinstance(output, tuple) else output)
            if sites.stream is not None:
                stream, sites.stream = sites.stream, None
                mid = mixed + stream
                new = at["mid"](mid)
                mixed = mixed if new is mid else new - stream
            return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

        def read_heads(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (sites.mixer.at["heads"](args[0].unflatten(-1, (number, -1))).flatten(-2), *args[1:])

        self._hooks += [
            block.register_forward_pre_hook(enter),
            part(self._anatomy.norm_mixer).register_forward_pre_hook(enter_mixer),
            part(self._anatomy.project_out).register_forward_pre_hook(read_heads),
            part(self._anatomy.mixer).register_forward_hook(add),
            part(self._anatomy.mlp).register_forward_hook(lambda _, args, y: at["mlp"](y)),
            block.register_forward_hook(lambda _, args, y: at["out"](y)),
        ]

    def _layers(self) -> nn.ModuleList:
        return self.hf.get_submodule(self._anatomy.blocks)  # pyright: ignore[reportReturnType]

    @property
    def norm(self) -> nn.Module:
        """The norm before the unembedding."""
        return self.hf.get_submodule(self._anatomy.norm)

    def forward(self, tokens: Int[Tensor, "B T"], **options: Any) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position. `options` go to the model (``attention_mask``, ``position_ids``)."""
        looked_at = any(block.mixer.at.watched("scores", "weights") for block in self.blocks)  # pyright: ignore
        before = self._config._attn_implementation
        if looked_at:
            self._config._attn_implementation = OPEN
        try:
            return self.hf(input_ids=tokens, use_cache=False, **options).logits
        finally:
            self._config._attn_implementation = before

    def resume(self, x: Float[Tensor, "B T D"], level: int) -> Float[Tensor, "B T V"]:
        """The logits, given the residual stream that enters block `level`; no block before it is computed."""
        layers = self._layers()
        if level == len(layers):
            return self.hf.get_output_embeddings()(self.norm(x))  # pyright: ignore[reportCallIssue]
        enter = layers[level].register_forward_pre_hook(lambda _, args: (x, *args[1:]), prepend=True)
        with enter, _skipped(layers, level):
            return self(torch.zeros(x.shape[:2], dtype=torch.long, device=x.device))

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The token table."""
        return self.hf.get_input_embeddings().weight  # pyright: ignore[reportCallIssue]

    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The rows that the last layer's output is compared with."""
        return self.hf.get_output_embeddings().weight  # pyright: ignore[reportCallIssue]

    def release(self) -> nn.Module:
        """The model as it was, without hooks."""
        for hook in self._hooks:
            hook.remove()
        for block in self._layers():
            _MAPS.pop(block.get_submodule(self._anatomy.attention), None)
        return self.hf


class _BlockSites(nn.Module):
    """The sites of one block; `stream` is what its mixer's output is about to be added to."""

    stream: Tensor | None = None

    def __init__(self, parallel: bool) -> None:
        super().__init__()
        self.at = Sites("in", "mixer", *(() if parallel else ("mid",)), "mlp", "out")
        self.mixer = _MixerSites()


class _MixerSites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.at = Sites("heads", "scores", "weights")


@contextmanager
def _skipped(layers: nn.ModuleList, level: int) -> Iterator[None]:
    """The first blocks pass on what they get."""
    kept = list(layers)
    try:
        for i in range(level):
            layers[i] = _Skipped()
        yield
    finally:
        for i in range(level):
            layers[i] = kept[i]


class _Skipped(nn.Module):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


# ------------------------------------------------------------------------------------------------ attention

_MAPS: WeakKeyDictionary[nn.Module, Sites] = WeakKeyDictionary()
"""The sites of the attention modules of adapted models."""


def _register_attention() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface  # pyright: ignore[reportMissingImports]
    from transformers.masking_utils import eager_mask  # pyright: ignore[reportMissingImports]

    AttentionInterface.register(OPEN, _attend)
    AttentionMaskInterface.register(OPEN, eager_mask)


def _attend(
    module: nn.Module,
    query: Float[Tensor, "B H T K"],
    key: Float[Tensor, "B G S K"],
    value: Float[Tensor, "B G S K"],
    attention_mask: Float[Tensor, "B 1 T S"] | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Float[Tensor, "B T H K"], Float[Tensor, "B H T S"]]:
    """Softmax attention whose scores and weights pass through sites; G key heads serve H / G query heads each."""
    at = _MAPS[module]
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        hidden = attention_mask == torch.finfo(attention_mask.dtype).min
        # A padded query sees nothing; its finite mask keeps its softmax finite.
        scores = (scores + attention_mask).masked_fill(hidden & ~hidden.all(-1, keepdim=True), -math.inf)
    scores = at["scores"](scores)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype)
    weights = at["weights"](weights)
    return (nn.functional.dropout(weights, dropout, module.training) @ value).transpose(1, 2), weights
