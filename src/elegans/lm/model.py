"""A causal language model together with its tokenizer.

Shapes: B batch, T positions, K positions whose logits are kept, V vocabulary.
"""

import copy
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.interop.sites import Adapted, adapt
from elegans.models.base import SequenceModel
from elegans.ops.rng import torch_seed
from elegans.tasks.base import IGNORE, Batch


@dataclass(frozen=True, eq=False)
class TextModel:
    """A causal language model of the transformers library and the tokenizer of its text.

    Attributes:
        model: ``LlamaForCausalLM`` and the like, or such a model with peft's adapters.
        tokenizer: a fast tokenizer, one that knows where in the text a token stands.
        history: what `elegans.lm.finetune.finetune` measured on the way, with a ``step`` dimension.
    """

    model: Any
    tokenizer: Any
    history: xr.Dataset | None = field(default=None, repr=False, compare=False)

    @property
    def bare(self) -> Any:
        """The model of the transformers library; adapters act in it, but their wrapper is off."""
        wrapped = getattr(self.model, "get_base_model", None)
        return wrapped() if wrapped else self.model

    @property
    def net(self) -> "Net":
        """The model as tokens to logits, for `elegans.training.fit` and `elegans.tasks.score`. It shares the weights."""
        return Net(self.bare)

    @contextmanager
    def adapted(self) -> Iterator[Adapted]:
        """Inside, the model as tokens to logits with sites, for `elegans.probes`. It shares the weights.

        Raises `ValueError` for an architecture whose sites are not known (see `elegans.interop.sites.adapt`).
        """
        net = adapt(self.bare)
        try:
            yield net
        finally:
            net.release()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def vocab_size(self) -> int:
        """Rows of the token table, which may be more than the tokenizer has tokens."""
        return self.bare.get_input_embeddings().weight.shape[0]

    @property
    def context(self) -> int | None:
        """The longest sequence the model was made for, in tokens; None if its config names none."""
        return getattr(self.bare.config, "max_position_embeddings", None)

    def save(self, directory: str | Path, *, shard_bytes: int = 5 * 10**9) -> None:
        """Write weights (safetensors), config and tokenizer; of a model with adapters the adapters only.

        `elegans.lm.load_lm` reads the former, `elegans.lm.load_adapter` the latter. Raises `OSError` if the directory
        cannot be written.
        """
        # peft would otherwise ask the hub whether the embeddings were resized.
        adapter = {"save_embedding_layers": False} if self.bare is not self.model else {}
        Path(directory).mkdir(parents=True, exist_ok=True)
        with quiet():
            self.model.save_pretrained(directory, max_shard_size=shard_bytes, **adapter)
            self.tokenizer.save_pretrained(directory)

    def copy(self) -> "TextModel":
        """The same with weights of its own."""
        return replace(self, model=copy.deepcopy(self.model))


class Net(SequenceModel):
    """A model of the transformers library as tokens to logits.

    Sequences may be padded on the right: the model is causal, so what stands before a pad does not see it, and no mask is
    needed. `state_dict` holds what is trained, once where weights are tied. Dropout of the model itself stays off, for it
    cannot always be seeded; that of adapters follows `train`.
    """

    def __init__(self, hf: nn.Module, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.hf, self._autocast = hf, autocast
        self.vocab_size = hf.get_input_embeddings().weight.shape[0]  # pyright: ignore[reportCallIssue]
        self._selects = "logits_to_keep" in inspect.signature(hf.forward).parameters

    def forward(
        self, tokens: Int[Tensor, "B T"], *, keep: Int[Tensor, " K"] | None = None, **options: Any
    ) -> Float[Tensor, "B K V"]:
        """Logits of the token after each position, or after those in `keep`. `options` go to the model."""
        selected = {"logits_to_keep": keep} if keep is not None and self._selects else {}
        with torch.autocast(tokens.device.type, self._autocast, enabled=self._autocast is not None):
            logits = self.hf(input_ids=tokens, **{"use_cache": False} | selected | options).logits
        return logits if keep is None or selected else logits[:, keep]

    def scored(self, batch: Batch) -> tuple[Float[Tensor, "B K V"], Int[Tensor, "B K"]]:
        """Logits and targets at the positions that are scored in any row; no other logits are computed."""
        keep = (batch.targets != IGNORE).any(0).nonzero()[:, 0]
        return self(batch.tokens, keep=keep), batch.targets[:, keep]

    def train(self, mode: bool = True) -> "Net":
        """Switch dropout of adapters on or off."""
        super().train(mode)
        for name, module in self.hf.named_modules():
            module.training = mode and "lora_dropout" in name
        return self

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The trainable parameters by name."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *_: Any, **__: Any) -> None:  # pyright: ignore
        """Give the trainable parameters their values."""
        own = self.state_dict()
        assert own.keys() == state_dict.keys(), "a state of another model"
        for name, tensor in own.items():
            tensor.copy_(state_dict[name])


def library(name: str) -> Any:
    """A library of the extra ``hf``. Raises `ValueError` with what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name
    raise ValueError(f"language models need the {missing} library: pip install 'elegans[hf]'")


@contextmanager
def seeded(*address: str | int) -> Iterator[None]:
    """Inside, torch's global generators are seeded, for foreign code that draws from them; outside they are as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(torch_seed(*address))
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no messages of the transformers library inside."""
    log = library("transformers.utils.logging")
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
