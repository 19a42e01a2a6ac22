"""What a model says when it goes on by itself.

Shapes: N prompts, P tokens per prompt, W tokens generated.
"""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel
from elegans.tasks.base import evaluating


def greedy(model: nn.Module, prompts: Int[Tensor, "N P"], length: int) -> Int[Tensor, "N W"]:
    """The `length` most likely tokens after each prompt, each given the ones before.

    A model with a recurrent form reads the prompt once and goes on from its state; any other module reads the whole
    sequence again for every token. Raises `ValueError` for an empty prompt.
    """
    if not prompts.shape[1]:
        raise ValueError("a prompt needs at least one token")
    if not length:
        return prompts[:, :0]
    with evaluating(model):
        if not isinstance(model, SequenceModel) or type(model).extend is SequenceModel.extend:
            tokens = prompts
            for _ in range(length):
                tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
            return tokens[:, prompts.shape[1] :].clone()
        logits, state = model.extend(prompts, model.init_state(len(prompts)))
        generated = [logits[:, -1].argmax(-1)]
        for _ in range(length - 1):
            logits, state = model.step(generated[-1], state)
            generated.append(logits.argmax(-1))
        return torch.stack(generated, dim=1).clone()
