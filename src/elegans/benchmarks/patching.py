"""A full sweep of activation patching, layer by position, against TransformerLens and against one pass per cell."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.benchmarks.peers import quiet
from elegans.interop import to_huggingface
from elegans.models.base import SequenceModel
from elegans.models.registry import build
from elegans.ops.rng import torch_rng
from elegans.probes.interchange import interchange_residual
from elegans.probes.metrics import Metric, logit_difference
from elegans.probes.record import patch, record

LENS = "TransformerLens"
VOCAB, DEPTH, LENGTH = 256, 4, 16


def in_lens(model: SequenceModel) -> Any:
    """Our model in TransformerLens 4 or later."""
    from transformer_lens.model_bridge import TransformerBridge  # pyright: ignore[reportMissingImports]
    from transformers import AutoModelForCausalLM, AutoTokenizer  # pyright: ignore[reportMissingImports]

    with TemporaryDirectory() as folder:
        to_huggingface(model, Path(folder))
        _write_tokenizer(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return TransformerBridge.boot_transformers(folder, hf_model=theirs, tokenizer=tokenizer, device="cpu")


def _write_tokenizer(folder: str) -> None:
    """TransformerLens wants one."""
    from tokenizers import Tokenizer, models  # pyright: ignore[reportMissingImports]
    from transformers import PreTrainedTokenizerFast  # pyright: ignore[reportMissingImports]

    words = models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0")
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "w0")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), **special).save_pretrained(folder)


def lens_sweep(
    model: SequenceModel, clean: Tensor, corrupted: Tensor, metric: Metric
) -> Callable[[], list[Tensor]] | None:
    """The sweep by TransformerLens, None where it is not installed."""
    if not importlib.util.find_spec("transformer_lens"):
        return None
    from transformer_lens import patching  # pyright: ignore[reportMissingImports]

    with quiet(), redirect_stderr(StringIO()):
        theirs = in_lens(model)

    @torch.no_grad()
    def sweep() -> list[Tensor]:
        with redirect_stderr(StringIO()):
            _, cache = theirs.run_with_cache(clean)
            return [patching.get_act_patch_resid_pre(theirs, corrupted, cache, lambda logits: metric(logits).mean())]

    return sweep


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """4 layers of width 128, 64 pairs of 16 tokens; on a CPU, where TransformerLens is measured too."""
    if device.type != "cpu":
        return
    batch, width = (4, 32) if quick else (64, 128)
    model = build("gpt", vocab=VOCAB, width=width, depth=DEPTH, context=LENGTH, std=0.1, embedding_std=0.5).eval()
    generator = torch_rng("benchmark", "patching")
    clean, corrupted = (torch.randint(VOCAB, (batch, LENGTH), generator=generator) for _ in range(2))
    metric = logit_difference(clean[:, 0], corrupted[:, 0])

    @torch.inference_mode()
    def one_by_one() -> list[Tensor]:
        with record(model, "blocks.*.in") as seen:
            model(clean)
        values = []
        for site, activation in seen.items():
            for position in range(LENGTH):

                def exchange(x: Tensor, new: Tensor = activation, position: int = position) -> Tensor:
                    x = x.clone()
                    x[:, position] = new[:, position]
                    return x

                with patch(model, {site: exchange}):
                    values.append(metric(model(corrupted)).mean())
        return [torch.stack(values).reshape(DEPTH, LENGTH)]

    def ours() -> list[Tensor]:
        return [torch.from_numpy(interchange_residual(model, corrupted, clean, metric).mean("item").values)]

    yield Case(
        name=f"D{width} L{DEPTH}, {batch} pairs of {LENGTH}",
        contenders=(
            Contender(name="one pass per cell", call=one_by_one),
            Contender(name="interchange_residual", call=ours, goal=Goal(at_most=0.6)),
            Contender(name=LENS, call=lens_sweep(model, clean, corrupted, metric)),
        ),
        tolerance=1e-4,
    )
