"""Which of Hugging Face's transformers a `GPT` is."""

from elegans.models.attention import SelfAttention
from elegans.models.block import Block
from elegans.models.gpt import GPT
from elegans.models.positions import ALiBi, HardALiBi


def first_parts(model: GPT) -> tuple[Block, SelfAttention]:
    """The first block and its attention, which all others are like.

    Raises `ValueError`, saying what of this model no transformer of that library has.
    """
    what = None
    blocks = [module for module in model.blocks if isinstance(module, Block)]
    mixers = [block.mixer for block in blocks]
    for mixer in mixers:
        if type(mixer) is not SelfAttention:
            what = f"the mixer {type(mixer).__name__}"
        elif isinstance(mixer.distance, ALiBi | HardALiBi):
            what = f"{type(mixer.distance).__name__} positions with these blocks"
        elif mixer.sink is not None:
            what = f"a sink of attention ({type(mixer.sink).__name__})"
        elif mixer.shift is not None:
            what = "a token shift in softmax attention"
    if model.distinct < len(blocks):
        what = "blocks that share weights (distinct)"
    if model.embedding_norm is not None:
        what = "a norm on the embeddings (embedding_norm)"
    if what is not None:
        raise ValueError(f"Hugging Face's library has no such model: {what}")
    assert isinstance(mixers[0], SelfAttention)
    return blocks[0], mixers[0]


def architecture_of(model: GPT) -> str:
    """``gpt2`` or ``llama``, by the positions. Raises `ValueError` for others and as `first_parts` does."""
    _, attention = first_parts(model)
    if attention.rotary is not None:
        return "llama"
    if model.position_table is not None:
        return "gpt2"
    kind = "no" if model.sinusoids is None else "sinusoidal"
    raise ValueError(f"Hugging Face's library has no such model: {kind} positions with these blocks")


def refuse_unless(name: str, **parts: tuple[bool, str]) -> None:
    """Raise `ValueError` for the first setting that is not as the architecture `name` has it."""
    for setting, (holds, what) in parts.items():
        if not holds:
            raise ValueError(f"{name} has {what}, unlike this model ({setting})")
