import numpy as np
import pytest
import torch

from elegans.lm import (
    Lora,
    answers,
    finetune,
    load_adapter,
    load_lm,
    pretrain,
    score_answers,
    tiny_llama,
    word_tokenizer,
)
from elegans.tasks import ReversalPairs
from elegans.training import FileCheckpoint, Optim

pytest.importorskip("peft")

ITEMS = [(f"{a} {b} =", f" {b}") for a in "abcdefgh" for b in "abcdefgh"]
LORA = Lora(rank=4, alpha=8)


class Run:
    """The lab's handle, without a lab; it may stop the training after some steps."""

    device = torch.device("cpu")

    def __init__(self, folder, stop_after=None):
        self.folder, self.stop_after = folder, stop_after

    def progress(self, step, total, **metrics):
        if self.stop_after is not None and step > self.stop_after:
            raise KeyboardInterrupt

    def checkpoint(self, name):
        return FileCheckpoint(self.folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def words():
    return word_tokenizer([*"abcdefgh", "="])


@pytest.fixture
def tiny(words):
    return tiny_llama(words, width=32, depth=2, heads=2, ffn=48, context=16)


def weights(lm):
    return {name: p.detach().clone() for name, p in lm.model.named_parameters()}


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_grown_model_is_a_function_of_its_seed_and_leaves_the_generator_alone(words):
    state = torch.random.get_rng_state()
    first, again, other = (weights(tiny_llama(words, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same(first, again)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    with pytest.raises(ValueError, match="heads"):
        tiny_llama(words, width=20, heads=4)


def test_pretraining_learns_any_task_and_resumes(words, tmp_path):
    task = ReversalPairs(n_symbols=4, n_pairs=4, n_both=2, seed=0)
    tokenizer = word_tokenizer([str(i) for i in range(task.vocab_size - 2)])
    how = {"steps": 60, "optim": Optim(lr=1e-2), "batch_size": 16, "evaluate_at": 2}
    whole = tiny_llama(tokenizer, width=16, depth=1, heads=2, ffn=16)
    found = pretrain(whole, task, **how)
    assert found.nll.sel(split="train").values[-1] < 0.2 * found.nll.sel(split="train").values[0]
    assert not whole.model.training
    parted = tiny_llama(tokenizer, width=16, depth=1, heads=2, ffn=16)
    pretrain(parted, task, **{**how, "steps": 60}, run=Run(tmp_path), checkpoint_every=25)
    resumed = tiny_llama(tokenizer, width=16, depth=1, heads=2, ffn=16)
    pretrain(resumed, task, **how, run=Run(tmp_path))
    assert_same(weights(resumed), weights(whole))
    with pytest.raises(ValueError, match="tokens"):
        pretrain(tiny_llama(words), ReversalPairs(n_symbols=9, n_pairs=4, n_both=2), steps=1)


@pytest.mark.parametrize("lora", [None, LORA, Lora(merge=False)], ids=["full", "merged", "adapters"])
def test_a_copy_learns_and_the_given_model_stays(lora, tiny):
    before = weights(tiny)
    lr = 1e-2 if lora is None else 3e-2
    tuned = finetune(tiny, ITEMS, steps=60, batch_size=64, lr=lr, lora=lora, evaluate={"all": ITEMS}, evaluate_at=2)
    assert_same(weights(tiny), before)
    assert all(p.requires_grad for p in tiny.model.parameters())
    assert tuned.history.accuracy.dims == ("step", "split")
    assert tuned.history.accuracy.sel(step=60, split="all") > 0.8
    scores = score_answers(tuned, ITEMS)
    np.testing.assert_allclose(scores.nll.mean(), tuned.history.nll.sel(step=60, split="all"), rtol=1e-3)
    wrong = [
        i for i, text in enumerate(answers(tuned, [p for p, _ in ITEMS], max_new_tokens=1)) if text != ITEMS[i][1][1:]
    ]
    assert wrong == np.flatnonzero(scores.accuracy == 0).tolist()
    assert not any(module.training for module in tuned.model.modules())


@pytest.mark.parametrize("lora", [None, Lora(dropout=0.3)], ids=["full", "lora"])
def test_an_interrupted_tuning_ends_bit_identical(lora, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("elegans.training.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("elegans.training.loop.PROGRESS_SECONDS", 0.0)
    how = {"steps": 12, "batch_size": 8, "lr": 1e-2, "lora": lora, "evaluate": {"some": ITEMS[:5]}, "evaluate_at": 4}
    state = torch.random.get_rng_state()
    whole = finetune(tiny, ITEMS, **how)
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny, ITEMS, **how, run=Run(tmp_path, stop_after=7))
    resumed = finetune(tiny, ITEMS, **how, run=Run(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same(weights(resumed), weights(whole))
    assert resumed.history.identical(whole.history)
    assert not torch.equal(next(iter(weights(finetune(tiny, ITEMS, **how, seed=1)).values())), torch.tensor(0))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "gpt_neox", "gpt_neo"])
def test_adapters_are_written_and_read(kind, make, tmp_path):
    lm = make(kind, torch.float32)
    apart = finetune(lm, ITEMS, steps=2, lr=1e-2, lora=Lora(merge=False))
    merged = finetune(lm, ITEMS, steps=2, lr=1e-2, lora=Lora())
    apart.save(tmp_path / "adapters")
    merged.save(tmp_path / "merged")
    tokens = torch.arange(12).view(2, 6)
    expected = apart.net(tokens)
    assert (expected - lm.net(tokens)).abs().max() > 1e-3
    for again in (
        merged,
        load_lm(tmp_path / "merged"),
        load_adapter(lm, tmp_path / "adapters"),
        load_adapter(lm, tmp_path / "adapters", merge=False),
    ):
        torch.testing.assert_close(again.net(tokens), expected, rtol=1e-4, atol=1e-4)
        assert not any(p.requires_grad for p in again.model.parameters()) or again.bare is again.model
    assert sum(p.stat().st_size for p in (tmp_path / "adapters").glob("*.safetensors")) < 20_000
    with pytest.raises(ValueError, match="adapters already"):
        finetune(apart, ITEMS, steps=1, lr=1e-2)


def test_half_precision_is_trained_in_single_and_given_back(make):
    lm = make("llama", torch.bfloat16)
    for lora in (None, Lora()):
        tuned = finetune(lm, ITEMS, steps=3, lr=1e-3, lora=lora, evaluate={"all": ITEMS[:4]})
        assert {p.dtype for p in tuned.model.parameters()} == {torch.bfloat16}
        assert tuned.model.model.rotary_emb.inv_freq.dtype == lm.model.model.rotary_emb.inv_freq.dtype
        changed = [not torch.equal(a, b) for a, b in zip(weights(lm).values(), weights(tuned).values(), strict=True)]
        assert any(changed)


def test_prompts_are_learned_where_the_loss_is_on_all(tiny):
    how = {"steps": 40, "batch_size": 8, "lr": 1e-2}
    items = [("a b c =", " d")] * 2
    nll = {
        on: score_answers(finetune(tiny, items, loss_on=on, **how), items, loss_on="all").nll[0]
        for on in ("all", "answer")
    }
    assert nll["all"] < 0.1 < 1 < nll["answer"]


def test_the_training_ends_where_it_is_told_to(tiny):
    tuned = finetune(tiny, ITEMS, steps=50, lr=1e-2, evaluate={"all": ITEMS}, until=lambda found: True)
    assert tuned.history.step.values.tolist() == [0]


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"items": []}, "train needs at least one item"),
        ({"evaluate": {"val": []}}, "val needs at least one item"),
        ({"items": [("a " * 17, " b")]}, "train item 0 takes 17 tokens"),
        ({"items": [("a =", "")]}, "item 0: the answer '' has no token"),
        ({"items": [("a =", " z")]}, "'z' is not in the vocabulary"),
        ({"steps": 0}, "steps"),
        ({"lr": -1.0}, "lr"),
        ({"evaluate": {"train": ITEMS}}, "another name"),
        ({"loss_on": "nothing"}, "loss_on"),
        ({"lora": Lora(targets=("nowhere",))}, "no place in this model"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(how, named, tiny):
    with pytest.raises(ValueError, match=named) as caught:
        finetune(tiny, **{"items": ITEMS, "steps": 1, "lr": 1e-3, **how})
    assert "\n" not in str(caught.value)


def test_what_are_no_adapters_is_refused(tiny, make, tmp_path):
    with pytest.raises(ValueError, match="adapter_config"):
        load_adapter(tiny, tmp_path)
    finetune(tiny, ITEMS, steps=1, lr=1e-3, lora=Lora(merge=False)).save(tmp_path)
    with pytest.raises(ValueError, match="peft cannot read it"):
        load_adapter(make("gpt2"), tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="no adapter_model"):
        load_adapter(tiny, tmp_path)
    for wrong in ({"rank": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError):
            Lora(**wrong)
