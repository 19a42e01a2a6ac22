"""Language models grown here: a small Llama over any tokenizer, and its pretraining."""

from typing import Any

import xarray as xr

from elegans.lm.model import TextModel, library, seeded
from elegans.models.base import require_positive
from elegans.tasks.base import Task
from elegans.training.loop import Run, fit
from elegans.training.optim import Optim


def tiny_llama(
    tokenizer: Any,
    *,
    width: int = 64,
    depth: int = 3,
    heads: int = 4,
    ffn: int = 192,
    context: int = 512,
    seed: int = 0,
) -> TextModel:
    """A Llama (RMSNorm, rotary positions, SwiGLU) with random weights, a pure function of the arguments.

    Args:
        tokenizer: gives the vocabulary; saved with the model.
        width, depth, heads: of the residual stream, blocks, heads per block.
        ffn: inner width of the MLP.
        context: the longest sequence, tokens.
        seed: of the weights. torch's global generator is left as it was.
    """
    require_positive(width=width, depth=depth, heads=heads, ffn=ffn, context=context)
    if width % (2 * heads):
        raise ValueError(f"width must be divisible by twice the heads (rotary positions), got {width} and {heads}")
    transformers = library("transformers")
    config = transformers.LlamaConfig(
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        hidden_size=width,
        intermediate_size=ffn,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded("tiny-llama", seed):
        model = transformers.LlamaForCausalLM(config)
    return TextModel(model.eval(), tokenizer)


def pretrain(
    lm: TextModel,
    task: Task,
    *,
    steps: int,
    batch_size: int = 64,
    optim: Optim | None = None,
    seed: int = 0,
    run: Run | None = None,
    **how: Any,
) -> xr.Dataset:
    """Train `lm` in place on any task whose tokens are its tokenizer's; returns what was measured on the way.

    `how` goes to `elegans.training.fit`, which also says what the other arguments are and how a run resumes. The model
    is left in evaluation mode, on the device of the run.
    """
    if task.vocab_size > lm.vocab_size:
        raise ValueError(f"the task has {task.vocab_size} tokens, the model {lm.vocab_size}")
    found = fit(lm.net, task, steps=steps, batch_size=batch_size, optim=optim, seed=seed, run=run, **how)
    lm.model.eval()
    return found
