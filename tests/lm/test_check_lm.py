"""What is refused without reading weights is what is refused when they are read."""

import pytest
import torch
from lm.test_directory import BROKEN

from elegans.lm import load_lm
from elegans.lm.directory import check_lm

pytest.importorskip("transformers")


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "gpt_neox", "mistral", "gpt_neo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_directory_gives_the_model_without_weights(kind, dtype, make, tmp_path):
    make(kind, dtype).save(tmp_path, shard_bytes=6000 if dtype == torch.float32 else 10**9)
    lm, loaded = check_lm(tmp_path), load_lm(tmp_path)
    assert (lm.vocab_size, lm.context) == (loaded.vocab_size, loaded.context)
    shapes, expected = ({name: p.shape for name, p in found.model.named_parameters()} for found in (lm, loaded))
    assert shapes == expected and {p.device.type for p in lm.model.parameters()} == {"meta"}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_directory_is_refused_as_when_it_is_loaded(fault, make, tmp_path):
    make(dtype=torch.float32).save(tmp_path)
    BROKEN[fault][0](tmp_path)
    refusals = []
    for read in (check_lm, load_lm):
        with pytest.raises(ValueError) as caught:
            read(tmp_path)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


def test_what_is_no_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing is downloaded"):
        check_lm(tmp_path / "openai-community" / "gpt2")


def test_sites_are_known_or_refused(make, tmp_path):
    for kind in ("llama", "gpt_neo"):
        make(kind, torch.float32).save(tmp_path / kind)
    with check_lm(tmp_path / "llama").adapted():
        pass
    with pytest.raises(ValueError, match="gpt_neo"), check_lm(tmp_path / "gpt_neo").adapted():
        pass
