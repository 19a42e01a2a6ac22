"""Floor 2: models and checkpoints of other libraries. Nothing here needs those libraries or the network."""

from elegans.interop.huggingface import from_huggingface, to_huggingface
from elegans.interop.rwkv_pth import load_rwkv4, save_rwkv4

__all__ = ["from_huggingface", "load_rwkv4", "save_rwkv4", "to_huggingface"]
