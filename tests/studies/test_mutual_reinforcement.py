import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import spearmanr

pytest.importorskip("transformers")

from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.store import Store
from elegans.lm.model import TextModel
from elegans.lm.tokens import word_tokenizer
from elegans.probes.flow import attention_knockout
from elegans.studies.mutual_reinforcement import STUDY, claims, experiments, questions
from elegans.studies.mutual_reinforcement.arms import CORPORA, WorldConfig
from elegans.studies.mutual_reinforcement.figures import ceiling_of
from elegans.studies.mutual_reinforcement.own import flow_study
from elegans.study import UsageError
from elegans.tasks.hybrid import HybridCorpus, HybridItem, Serializer, Span

SIZES = {
    "llama": ("LlamaConfig", {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}),
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
}
CORPUS = HybridCorpus(rho=1.0)
TEXTS = [
    ("Ada met Bob", "sport", [("Ada", "person"), ("Bob", "person")]),
    ("Oslo won gold", "sport", [("Oslo", "city")]),
    ("Rome is rich", "money", [("Rome", "city")]),
    ("Eve sold Rome", "money", [("Eve", "person"), ("Rome", "city")]),
    ("nobody came", "sport", []),
    ("Bob bought shares", "money", [("Bob", "person")]),
    ("Ann ran home", "sport", [("Ann", "person")]),
]


class Silent:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def bpe():
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(CORPUS.words), *[" sport money person city"] * 20], trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")


def random_model(kind, tokenizer):
    import transformers

    name, sizes = SIZES[kind]
    heads = {} if kind == "gpt2" else {"num_attention_heads": 2, "max_position_embeddings": 512}
    heads |= {"n_positions": 512} if kind == "gpt2" else {}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = getattr(transformers, name)(vocab_size=len(tokenizer), **sizes, **heads, **ids)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return TextModel(model, tokenizer)


@pytest.fixture(scope="module", params=list(SIZES))
def directory(request, bpe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm") / request.param
    random_model(request.param, bpe).save(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    def write(texts=TEXTS):
        rows = [{"text": t, "label": y, "spans": [{"text": s, "type": k} for s, k in spans]} for t, y, spans in texts]
        path = tmp_path / "texts.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        return path

    return write


def run_plan(plan, tmp_path):
    store = Store(tmp_path / "runs")
    failures = execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())
    assert not failures, failures[0].error
    return collect(plan, store)


# ---------------------------------------------------------------------------------------------------- questions


def test_parts_of_a_line_are_found_in_any_tokenizer(bpe):
    item = CORPUS.items(1)[0]
    line = Serializer("X,W->y", types=CORPUS.types).line(item)
    asked = questions.question(line, "label")
    assert asked.answer == item.label and asked.text == line.prompt
    words = word_tokenizer(CORPUS.vocabulary())
    for tokenizer in (bpe, words):
        page = questions.sheet(tokenizer, [asked, asked], [asked.answer, "b0"])
        said = {name: tokenizer.decode(page.tokens[0][mask[0]]).split() for name, mask in page.groups.items()}
        assert "".join(said["type"]) == "".join(span.type for span in item.spans)
        assert said["copy"] == said["entity"]
        assert said["answer"] == [item.label]
        scored = page.targets[0] >= 0
        assert torch.equal(page.targets[0][scored], page.tokens[0][page.groups["answer"][0]])
        assert not page.groups["text"][0][page.groups["entity"][0]].any()


def test_a_prefix_moves_the_parts():
    asked = questions.question(Serializer("X->y").line(CORPUS.items(1)[0]), "label")
    tokenizer = word_tokenizer(CORPUS.vocabulary())
    plain = questions.sheet(tokenizer, [asked], ["a0"])
    moved = questions.sheet(tokenizer, [asked.after("filler1 filler2\n")], ["a0"])
    for name, mask in plain.groups.items():
        assert torch.equal(mask, moved.groups[name][:, 2:]), name
        assert not moved.groups[name][:, :2].any()


def test_a_line_that_does_not_predict_a_part_is_refused():
    line = Serializer("X,W->y").line(CORPUS.items(1)[0])
    with pytest.raises(ValueError, match="does not predict a type"):
        questions.question(line, "type")


def test_options_of_one_token_and_of_several_are_scored_alike():
    tokenizer = word_tokenizer(CORPUS.vocabulary())
    lm = random_model("llama", tokenizer)
    asked = [questions.question(Serializer("X->y").line(item), "label") for item in CORPUS.items(5)]
    with lm.adapted() as net:
        one = questions.log_probs(net, tokenizer, asked, ["a0", "b0"])
        several = questions.log_probs(net, tokenizer, asked, ["a0", "b0", "a0 b0"], batch_size=4)
    assert np.allclose(one, several[:, :2], atol=1e-5)
    assert (several[:, 2] < several[:, 0]).all()


def test_cuts_take_the_edges_out_of_a_part_and_as_many_tokens_of_the_text():
    tokenizer = word_tokenizer(CORPUS.vocabulary())
    line = Serializer("X,W->y", types=CORPUS.types).line(CORPUS.items(1)[0])
    page = questions.sheet(tokenizer, [questions.question(line, "label")] * 3, ["a0", "b0", "a0"])
    own = questions.out_of("type")(page, [0, 0, 1])
    random = questions.out_of_text("type", seed=0)(page, [0, 0, 1])
    assert torch.equal(own.keys, page.groups["type"])
    assert own.queries[0].nonzero()[:, 0].tolist() == [13, 15, 16]
    assert torch.equal(random.queries, own.queries) and not (random.keys & ~page.groups["text"]).any()
    assert random.keys.sum(1).tolist() == [2, 2, 2] and torch.equal(random.keys[0], random.keys[1])
    lm = random_model("llama", tokenizer)
    with lm.adapted() as net, attention_knockout(net, own):
        cut = net(page.tokens)
    assert torch.equal(cut.isnan().any(), torch.tensor(False))


def test_shares_of_the_flow_into_the_answer_add_up_to_one():
    tokenizer = word_tokenizer(CORPUS.vocabulary())
    lm = random_model("llama", tokenizer)
    lines = [Serializer("X,W->y", types=CORPUS.types).line(item) for item in CORPUS.items(6)]
    with lm.adapted() as net:
        flow = questions.answer_flow(
            net, tokenizer, [questions.question(line, "label") for line in lines], batch_size=4
        )
    assert np.allclose(flow.share.sum("source"), 1) and np.allclose(flow.uniform.sum("source"), 1)
    assert np.isclose(flow.uniform.sel(source="types"), 2 / 15)  # the row of the marker itself is on the diagonal
    assert flow["mean"].sel(source="label").isnull().all()


# ---------------------------------------------------------------------------------------------------- the study


def test_another_texts_level_comes_from_another_text():
    items = CORPUS.items(20)
    world = experiments.World(lm=None, items={"train": items}, corpus=CORPUS)
    shuffled = experiments._lines(world, experiments.FORMATS["X,W'->y"], items, "test", 0)
    plain = experiments._lines(world, experiments.FORMATS["X,W->y"], items, "test", 0)
    assert all(a.text != b.text for a, b in zip(shuffled, plain, strict=True))
    assert sorted(a.prompt.split("[WORDS]")[1] for a in shuffled) == sorted(b.prompt.split("[WORDS]")[1] for b in plain)
    assert [a.text.split()[-2] for a in shuffled] == [item.label for item in items]


def test_a_pair_that_a_model_wrote_is_serialized_wherever_it_stands():
    item = experiments._saying(HybridItem("a b", "x", (Span("a", "t", 0, 1),)), [("zz", "type1")])
    assert "zz type1" in Serializer("X,W->y", types=CORPUS.types).line(item).text


def test_ceilings_of_formats():
    assert ceiling_of("X,W->y") == "text_given_words" and ceiling_of("X,W'->y") == "text"
    assert ceiling_of("X,y->W, own") == "words" and ceiling_of("X,y->W") == "words_given_text"


def test_all_worlds_of_the_verbalizers_differ():
    configs = [STUDY.at("laptop")[f"pretrained-{name}"].config for name in CORPORA]
    assert len(set(configs)) == 6


def test_data_of_ones_own_need_a_model_and_are_checked_at_once(data, directory):
    with pytest.raises(UsageError, match="language model of your own"):
        WorldConfig(data=str(data()))
    one = WorldConfig(data=str(data()), lm=str(directory))
    other = WorldConfig(data=str(data(TEXTS[:3])), lm=str(directory))
    assert one.digest and one.digest != other.digest
    path = data()
    path.write_text('{"text": "a", "label": "b", "spans": [}\n')
    with pytest.raises(UsageError, match="line 1"):
        WorldConfig(data=str(path), lm=str(directory))


def test_the_study_runs_on_a_directory(directory, tmp_path):
    wanted = ("pretrained-rho100", "rates", "levels-rho100", "pretrained-plain", "verbalizer-plain")
    arms = {name: STUDY.at("smoke")[name] for name in wanted}
    small = dataclasses.replace(STUDY, arms={"smoke": arms})
    results = run_plan(make_plan(small, Request(scale="smoke", seeds=1, lm=str(directory))), tmp_path)
    assert results["levels-rho100"].score.notnull().all() and results["verbalizer-plain"].f1.notnull().all()


def test_the_rank_correlation_is_spearmans():
    values = xr.DataArray(np.random.default_rng(0).random((5, 3)), dims=("rho", "seed"))
    known = xr.DataArray([0.0, 0.4, 0.6, 0.7, 0.7], dims="rho") + 0 * values
    found = claims.spearman(values, known)
    expected = [spearmanr(values[:, i], known[:, i]).statistic for i in range(3)]
    assert np.allclose(found, expected)
    assert (claims.spearman(values, 0 * known) == 0).all()


# ---------------------------------------------------------------------------------------------------- one's own


def test_flow_through_a_model_of_ones_own(directory, data, tmp_path):
    study = flow_study(str(directory), str(data()), shots=2, seeds=2)
    results = run_plan(make_plan(study, Request(seeds=2)), tmp_path)
    for arm in study.at("laptop"):
        found = results[arm]
        assert found.n_texts.values.tolist() == [4, 4] and found.without_spans.values.tolist() == [1, 1]
        assert ((found.probability > 0) & (found.probability < 1)).all()
        assert found.share.notnull().all()
        cut = found.probability.sel(edges="without the other level") - found.probability.sel(edges="all")
        assert (cut != 0).all()
    for claim in study.claims:
        assert len(claim.value(results)) == 2
    for figure in study.figures:
        assert figure.data(results).size


def test_other_contents_are_another_job(directory, data):
    keys = []
    for texts in (TEXTS, TEXTS[:-1]):
        plan = make_plan(flow_study(str(directory), str(data(texts)), shots=1), Request(seeds=1))
        keys.append({record.key for record in plan.records.values()})
    assert keys[0].isdisjoint(keys[1])


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "file is empty"),
        (TEXTS[:2], {"shots": 0}, "same label"),
        (TEXTS[:3], {"shots": 3}, "as many with spans"),
        ([*TEXTS, ("see Label: here", "sport", [])], {"shots": 0}, "marker"),
        ([*TEXTS, ("long " * 300, "sport", [])], {"shots": 1}, "fewer shots"),
        (TEXTS, {"shots": 0, "label_marker": "two words"}, "single words"),
        (TEXTS, {"shots": -1}, "at least 0"),
    ],
)
def test_texts_that_cannot_be_asked_about_are_refused(directory, data, texts, options, message):
    path = data(texts)
    with pytest.raises(UsageError, match=message):
        flow_study(str(directory), str(path), **options)


def test_directories_that_are_no_model_are_refused(directory, data, tmp_path):
    with pytest.raises(UsageError, match="not a directory"):
        flow_study(str(tmp_path / "nothing"), str(data()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="config"):
        flow_study(str(tmp_path / "empty"), str(data()))
