"""What users of language models of their own meet on the command line: every architecture, every way to be wrong."""

import json
import re
import shutil

import pytest
import torch
from lm.test_directory import BROKEN

from elegans.cli import main
from elegans.tasks.hybrid import HybridCorpus
from elegans.tasks.implicit import BooleanExpressions, CodeReading, EquationSystems, Expressions, Relations

pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 1024}
GLU = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2}
KINDS = {
    "llama": ("LlamaConfig", GLU),
    "qwen2": ("Qwen2Config", GLU),
    "gpt_neox": ("GPTNeoXConfig", {**SIZES, "intermediate_size": 24}),
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 1024}),
    "gpt_neo": (
        "GPTNeoConfig",
        {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    ),
}
SAVED = {"gpt_neox": {"shard_bytes": 20_000}, "qwen2": {"dtype": torch.bfloat16}}
"""GPT-NeoX comes in shards, Qwen2 in bf16."""

ITEMS = [{"question": f"{a}+{b}=", "answer": str((a + b) % 3)} for a in range(8) for b in range(8)]
TEXTS = [
    {"text": f"{name} at {n}", "label": label, "spans": [{"text": name, "type": kind}]}
    for n in range(4)
    for name, label, kind in (("Oslo", "place", "city"), ("Ada", "people", "person"))
]
CALLS = {
    "icl": ("--shots", "0,2", "--samples", "4", "--rates", "1e-3", "--steps", "2", "--seeds", "1", "--workers", "0"),
    "flow": ("--shots", "1", "--texts", "4", "--seeds", "1", "--workers", "0"),
}
DATA = {"icl": ITEMS, "flow": TEXTS}


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE that has words of the studies' tasks."""
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = HybridCorpus(n_classes=6, n_topic_words=16, n_types=6)
    tasks = (Expressions(), CodeReading(), BooleanExpressions(), Relations(), EquationSystems())
    texts = [task.text(item) for task in tasks for item in task.items("implicit", 8)]
    tokenizer.train_from_iterator([*texts, " ".join(["", *corpus.words])] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(scope="module")
def model(tokenizer, tmp_path_factory):
    """`model(kind)` is a directory with a random language model of two layers."""
    import transformers

    from elegans.lm.model import TextModel

    made = {}

    def make(kind):
        if kind not in made:
            name, sizes = KINDS[kind]
            config = getattr(transformers, name)(**sizes, vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=None)
            how = dict(SAVED.get(kind, {}))
            with torch.random.fork_rng():
                torch.manual_seed(0)
                net = transformers.AutoModelForCausalLM.from_config(config).to(how.pop("dtype", torch.float32))
            made[kind] = tmp_path_factory.mktemp("models") / kind
            TextModel(net.eval(), tokenizer).save(made[kind], **how)
        return made[kind]

    return make


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call the command line in this process on a fresh store; returns (status, stdout, stderr)."""
    monkeypatch.setenv("ELEGANS_HOME", str(tmp_path / "runs"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def write(path, rows):
    path.write_bytes(rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


# ------------------------------------------------------------------------------------------------ good models


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_neox", "gpt2"])
def test_questions_about_every_architecture_are_answered(kind, command, call, model, tmp_path):
    assert (len(list(model(kind).glob("*.safetensors"))) > 1) == (kind == "gpt_neox")
    data = write(tmp_path / "data.jsonl", DATA[command])
    status, out, err = call(command, "--lm", model(kind), "--data", data, *CALLS[command], "--json")
    (study,) = json.loads(out)["studies"]
    assert status == 0 and study["failed_jobs"] == [] and study["claims"], err


FEWER = ("*.n_eval=2", "*.answer_tokens=2", "*t-*.samples=2", "lora-*.samples=2", "ft-*.rates=1e-3", "*.repeats=1")
FEWER += ("icl-*.shots=0,1", "shift-*.shots=1", "shift-*.pairs=2", "shift-*.steps=1")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt_neox", "qwen2"])
@pytest.mark.parametrize(
    ("study", "changes"), [("implicit-patterns", FEWER), ("elegans.studies.mutual_reinforcement:STUDY", ())]
)
def test_studies_run_on_a_directory(study, changes, kind, call, model):
    sets = [word for change in changes for word in ("--set", change.replace(".", ".config."))]
    asked = ("--scale", "smoke", "--seeds", "1", "--workers", "0", "--json")
    status, out, err = call("run", study, "--lm", model(kind), *asked, *sets)
    (found,) = json.loads(out)["studies"]
    assert status == 0 and found["failed_jobs"] == [] and found["claims"], err


# ------------------------------------------------------------------------------------------------ what is refused


def assert_refused(result, home, *named):
    """One line that names the culprit, and nothing was begun."""
    status, out, err = result
    assert status == 2 and out == "", (out, err)
    assert err.startswith("elegans: ") and err.count("\n") == 1 and "Traceback" not in err
    for name in named:
        assert name in err
    assert not home.exists()


def with_line(command, line):
    """Good data with a line behind."""
    return "".join(json.dumps(row) + "\n" for row in DATA[command]).encode() + line + b"\n"


def text(spans, content="Rome and Rome"):
    return json.dumps({"text": content, "label": "place", "spans": spans}).encode()


BAD_LINES = {
    "icl": {
        "an empty line": (b"", "the line is empty"),
        "half an object": (b'{"question": "a", "answer": "1"', "not JSON"),
        "single quotes": (b"{'question': 'a', 'answer': '1'}", "not JSON"),
        "a list": (b'["a", "1"]', "must be an object, got a list"),
        "no answer": (b'{"question": "a"}', "the line has no 'answer'"),
        "an unknown key": (b'{"question": "a", "answer": "1", "hint": "b"}', "unknown key 'hint'"),
        "a number for an answer": (b'{"question": "a", "answer": 1}', "'answer' of the line must be a text"),
        "an empty question": (b'{"question": " ", "answer": "1"}', "'question' is empty"),
        "a question again": (b'{"question": "0+0=", "answer": "1"}', "the same question stands in line 1"),
        "an unknown kind": (b'{"question": "a", "answer": "1", "kind": "odd"}', "'kind' must be one of"),
        "an unknown split": (b'{"question": "a", "answer": "1", "split": "dev"}', "'split' must be one of"),
        "a key twice": (b'{"question": "a", "question": "b", "answer": "1"}', "'question' stands there twice"),
        "no UTF-8": (b'{"question": "\xff", "answer": "1"}', "not UTF-8 at byte 14"),
    },
    "flow": {
        "half an object": (text([])[:-1], "not JSON"),
        "no label": (b'{"text": "a", "spans": []}', "the line has no 'label'"),
        "no spans": (b'{"text": "a", "label": "place"}', "the line has no 'spans'"),
        "spans of another kind": (text("Rome"), "'spans' of the line must be a list"),
        "a span without type": (text([{"text": "and"}]), "span 1 has no 'type'"),
        "a span outside the text": (text([{"text": "Paris", "type": "city"}]), "span 1, 'Paris', is not in the text"),
        "a span that starts elsewhere": (
            text([{"text": "Rome", "type": "city", "start": 40}]),
            "does not start at character 40, but at 0, 9",
        ),
        "a span that may be two": (text([{"text": "Rome", "type": "city"}]), "'Rome', is 2 times in the text"),
        "spans that overlap": (
            text([{"text": "Rome and", "type": "a"}, {"text": "and", "type": "b"}]),
            "the spans 'Rome and' and 'and' overlap",
        ),
        "a text again": (json.dumps(TEXTS[0]).encode(), "the same text stands in line 1"),
    },
}
EXTRA = {"icl": {"question": "a", "answer": "1"}, "flow": {"text": "Rome and Rome", "label": "place", "spans": []}}


@pytest.mark.parametrize(("command", "fault"), [(c, fault) for c, faults in BAD_LINES.items() for fault in faults])
def test_a_bad_line_is_named(command, fault, call, model, tmp_path):
    line, named = BAD_LINES[command][fault]
    data = write(tmp_path / "data.jsonl", with_line(command, line))
    result = call(command, "--lm", model("gpt2"), "--data", data, *CALLS[command])
    assert_refused(result, tmp_path / "runs", f"{data}, line {len(DATA[command]) + 1}: ", named)


BAD_DATA = {
    "an empty file": ("icl", b"", (), "line 1: the file is empty"),
    "a few questions": ("icl", ITEMS[:20], (), "only 3 items for 'select', at least 8 are needed"),
    "a split for some": ("icl", [*ITEMS, EXTRA["icl"] | {"split": "test"}], (), "has no 'split', but others have one"),
    "fewer questions than samples": ("icl", ITEMS, ("--samples", "99"), "samples of 99 need as many"),
    "fewer questions than shots": ("icl", ITEMS, ("--shots", "0,99"), "shots of 99 need as many"),
    "an instruction that is too long": ("icl", ITEMS, ("--instruction", "add " * 1500), "the model reads 1024"),
    "one label": ("flow", TEXTS[::2], (), "all texts have the same label"),
    "fewer texts than shots": ("flow", TEXTS, ("--shots", "8"), "8 solved texts and one to ask about need as many"),
    "a marker in a text": ("flow", [*TEXTS, EXTRA["flow"] | {"text": "Label: x"}], (), "'Label:'"),
    "a text that is too long": ("flow", [*TEXTS, EXTRA["flow"] | {"text": "Rome " * 1000}], (), "use fewer shots"),
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_data_that_answer_nothing_are_refused(fault, call, model, tmp_path):
    command, rows, options, named = BAD_DATA[fault]
    data = write(tmp_path / "data.jsonl", rows)
    assert_refused(
        call(command, "--lm", model("gpt2"), "--data", data, *CALLS[command], *options), tmp_path / "runs", named
    )


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("missing", ["--lm", "--data"])
def test_what_does_not_exist_is_named(command, missing, call, model, tmp_path):
    paths = {"--lm": model("gpt2"), "--data": write(tmp_path / "data.jsonl", DATA[command])}
    paths[missing] = tmp_path / "nowhere"
    words = [word for pair in paths.items() for word in pair]
    assert_refused(call(command, *words, *CALLS[command]), tmp_path / "runs", "nowhere")


BAD_DIRECTORIES = (
    "no config",
    "config is no JSON",
    "code",
    "quantized",
    "unknown type",
    "an encoder-decoder",
    "a classifier",
    "no tokenizer",
    "tokenizer is no JSON",
    "tokenizer with code",
    "no weights",
    "pickled weights",
    "truncated weights",
    "missing shard",
    "corrupted shard",
    "a tensor is missing",
    "a tensor has another shape",
)


@pytest.mark.parametrize("command", [*CALLS, "run"])
@pytest.mark.parametrize("fault", BAD_DIRECTORIES)
def test_a_directory_that_is_not_whole_is_refused(command, fault, call, model, tmp_path):
    spoil, named = BROKEN[fault]
    directory = shutil.copytree(model("llama"), tmp_path / "lm")
    spoil(directory)
    if command == "run":
        words = ("implicit-patterns", "--scale", "smoke", "--workers", "0")
    else:
        words = ("--data", write(tmp_path / "data.jsonl", DATA[command]), *CALLS[command])
    result = call(command, "--lm", directory, *words)
    assert_refused(result, tmp_path / "runs", str(directory))
    assert re.search(f"{named}|has no config.json", result[2])


def test_flow_names_an_architecture_whose_attention_it_does_not_know(call, model, tmp_path):
    data = write(tmp_path / "data.jsonl", TEXTS)
    assert_refused(call("flow", "--lm", model("gpt_neo"), "--data", data, *CALLS["flow"]), tmp_path / "runs", "gpt_neo")


def test_what_fails_on_the_way_leaves_no_result(call, model, tmp_path):
    from safetensors.torch import load_file, save_file

    data = write(tmp_path / "data.jsonl", ITEMS)
    directory = shutil.copytree(model("gpt2"), tmp_path / "lm")
    weights = load_file(directory / "model.safetensors")
    save_file(
        {name: w * float("nan") for name, w in weights.items()}, directory / "model.safetensors", {"format": "pt"}
    )
    status, out, err = call("icl", "--lm", directory, "--data", data, *CALLS["icl"])
    assert status == 1 and "not testable" in out and "Traceback" not in err
    assert "not finite" in err
    assert not list((tmp_path / "runs" / "results").iterdir())
