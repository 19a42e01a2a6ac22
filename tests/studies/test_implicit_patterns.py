import importlib
import json

import numpy as np
import pytest
import torch
import xarray as xr

from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.store import Store
from elegans.report.assemble import assemble
from elegans.report.site import write_site
from elegans.studies.implicit_patterns import STUDY, claims
from elegans.studies.implicit_patterns.arms import ARMS, FAMILIES, Asked, ShotsConfig, Subject
from elegans.study import MissingResults, Results, UsageError

pytest.importorskip("transformers")

from elegans.studies.implicit_patterns import circuits, experiments, quiz
from elegans.studies.implicit_patterns.own import icl_study
from elegans.studies.implicit_patterns.own_config import digest, divided
from elegans.studies.implicit_patterns.own_experiments import begins
from elegans.studies.implicit_patterns.own_results import Recommendation, paired, recommend, wilson
from elegans.studies.implicit_patterns.stages import Stages

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 4096}
GLU = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2}
KINDS = {
    "llama": ("LlamaConfig", GLU),
    "qwen2": ("Qwen2Config", GLU),
    "gpt_neox": ("GPTNeoXConfig", {**SIZES, "intermediate_size": 24}),
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 4096}),
}


class Alone:
    """A run that nobody watches."""

    device = torch.device("cpu")

    def __init__(self, folder):
        self.artifact_dir = folder
        self.said = []

    def artifact(self, name):
        return self.artifact_dir

    def progress(self, step, total, **metrics):
        self.said.append((step, total))

    def checkpoint(self, name):
        class Nothing:
            load = staticmethod(lambda: None)
            save = staticmethod(lambda point: None)

        return Nothing()


class Silent:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE with a few merges, trained here."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the result is True and False, is connected with, return y + x"] * 20, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(scope="module")
def directory(bpe, tmp_path_factory):
    """`directory(kind)` has a random language model."""
    import transformers

    from elegans.lm.model import TextModel

    def make(kind, dtype=torch.float32, **how):
        name, sizes = KINDS[kind]
        config = getattr(transformers, name)(**sizes, vocab_size=len(bpe), eos_token_id=0, bos_token_id=None)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
        folder = tmp_path_factory.mktemp(kind)
        TextModel(model.eval(), bpe).save(folder, **how)
        return folder

    return make


# ------------------------------------------------------------------------------------------------ real directories


@pytest.mark.parametrize(("kind", "how"), [
    ("llama", {"shard_bytes": 20_000}),
    ("qwen2", {"dtype": torch.bfloat16}),
    ("gpt_neox", {}),
    ("gpt2", {}),
])  # fmt: skip
def test_every_arm_runs_on_a_language_model_from_a_directory(kind, how, directory, tmp_path):
    folder = directory(kind, **how)
    assert ("shard_bytes" in how) == (len(list(folder.glob("*.safetensors"))) > 1)
    small = {"lm": str(folder), "n_eval": 2, "answer_tokens": 2, "samples": (2,), "repeats": 1, "rates": (1e-3,)}
    of_shift = {"samples": 2, "shots": 1, "pairs": 2, "n_eval": 3, "steps": 1}
    some = ("icl-held-out", "lora-seen", "shift-held-out")
    more = ("pretrained", "icl-seen", "ft-held-out", "ft-normal-seen", "shift-seen") if kind == "llama" else ()
    for name in (*some, *more):
        arm = ARMS["smoke"][name]
        changes = small | (of_shift if name.startswith("shift") else {})
        config = arm.config.replace(**{k: v for k, v in changes.items() if hasattr(arm.config, k)})
        module, _, function = arm.experiment.partition(":")
        found = getattr(importlib.import_module(module), function)(config, 0, Alone(tmp_path))
        if name == "pretrained":
            assert found.accuracy.isnull().all()
            continue
        assert found.sizes["task"] == (1 if name.endswith("held-out") else 4 if name.startswith("shift") else 5)
        if name.startswith("icl"):
            assert found.accuracy.notnull().all() and (found.accuracy <= found.contains).all()
        if name.startswith("shift"):
            assert np.isfinite(found.distance).all() and np.isfinite(found.on_same).all()
            assert found.sizes["component"] == 2 * (2 + 1)


# ------------------------------------------------------------------------------------------------ pieces


def asked(lm=None, **changes):
    config = Asked(cells=4, values=6, hops=2, **changes)
    (task,) = quiz.tasks_of(config).values()
    return quiz.Quiz(config, lm, task, seed=0)


def test_a_question_keeps_its_shots_when_it_gets_more():
    pool = [(str(i), "") for i in range(6)]
    assert [q for q, _ in experiments._every(pool, 3, 1)] == ["0", "3"]
    assert [q for q, _ in experiments._every(pool, 3, 2)] == ["0", "1", "3", "4"]


@pytest.mark.parametrize("family", FAMILIES)
def test_shots_have_the_pattern_none_or_another_one_and_are_not_tested(family):
    one = asked(family=family)
    task = one.task
    tested = {item.question for item in one.items("implicit", 20, "test")}
    for shown, share in (("pattern", 1.0), ("other", 0.5)):
        shots = one.shots(shown, 40)
        assert not tested & {question for question, _ in shots}
        right = np.mean([task.shortcut(question) == answer.strip() for question, answer in shots])
        assert right == 1 if shown == "pattern" else right < share
        pattern = task.at_pattern(task.pattern - 1) if shown == "other" else task
        assert all(pattern.shortcut(question) == answer.strip() for question, answer in shots)


def test_a_tiny_model_reads_documents_as_in_pretraining():
    one = asked()
    items = one.items("implicit", 1, "test")
    ((prompt, answer),) = one.pairs(items, one.shots("pattern", 2), 2)
    assert prompt.count("=") == 3 and prompt.endswith("=") and answer == " " + items[0].answer
    assert "\n" not in prompt and len((prompt + answer).split()) == 3 * (4 + 3)


@pytest.mark.parametrize(
    ("said", "word"), [("5.", "5"), (" True, since", "True"), ("10", "10"), ("", ""), ("-3\nx", "-3")]
)
def test_the_first_word_is_the_answer(said, word):
    assert quiz.parsed(said) == word


def test_pairs_of_questions_differ_in_answer_and_samples_are_disjoint(tmp_path):
    arm = ARMS["smoke"]["pretrained"]
    run = Alone(tmp_path)
    experiments.pretrained(arm.config, 0, run)
    config = ARMS["smoke"]["shift-seen"].config
    lm = quiz.language_model(Subject(), run)
    (task,) = quiz.tasks_of(config).values()
    samples = circuits._samples(config, quiz.Quiz(config, lm, task, 0))
    questions = [item.question for sample in samples for pair in sample for item in pair]
    assert len(samples) == config.resamples and len(set(questions)) == len(questions) == 2 * 4 * config.resamples
    assert all(one.answer != other.answer for sample in samples for one, other in sample)


def test_progress_goes_up_over_all_stages(tmp_path):
    run = Alone(tmp_path)
    stages = Stages(run, 3)
    part = stages.part("one")
    part.progress(5, 10)
    part.progress(10, 10)
    stages.done()
    stages.part("two").progress(1, 1)
    assert run.said == [(0, 300), (50, 300), (100, 300), (200, 300), (300, 300)]


@pytest.mark.parametrize("shots", [(1, 2), (0,), (0, 2, 1)])
def test_shots_increase_from_none(shots):
    with pytest.raises(UsageError, match="shots must increase from 0"):
        ShotsConfig(shots=shots)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_shots_and_samples_meet_at_k_star(scale):
    arms = ARMS[scale]
    assert arms["icl-seen"].config.shots[-1] in arms["ft-seen"].config.samples
    assert arms["icl-seen"].config.shots[-1] == arms["shift-seen"].config.shots
    assert arms["ft-paper-seen"].config.samples[-1] == arms["ft-seen"].config.samples[-1]


# ------------------------------------------------------------------------------------------------ claims


def made_up(select, accuracy, zero=0.6, few_shot=0.8):
    """Results in which fine-tuning on 4, 8 and 16 samples has these scores at two rates."""
    ft = xr.Dataset(
        {
            "select": (("seed", "task", "samples", "rate", "repeat"), np.array(select)[None, None, ..., None]),
            "accuracy": (
                ("seed", "task", "samples", "rate", "repeat", "asked"),
                np.array(accuracy)[None, None, ..., None, None],
            ),
        },
        coords={"samples": [4, 8, 16], "rate": [0.1, 0.2], "asked": ["implicit"]},
    )
    values = np.array([zero, few_shot]).reshape(1, 1, 1, 1, 2)
    icl = xr.Dataset(
        {"accuracy": (("seed", "task", "asked", "shown", "shots"), values)},
        coords={"asked": ["implicit"], "shown": ["pattern"], "shots": [0, 4]},
    )
    return Results({"ft-seen": ft, "icl-seen": icl})


def test_the_rate_is_chosen_on_select_and_not_on_test():
    results = made_up(select=[[0.1, 0.2], [0.9, 0.2], [0.1, 0.9]], accuracy=[[1.0, 0.5], [0.6, 1.0], [1.0, 0.7]])
    assert claims.tuned(results, "ft-seen").values.tolist() == [[[0.5, 0.6, 0.7]]]


def test_break_even_lies_on_a_line_over_the_logarithm():
    grid = [[0.1, 0.2]] * 3
    results = made_up(grid, [[0, 0.5], [0, 0.7], [0, 0.9]])
    assert claims.crossings(results, "seen").item() == pytest.approx(np.log10(8 * 2**0.5))
    assert claims.break_even_ratio(results).item() == pytest.approx(np.log10(2 * 2**0.5))
    assert claims.crossings(made_up(grid, [[0, 0.5]] * 3), "seen").item() == pytest.approx(np.log10(32)), (
        "never reached"
    )
    assert claims.crossings(made_up(grid, [[0, 0.9]] * 3), "seen").item() == pytest.approx(np.log10(4)), (
        "reached at once"
    )


@pytest.mark.parametrize(("zero", "good"), [(0.2, False), (0.6, True), (0.95, False)])
def test_a_task_that_is_hopeless_or_easy_is_not_tested(zero, good):
    results = made_up([[0.1, 0.2]] * 3, [[0, 0.5]] * 3, zero=zero)
    assert bool(claims.some_testable(results)) == good
    assert claims.gain(results).isnull().item() != good


def test_every_couple_of_noise_counts_once():
    couples = [(i, k) for i in range(3) for k in range(3) if i != k]
    values = [{1: 0.5, 2: 0.1, 3: 0.3}[i + k] for i, k in couples]  # a distance is symmetric
    first, second = zip(*couples, strict=True)
    distance = xr.DataArray(
        np.array(values)[None, None, None, None], dims=("seed", "task", "compared", "measure", "couple"),
        coords={
            "compared": ["floor"], "measure": ["total variation"],
            "first": ("couple", list(first)), "second": ("couple", list(second)),
        },
    )  # fmt: skip
    results = Results(
        dict(made_up([[0.1, 0.2]] * 3, [[0, 0.5]] * 3)) | {"shift-seen": xr.Dataset({"distance": distance})}
    )
    assert claims.floor(results).squeeze().values.tolist() == [0.5, 0.1, 0.3]
    itself = claims.beyond(results, claims.shift(results, "floor"), claims.floor(results))
    assert itself.item() == pytest.approx(-2 * np.std([0.5, 0.1, 0.3], ddof=1))


def test_a_directory_has_no_pretraining_to_show():
    nothing = xr.Dataset({"accuracy": (("seed", "step", "documents", "shots"), np.full((1, 1, 1, 1), np.nan))})
    figure = next(figure for figure in STUDY.figures if figure.name == "pretraining")
    with pytest.raises(MissingResults, match="comes from a directory"):
        figure.data(Results({"pretrained": nothing}))


# ------------------------------------------------------------------------------------------------ own model and items


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def sums(count, **more):
    return [{"question": f"{i}+{i}=", "answer": str(2 * i % 7)} | more for i in range(count)]


SMALL = {"samples": (2, 4), "shots": (0, 1, 2), "rates": (1e-3, 1e-2), "steps": 2, "seeds": 2, "batch_size": 2}


@pytest.mark.parametrize("choices", [True, False])
def test_own_items_are_studied_from_one_end_to_the_other(choices, directory, tmp_path):
    data = write(tmp_path / "My items.jsonl", sums(60, kind="normal"))
    study = icl_study(directory("llama"), data, choices=choices, **SMALL)
    assert study.name == "icl-my-items"
    store = Store(tmp_path / "runs")
    plan = make_plan(study, Request(seeds=2))
    failures = execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())
    assert not failures, failures[0].error
    results = collect(plan, store)
    assert results["icl"].right.sizes == {"seed": 2, "shots": 3, "item": 18}
    found = recommend(results)
    assert found.low <= found.difference <= found.high and found.samples == 4 and found.text
    write_site([assemble(plan, store)], tmp_path / "site")
    for figure in study.figures:
        assert figure.data(results).notnull().any()
    again = make_plan(
        icl_study(study.arms["laptop"]["icl"].config.lm, data, choices=choices, **SMALL), Request(seeds=2)
    )
    assert {record.key for record in again.records.values()} == {record.key for record in plan.records.values()}
    write(data, sums(61, kind="normal"))
    changed = make_plan(
        icl_study(study.arms["laptop"]["icl"].config.lm, data, choices=choices, **SMALL), Request(seeds=2)
    )
    assert not {r.key for r in changed.records.values()} & {r.key for r in plan.records.values()}
    with pytest.raises(ValueError, match="has changed since this run was planned"):
        from elegans.studies.implicit_patterns.own_experiments import Examination

        Examination(study.arms["laptop"]["icl"].config, Alone(tmp_path))


@pytest.mark.parametrize(
    ("items", "how", "message"),
    [
        (sums(20), {}, "only 3 items for 'select', at least 8 are needed"),
        (sums(60), {"samples": (8, 64)}, "samples of 64 need as many items to learn from, there are 33"),
        (sums(60), {"shots": (0, 40)}, "shots of 40 need as many items"),
        (sums(60), {"shots": (1, 2)}, "shots must increase from 0"),
        (sums(60), {"samples": (4, 2)}, "samples must increase"),
        (sums(60), {"rates": ()}, "rates must have at least one"),
        (sums(60), {"rank": 0}, "rank must be at least 1"),
        (sums(60), {"dtype": "int8"}, "dtype must be"),
        ([*sums(60), {"question": "x", "answer": "1", "split": "test"}], {}, "has no 'split', but others have one"),
        ([*sums(60), {"question": "x", "label": "1"}], {}, "line 61: the line has no 'answer'"),
        (
            sums(40, split="train")
            + [{"question": f"{s}{i}", "answer": "new", "split": s} for s in ("select", "test") for i in range(8)],
            {"choices": True},
            "the answer 'new' to 'select0' is not in 'train', so it is no choice",
        ),
    ],
)  # fmt: skip
def test_bad_items_are_refused_before_anything_runs(items, how, message, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=message):
        icl_study(tmp_path, write(tmp_path / "items.jsonl", items), **(SMALL | how))


def test_a_directory_without_model_is_refused_before_anything_runs(tmp_path):
    data = write(tmp_path / "items.jsonl", sums(60))
    with pytest.raises(UsageError, match="is not a directory"):
        icl_study(tmp_path / "none", data)
    with pytest.raises(UsageError, match="has no config"):
        icl_study(tmp_path, data)
    with pytest.raises(UsageError, match="cannot be read"):
        (tmp_path / "config.json").write_text("{}")
        icl_study(tmp_path, tmp_path / "missing.jsonl")


def test_answers_that_test_alone_has_are_written_freely(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    data = write(tmp_path / "items.jsonl", sums(60))
    few = {name: SMALL[name] for name in ("samples", "shots")}
    assert icl_study(tmp_path, data, **few).arms["laptop"]["icl"].config.choices
    write(data, [{"question": f"{i}", "answer": f"{i}"} for i in range(60)])
    assert not icl_study(tmp_path, data, **few).arms["laptop"]["icl"].config.choices


def test_items_are_divided_alike_in_any_order_of_the_file(tmp_path):
    one = divided(write(tmp_path / "a.jsonl", sums(40)))
    other = divided(write(tmp_path / "b.jsonl", sums(40)[::-1]))
    assert one == other and [len(one[name]) for name in ("train", "select", "test")] == [22, 6, 12]
    assert digest(tmp_path / "a.jsonl") != digest(tmp_path / "b.jsonl")


def test_splits_of_the_file_hold(tmp_path):
    items = [item | {"split": name} for item, name in zip(sums(3), ("train", "select", "test"), strict=True)]
    assert {name: len(part) for name, part in divided(write(tmp_path / "a.jsonl", items)).items()} == dict.fromkeys(
        ("train", "select", "test"), 1
    )


@pytest.mark.parametrize(
    ("said", "yes"), [("10", False), ("1", True), ("1, since", True), ("1.5", False), ("1.", True), ("", False)]
)
def test_an_answer_is_a_whole_word(said, yes):
    assert begins(said, "1") is yes


def test_wilson_intervals():
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    low, high = wilson(1.0, 10)
    assert low == pytest.approx(0.72247, abs=1e-5) and high == pytest.approx(1)


def verdict(icl, lora):
    icl, lora = (np.array(rows, dtype=float) for rows in (icl, lora))
    select = np.tile([0.1, 0.9], (len(icl), 1))
    shots = xr.Dataset(
        {"right": (("seed", "shots", "item"), np.stack([0 * icl, icl], 1)), "select": (("seed", "shots"), select)},
        coords={"shots": [0, 4]},
    )
    tuned = xr.Dataset({"right": (("seed", "samples", "item"), lora)}, coords={"samples": [10, 1000]})
    return recommend(Results({"icl": shots, "lora": tuned}))


def test_the_recommendation_follows_the_interval():
    one, zero = [[1] * 20] * 2, [[0] * 20] * 2
    half = [[1, 0] * 10] * 2
    found = verdict(one, np.stack([zero, half], 1))
    assert (found.choice, found.shots, found.break_even) == ("icl", 4, None) and found.low > 0
    found = verdict(half, np.stack([zero, one], 1))
    assert found.choice == "lora" and found.break_even == pytest.approx(100) and "about 100 samples" in found.text
    found = verdict(half, np.stack([half, half], 1))
    assert isinstance(found, Recommendation) and found.choice == "either" and found.break_even == 10


def test_the_interval_of_a_difference_is_paired():
    right = xr.DataArray(np.random.default_rng(0).integers(2, size=(3, 50)).astype(float), dims=("seed", "item"))
    assert paired(right, right) == (0, 0, 0)
    value, low, high = paired(right, 0 * right)
    assert low < value < high and value == right.mean()
