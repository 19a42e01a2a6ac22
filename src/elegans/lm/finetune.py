"""Fine-tuning on prompts with answers: all weights, or adapters of low rank (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr
from torch import nn

from elegans.interop.files import read_json
from elegans.lm.model import Net, TextModel, library, seeded
from elegans.lm.prompting import score_tokens
from elegans.lm.tokens import Item, LossOn, TextTask, pad_id
from elegans.tasks.base import IGNORE, Batch, token_nll
from elegans.training.loop import Run, fit
from elegans.training.optim import Optim

_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj")
ATTENTION = {
    "gpt2": ("attn.c_attn", "attn.c_proj"),
    "gpt_neo": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "gpt_neox": ("attention.query_key_value", "attention.dense"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
"""The projections of attention by `model_type`, as the ends of their names; for others peft's own choice is taken."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Adapters W + (alpha / rank) B A, with B = 0 at the start; the weights W are frozen.

    Attributes:
        rank, alpha: of the adapters.
        targets: ends of the names of the projections that get one; by default those of attention, queries to output.
        dropout: rate on the adapters' input.
        merge: add the adapters to the weights at the end. Otherwise the result keeps them apart: `TextModel.save` then
            writes the adapters alone, to be read by `load_adapter`.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | None = None
    dropout: float = 0.0
    merge: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


def finetune(
    lm: TextModel,
    items: Sequence[Item],
    *,
    steps: int,
    lr: float,
    batch_size: int = 16,
    warmup: int = 0,
    weight_decay: float = 0.0,
    schedule: Literal["constant", "linear", "cosine"] = "constant",
    clip: float | None = 1.0,
    lora: Lora | None = None,
    loss_on: LossOn = "answer",
    seed: int = 0,
    evaluate: Mapping[str, Sequence[Item]] | None = None,
    evaluate_at: Sequence[int] | int = 10,
    until: Callable[[xr.Dataset], bool] | None = None,
    run: Run | None = None,
    name: str = "finetune",
) -> TextModel:
    """A copy of `lm` trained on `items`; `lm` stays as it is.

    All weights are trained by AdamW, or with `lora` the adapters alone. A model in half precision is trained in single
    precision and returned in its own; under bfloat16 the passes stay in it. With `lora` its weights, being frozen, stay
    as they are and the adapters are in single precision.

    Args:
        lm: the model to start from.
        items: prompts with answers; see `elegans.lm.tokens.encode_items` for the boundary between them.
        steps, batch_size: updates, items per update. All items are used once before any is used twice.
        lr, warmup, weight_decay, schedule, clip: see `elegans.training.Optim`.
        lora: the adapters, or None for all weights.
        loss_on: the tokens of the answer, or of the prompt too. The loss is the mean over these tokens.
        seed: of the order of items, of the adapters and of their dropout.
        evaluate: named lists of items whose mean `nll` and `accuracy` (exact match) are measured on the way.
        evaluate_at: the steps at which to measure, or how many intervals to spread evenly.
        until: ends the training early once it holds for what was just measured.
        run, name: the lab's handle and the name of this phase, under which it resumes.

    Returns:
        The model in evaluation mode; its `history` has what was measured, dimensions (step, split).

    Raises `ValueError` for items that `encode_items` refuses or that are longer than the context and for a model that
    has adapters already, `FloatingPointError` where the training diverges.
    """
    if lm.bare is not lm.model:
        raise ValueError("this model has adapters already; merge them first, model.merge_and_unload()")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {steps} and {batch_size}")
    splits = dict(evaluate or {})
    if "train" in splits:
        raise ValueError("'train' stands for the items trained on; to evaluate on items give them another name")
    task = TextTask(lm, {"train": items, **splits}, loss_on=loss_on)
    for split in task.splits:
        if not task.items[split]:
            raise ValueError(f"{split} needs at least one item")
    stored = next(lm.model.parameters()).dtype
    tuned = replace(lm.copy(), history=None)
    if lora is not None:
        tuned = replace(tuned, model=_with_adapters(tuned, lora, seed))
    elif stored in (torch.bfloat16, torch.float16):
        _cast(tuned.model, torch.float32)
    autocast = torch.bfloat16 if stored == torch.bfloat16 and lora is None else None
    pad = pad_id(lm.tokenizer)

    def measure(net: Any, task: Any) -> xr.Dataset:
        parts = [score_tokens(net, task.items[split], pad, loss_on=loss_on, batch_size=batch_size) for split in splits]
        means = {k: ("split", [float(part[k].mean()) for part in parts]) for k in ("nll", "accuracy")}
        return xr.Dataset(means, coords={"split": list(splits)})

    history = fit(
        Net(tuned.bare, autocast),
        task,
        steps=steps,
        batch_size=batch_size,
        optim=Optim(lr=lr, weight_decay=weight_decay, warmup=warmup, schedule=schedule, clip=clip),
        seed=seed,
        evaluate_at=evaluate_at if splits else (),
        measure=measure,
        objective=_mean_nll,
        until=until,
        run=run,
        name=name,
    )
    model = tuned.model
    if lora is None:
        _cast(model, stored)
    elif lora.merge:
        model = model.merge_and_unload()
    return replace(tuned, model=model.eval(), history=history if splits else None)


def load_adapter(lm: TextModel, directory: str | Path, *, merge: bool = True) -> TextModel:
    """A copy of `lm` with the adapters that `TextModel.save` wrote, added to the weights or with ``merge=False`` apart.

    Raises `ValueError`, in one line, where the directory has none, or has adapters of another model or pickled ones.
    """
    directory, peft = Path(directory), library("peft")
    settings = read_json(directory / "adapter_config.json")
    if settings.get("peft_type") != "LORA" or settings.get("auto_mapping"):
        raise ValueError(f"{directory / 'adapter_config.json'} does not describe LoRA adapters")
    if not (directory / "adapter_model.safetensors").exists():
        raise ValueError(f"{directory} has no adapter_model.safetensors")
    with _peft_warnings():
        # A warning is all that peft has for adapters that are missing.
        warnings.simplefilter("error", UserWarning)
        try:
            model = peft.PeftModel.from_pretrained(lm.copy().model, directory, local_files_only=True)
        except Exception as error:  # files of another model fail in every way
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{directory}: peft cannot read it: {type(error).__name__}: {reason}") from None
        model = model.merge_and_unload() if merge else model
    return replace(lm, model=model.eval(), history=None)


def _with_adapters(lm: TextModel, lora: Lora, seed: int) -> Any:
    peft = library("peft")
    targets = lora.targets or ATTENTION.get(lm.bare.config.model_type)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(targets) if targets else None,
        fan_in_fan_out=lm.bare.config.model_type == "gpt2",  # its projections are stored transposed
        task_type="CAUSAL_LM",
    )
    with _peft_warnings(), seeded("lora", seed):
        try:
            return peft.get_peft_model(lm.model, config)
        except ValueError as error:
            raise ValueError(
                f"the adapters have no place in this model: {' '.join(str(error).split())[:200]}"
            ) from None


@contextmanager
def _peft_warnings() -> Iterator[None]:
    """Without the warnings that peft causes in the transformers library by asking for what was renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Parameters only: buffers (the frequencies of rotary positions) are in single precision at all times."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _mean_nll(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The mean over scored tokens, `elegans.training.loop.mean_nll`, without the logits of other positions."""
    assert isinstance(net, Net)
    logits, targets = net.scored(batch)
    return (
        token_nll(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets).sum()
        / (targets != IGNORE).sum()
    )
