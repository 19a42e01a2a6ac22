from itertools import pairwise

import pytest
import torch

from elegans.models.registry import build
from elegans.probes.flow import Edges, attention_knockout
from elegans.probes.positions import mask_of
from elegans.tasks.base import IGNORE
from elegans.tasks.hybrid import (
    FORMATS,
    HybridCorpus,
    HybridItem,
    HybridPretraining,
    HybridTask,
    Markers,
    Serializer,
    Span,
    encode,
    masks,
)
from elegans.training.loop import fit

CORPUS = HybridCorpus(rho=0.5)
IDS = {word: token for token, word in enumerate(CORPUS.vocabulary(), 2)}
WORDS = {token: word for word, token in IDS.items()}
ITEM = HybridItem("Ada met Bob Ray ,", "sport", (Span("Ada", "person", 0, 3), Span("Bob Ray", "big star", 8, 15)))
EMPTY = HybridItem("nobody came", "news", ())


@pytest.mark.parametrize(
    ("form", "prompt", "rest"),
    [
        ("X->y", "[LABEL]", "sport [END]"),
        ("X,W->y", "[WORDS] Ada [TYPE] person [NEXT] Bob Ray [TYPE] big star [LABEL]", "sport [END]"),
        ("X->W", "[WORDS]", "Ada [TYPE] person [NEXT] Bob Ray [TYPE] big star [END]"),
        ("X,y->W", "[LABEL] sport [WORDS]", "Ada [TYPE] person [NEXT] Bob Ray [TYPE] big star [END]"),
        ("X->y;W", "[LABEL]", "sport [WORDS] Ada [TYPE] person [NEXT] Bob Ray [TYPE] big star [END]"),
        ("X->W;y", "[WORDS]", "Ada [TYPE] person [NEXT] Bob Ray [TYPE] big star [LABEL] sport [END]"),
    ],
)
def test_lines_of_each_format(form, prompt, rest):
    line = Serializer(form).line(ITEM)
    assert line.prompt == f"{ITEM.text} {prompt}" and line.text == f"{line.prompt} {rest}"
    assert line.words == tuple(line.text.split()) and line.words[line.n_prompt :] == tuple(rest.split())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("types", [(), CORPUS.types])
def test_lines_are_read_back(form, types):
    serializer = Serializer(form, types=types)
    for item in CORPUS.items(20):
        said = serializer.read(serializer.line(item).words)
        levels = form.replace("X", "")
        assert said.label == (item.label if "y" in levels else None)
        assert said.pairs == (item.pairs() if "W" in levels else [])


def test_items_without_spans_and_broken_lines_are_read():
    serializer = Serializer("X->W;y")
    assert serializer.line(EMPTY).text == "nobody came [WORDS] [NONE] [LABEL] news [END]"
    assert serializer.read(serializer.line(EMPTY).words) == ("news", [])
    broken = "x [WORDS] [TYPE] a [NEXT] b [TYPE] [NEXT] c [NEXT] d [TYPE] e [LABEL] [END] z"
    assert serializer.read(broken.split()) == (None, [("d", "e")])
    compact = Serializer("X->W", types=("t", "u"))
    broken = "x [WORDS] t a u u b c t d [END] e t"
    assert compact.read(broken.split()).pairs == [("a", "u"), ("b c", "t")]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("types", [(), ("person", "star")])
def test_groups_part_the_words(form, types):
    item = HybridItem(ITEM.text, "sport", tuple(Span(s.text, s.type.split()[-1], s.start, s.end) for s in ITEM.spans))
    line = Serializer(form, types=types).line(item)
    words = {name: [line.words[place] for place in places] for name, places in line.groups.items()}
    parts = [place for name, places in line.groups.items() if not name.startswith("predicts") for place in places]
    assert sorted(parts) == list(range(len(line.words)))
    has_label, has_words = "y" in form, "W" in form
    assert words["text"] == ["met", ","] and words["entity"] == ["Ada", "Bob", "Ray"]
    assert words["copy"] == ["Ada", "Bob", "Ray"] * has_words and words["type"] == ["person", "star"] * has_words
    assert words["label"] == ["sport"] * has_label
    assert all(word.startswith("[") for word in words["marker"])
    assert [line.words[place + 1] for place in line.groups["predicts_label"]] == words["label"]
    assert [line.words[place + 1] for place in line.groups["predicts_type"]] == words["type"]
    assert [line.words[place + 1] for place in line.groups["predicts_copy"]] == ["Ada", "Bob"] * has_words


def test_pieces_say_where_in_the_characters():
    item = HybridItem("東京で会議、 明日", "政治", (Span("東京", "location", 0, 2), Span("明日", "time", 7, 9)))
    line = Serializer("X,W->y").line(item)
    found = {part: [line.text[p.start : p.end] for p in line.pieces if p.part == part] for part, *_ in line.pieces}
    assert found["text"] == ["で会議、"] and found["entity"] == ["東京", "明日"] == found["copy"]
    assert found["type"] == ["location", "time"] and found["label"] == ["政治"]
    assert line.groups["entity"] == (0, 1)


def test_controls_and_dropped_levels():
    other = HybridItem("Eve won", "art", (Span("Eve", "agent", 0, 3),))
    serializer = Serializer("X,W->y")
    assert serializer.line(ITEM, words_of=other).text == f"{ITEM.text} [WORDS] Eve [TYPE] agent [LABEL] sport [END]"
    assert serializer.line(ITEM, dropped=True) == Serializer("X->y").line(ITEM)
    assert Serializer("X,y->W").line(ITEM, label="art").prompt == f"{ITEM.text} [LABEL] art [WORDS]"


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="has the marker '\\[END\\]' as a word"):
        Serializer("X->y").line(HybridItem("the [END] is near", "x", ()))
    with pytest.raises(ValueError, match="cannot hold 'Bob Ray' as 'big star'"):
        Serializer("X->W", types=("person",)).line(ITEM)
    with pytest.raises(ValueError, match="format must be one of"):
        Serializer("y->X")
    with pytest.raises(ValueError, match="types of one word, got 'big star'"):
        Serializer("X->W", types=("big star",))
    with pytest.raises(ValueError, match="different single words"):
        Markers(label="a label")
    with pytest.raises(ValueError, match="different single words"):
        Markers(label="[END]")
    with pytest.raises(ValueError, match="no token for the word 'Ada'"):
        encode([Serializer("X->y").line(ITEM)], IDS)


@pytest.mark.parametrize("bos", [None, 1])
@pytest.mark.parametrize("form", FORMATS)
def test_encoded_lines_score_what_is_behind_the_prompt(form, bos):
    lines = [Serializer(form, types=CORPUS.types).line(item) for item in CORPUS.items(3)]
    batch = encode(lines, IDS, width=24, bos=bos)
    shift = int(bos is not None)
    for line, tokens, targets in zip(lines, batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert [WORDS[t] for t in tokens[shift : len(line.words) - 1 + shift]] == list(line.words[:-1])
        assert [WORDS[t] for t in targets if t != IGNORE] == list(line.words[line.n_prompt :])
        assert [t != IGNORE for t in targets].index(True) == line.n_prompt - 1 + shift
    with pytest.raises(ValueError, match="does not fit into 5"):
        encode(lines, IDS, width=5)


@pytest.mark.parametrize("bos", [None, 1])
def test_masks_point_at_the_tokens_of_their_groups(bos):
    items = CORPUS.items(6)
    task = HybridTask(Serializer("X,W->y", types=CORPUS.types), {"test": items}, IDS, bos=bos)
    batch, groups = task.dataset("test"), task.groups("test")
    for row, item in enumerate(items):
        named = {name: [WORDS[int(t)] for t in batch.tokens[row, mask[row]]] for name, mask in groups.items()}
        assert named["type"] == [span.type for span in item.spans]
        assert named["entity"] == named["copy"] == [span.text for span in item.spans]
        assert named["predicts_label"] == ["[LABEL]"]
        assert WORDS[int(batch.targets[row, groups["predicts_label"][row]])] == item.label
    assert mask_of(groups["type"], tuple(batch.tokens.shape)).sum() == 12


def test_groups_are_edges_for_the_knockout():
    task = HybridTask(Serializer("X,W->y", types=CORPUS.types), {"test": CORPUS.items(4)}, IDS)
    batch, groups = task.dataset("test"), task.groups("test")
    model = build("gpt", vocab=task.vocab_size, width=16, depth=2, heads=2, context=32, seed=0)
    with torch.inference_mode():
        before = model(batch.tokens)
        with attention_knockout(model, Edges(groups["type"], groups["predicts_label"])):
            after = model(batch.tokens)
    changed = ((before - after).abs() > 1e-5).any(-1)
    assert not changed[groups["predicts_label"].cumsum(1) == 0].any()
    assert changed[groups["predicts_label"]].all()


def test_dropped_levels_come_at_their_rate():
    items = {"train": CORPUS.items(200), "test": CORPUS.items(50, "test")}
    task = HybridTask(Serializer("X,y->W", types=CORPUS.types), items, IDS, drop=0.3)
    batch = task.batch("train", 4000)
    given = (batch.tokens == IDS["[LABEL]"]).any(1)
    assert abs(given.double().mean() - 0.7) < 0.03
    assert (task.batch("test", 100).tokens == IDS["[LABEL]"]).any(1).all()
    assert not (task.without_given("test").tokens == IDS["[LABEL]"]).any()
    assert torch.equal(batch.tokens, task.batch("train", 4000).tokens)


@pytest.mark.parametrize(("form", "shuffled"), [("X,W->y", "words"), ("X,y->W", "label")])
def test_shuffled_levels_are_those_of_another_item(form, shuffled):
    items = CORPUS.items(300)
    serializer = Serializer(form, types=CORPUS.types)
    task = HybridTask(serializer, {"train": items}, IDS, shuffled=shuffled)
    said = [serializer.read(line.words) for line in task.lines["train"]]
    if shuffled == "words":
        assert [s.label for s in said] == [item.label for item in items]
        assert sorted(s.pairs for s in said) == sorted(item.pairs() for item in items)
        assert sum(s.pairs == item.pairs() for s, item in zip(said, items, strict=True)) < 10
    else:
        assert [s.pairs for s in said] == [item.pairs() for item in items]
        assert abs(sum(s.label == item.label for s, item in zip(said, items, strict=True)) / 300 - 0.25) < 0.1


def test_labels_are_balanced_and_chance_says_so():
    task = HybridTask(Serializer("X->y"), {"test": CORPUS.items(1000, "test")}, IDS)
    assert 0.25 <= task.chance("test")["accuracy"] < 0.3


def test_impossible_tasks_are_refused():
    items = {"train": CORPUS.items(5)}
    with pytest.raises(ValueError, match="not given the words"):
        HybridTask(Serializer("X->y"), items, IDS, shuffled="words")
    with pytest.raises(ValueError, match="drop must be"):
        HybridTask(Serializer("X->y"), items, IDS, drop=0.3)
    with pytest.raises(ValueError, match="split 'test' has no items"):
        HybridTask(Serializer("X->y"), {**items, "test": []}, IDS)


def test_pretraining_texts_end_in_a_word_of_their_subtopic():
    corpus = HybridCorpus(rho=1.0, n_subtopics=2, topic_rate=0.9)
    ids = {word: token for token, word in enumerate(corpus.vocabulary(), 2)}
    words = {token: word for word, token in ids.items()}
    task = HybridPretraining(corpus, ids, type_evidence=0.5, bos=1)
    batch = task.batch("train", 400)
    agree = typed = 0
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        line = [words[t] for t in targets if t != IGNORE]
        assert tokens[0] == 1 and [words[t] for t in tokens[1 : len(line)]] == line[:-1]
        assert line[-2] == "[ABOUT]"
        typed += sum(word.startswith("type") for word in line)
        for one, other in pairwise(line):
            assert not other.startswith("type") or one.startswith("entity")
        topics = [word[0] + str(int(word[1:]) // 4) for word in line[:-2] if len(word) == 2]
        agree += max(topics, key=topics.count) == line[-1][0] + str(int(line[-1][1:]) // 4)
    assert agree > 380 and abs(typed / 800 - 0.5) < 0.06


@pytest.mark.parametrize("pretraining", [True, False])
def test_a_model_trains_on_them(pretraining):
    items = {"train": CORPUS.items(50), "test": CORPUS.items(20, "test")}
    task = (
        HybridPretraining(CORPUS, IDS, n_eval=8)
        if pretraining
        else HybridTask(Serializer("X,W->y", types=CORPUS.types), items, IDS, drop=0.3)
    )
    model = build("gpt", vocab=task.vocab_size, width=16, depth=1, heads=2, context=32, seed=0)
    history = fit(model, task, steps=10, batch_size=8, evaluate_at=1)
    assert float(history.nll.sel(split="train")[-1]) < float(history.nll.sel(split="train")[0])


def test_masks_of_a_shorter_width_leave_out_what_is_beyond():
    line = Serializer("X->y").line(ITEM)
    assert masks([line], 4)["text"].sum() == 1 and masks([line], 20)["text"].sum() == 2
