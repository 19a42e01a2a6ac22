"""What a directory may hold and what is refused."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from elegans.lm import TextModel, load_lm, word_tokenizer
from elegans.probes.record import record
from elegans.tasks.base import evaluating

pytest.importorskip("transformers")

TOKENS = torch.tensor([[2, 3, 4, 5], [6, 7, 2, 3]])


@pytest.fixture
def directory(make, tmp_path):
    """A Llama in float32 with its tokenizer."""
    make(dtype=torch.float32).save(tmp_path)
    return tmp_path


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def shards(directory):
    """Cut the weights in two; returns the paths of the two shards and of the index."""
    load_lm(directory).save(directory, shard_bytes=6000)
    (directory / "model.safetensors").unlink(missing_ok=True)
    first, *_, last = sorted(directory.glob("model-*.safetensors"))
    return first, last, directory / "model.safetensors.index.json"


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "gpt_neox", "gpt_neo"])
@pytest.mark.parametrize("shard_bytes", [10**9, 6000])
def test_what_is_written_is_read(kind, shard_bytes, make, tmp_path):
    lm = make(kind, torch.float32)
    lm.save(tmp_path, shard_bytes=shard_bytes)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 or shard_bytes == 6000
    again = load_lm(tmp_path)
    torch.testing.assert_close(again.net(TOKENS), lm.net(TOKENS), rtol=0, atol=0)
    assert again.tokenizer("a b = c")["input_ids"] == lm.tokenizer("a b = c")["input_ids"]
    assert not again.model.training and again.vocab_size == 12 and again.context == 96


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_half_precision_is_read_as_it_is_or_widened(kind, make, tmp_path):
    lm = make(kind, torch.bfloat16)
    lm.save(tmp_path)
    assert next(load_lm(tmp_path).model.parameters()).dtype == torch.bfloat16
    wide = load_lm(tmp_path, dtype="float32")
    assert next(wide.model.parameters()).dtype == torch.float32
    torch.testing.assert_close(wide.net(TOKENS), lm.net(TOKENS).float(), rtol=0.1, atol=0.1)


def test_the_net_is_the_model_and_shows_its_sites_while_adapted(make):
    lm = make("qwen2")
    expected = lm.model(input_ids=TOKENS).logits
    torch.testing.assert_close(lm.net(TOKENS), expected)
    torch.testing.assert_close(lm.net(TOKENS, keep=torch.tensor([1, 3])), expected[:, [1, 3]])
    with lm.adapted() as net, record(net, "*.weights") as seen, evaluating(net):
        torch.testing.assert_close(net(TOKENS), expected)
    assert seen["blocks.1.mixer.weights"].shape == (2, 4, 4, 4)
    with lm.adapted() as net:
        pass
    copy = lm.copy()
    assert copy.model is not lm.model and copy.device == lm.device


def test_a_tied_weight_is_trained_and_kept_once(make):
    net = make("gpt2").net
    assert len(net.state_dict()) == len(list(net.parameters()))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    net.load_state_dict(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def no_tokenizer(path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def change_weights(change):
    def apply(path):
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors", {"format": "pt"})

    return apply


def config(**options):
    return lambda path: edit(path / "config.json", lambda values: values.update(options))


def without_index(path):
    shards(path)[2].unlink()


def index(change):
    return lambda path: edit(shards(path)[2], change)


def outside(values):
    values["weight_map"]["lm_head.weight"] = "../model.safetensors"


BROKEN = {
    "no config": (lambda path: (path / "config.json").unlink(), r"config\.json cannot be read"),
    "config is no JSON": (lambda path: (path / "config.json").write_text("{"), r"config\.json is not JSON"),
    "config is a list": (lambda path: (path / "config.json").write_text("[]"), r"config\.json holds a list"),
    "code": (config(auto_map={"AutoModelForCausalLM": "code.Model"}), r"config\.json: auto_map"),
    "quantized": (config(quantization_config={"bits": 4}), r"config\.json: quantization_config"),
    "no type": (config(model_type=None), "model_type=None"),
    "unknown type": (config(model_type="nonesuch"), "model_type='nonesuch' is no causal language model"),
    "an encoder-decoder": (config(model_type="t5"), "model_type='t5' is no causal language model"),
    "a classifier": (config(architectures=["LlamaForSequenceClassification"]), "architectures=.*LlamaForCausalLM"),
    "senseless sizes": (config(num_attention_heads="four"), r"config\.json: transformers cannot read it"),
    "no tokenizer": (no_tokenizer, "has no tokenizer"),
    "tokenizer is no JSON": (lambda path: (path / "tokenizer.json").write_text("{"), r"tokenizer\.json is not JSON"),
    "tokenizer of nothing": (lambda path: (path / "tokenizer.json").write_text("{}"), "tokenizer.json: transformers"),
    "tokenizer with code": (
        lambda path: edit(
            path / "tokenizer_config.json", lambda v: v.update(auto_map={"AutoTokenizer": ["c.T", None]})
        ),
        r"tokenizer_config\.json: auto_map",
    ),
    "tokenizer too large": (
        lambda path: word_tokenizer([*"abcdefgh", "=", ".", "more"]).save_pretrained(path),
        "the tokenizer has token 12, the model embeds only 12 tokens",
    ),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "has no weights"),
    "pickled weights": (pickled, r"only pickled ones \(pytorch_model.bin\)"),
    "truncated weights": (lambda path: truncate(path / "model.safetensors"), r"model\.safetensors is not a readable"),
    "empty weights": (
        lambda path: (path / "model.safetensors").write_bytes(b""),
        r"model\.safetensors is not a readable",
    ),
    "no index": (without_index, "has no weights"),
    "missing shard": (lambda path: shards(path)[0].unlink(), r"model-00001-of-\d+\.safetensors .* it does not exist"),
    "truncated shard": (lambda path: truncate(shards(path)[1]), r"model-\d+-of-\d+\.safetensors is not a readable"),
    "corrupted shard": (lambda path: shards(path)[0].write_bytes(b"\xff" * 999), r"model-00001-of-\d+\.safetensors"),
    "index without map": (index(lambda values: values.pop("weight_map")), "index.json has no weight_map"),
    "index is no JSON": (lambda path: shards(path)[2].write_text("no"), r"index\.json is not JSON"),
    "index with a stranger": (index(lambda v: v["weight_map"].update(more="model.safetensors")), r"model\.safetensors"),
    "index that leaves out": (index(lambda v: v["weight_map"].pop("lm_head.weight")), "holds 'lm_head.weight'"),
    "index to elsewhere": (index(outside), "'../model.safetensors', which is no safetensors file beside it"),
    "a tensor is missing": (
        change_weights(lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        "the weights lack 'model.layers.1.mlp.up_proj.weight'",
    ),
    "a tensor is left over": (change_weights(lambda t: t.update(extra=torch.zeros(1))), "no place for 'extra'"),
    "a tensor has another shape": (
        change_weights(lambda t: t.update({"model.norm.weight": torch.zeros(7)})),
        "another shape to 'model.norm.weight'",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_directory_is_refused_in_one_line(fault, directory):
    breaks, named = BROKEN[fault]
    breaks(directory)
    with pytest.raises(ValueError, match=named) as caught:
        load_lm(directory)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_is_no_directory_and_no_precision_is_refused(directory):
    with pytest.raises(ValueError, match="nothing is downloaded"):
        load_lm("openai-community/gpt2")
    with pytest.raises(ValueError, match="dtype"):
        load_lm(directory, dtype="int8")


def test_buffers_that_old_releases_stored_are_no_fault(directory):
    change_weights(lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(2)}))(directory)
    load_lm(directory)


def test_nothing_is_written_to_the_terminal(directory, capfd):
    lm = load_lm(directory)
    lm.save(directory / "again")
    assert capfd.readouterr() == ("", "")


def test_the_package_loads_without_the_libraries():
    code = "import elegans.lm, sys; sys.exit(bool({'transformers', 'peft', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_missing_library_is_named(monkeypatch, directory):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "transformers.models.auto.modeling_auto", None)
    with pytest.raises(ValueError, match=r"pip install 'elegans\[hf\]'"):
        load_lm(directory)


def test_a_model_without_known_sites_says_so(make):
    lm = make("gpt_neo")
    assert isinstance(lm, TextModel)
    with pytest.raises(ValueError, match="gpt_neo"), lm.adapted():
        pass
