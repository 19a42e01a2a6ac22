"""Where code runs inside `torch.func` transforms."""

import torch


def inside_transform() -> bool:
    """Whether a `torch.func` transform (vmap, grad, ...) is active; custom kernels then give way to plain operations."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return functorch.peek_interpreter_stack() is not None
