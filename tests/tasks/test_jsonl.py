import json
import re

import pytest

from elegans.tasks.hybrid import HybridItem, Span
from elegans.tasks.jsonl import LoadedItem, load_hybrid, load_items

GOOD = b'{"question": "1+1=", "answer": "2"}\n'
TEXT = b'{"text": "Oslo and Rome", "label": "travel", "spans": [{"text": "Rome", "type": "city"}]}\n'


def write(tmp_path, data):
    path = tmp_path / "data.jsonl"
    path.write_bytes(data)
    return path


def test_items_in_order(tmp_path):
    path = write(tmp_path, GOOD + b'{"answer": "\xc3\xa9", "question": "e?", "kind": "implicit", "split": "test"}')
    assert load_items(path) == [LoadedItem("1+1=", "2"), LoadedItem("e?", "é", "implicit", "test")]
    assert load_items(str(path))[0].kind is None


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.rstrip()])
def test_byte_order_marks_and_line_ends_do_not_matter(tmp_path, data):
    assert load_items(write(tmp_path, data)) == [LoadedItem("1+1=", "2")]


def test_other_separators_are_no_line_ends(tmp_path):
    item = {"question": "a\u2028b\x85c", "answer": "d"}
    assert load_items(write(tmp_path, json.dumps(item, ensure_ascii=False).encode()))[0].question == "a\u2028b\x85c"


def test_texts_with_spans_in_order(tmp_path):
    spans = [{"text": "Rome", "type": "city", "start": 9}, {"text": "Oslo", "type": "city"}]
    line = json.dumps({"text": "Oslo and Rome or Rome", "label": "travel", "spans": spans}).encode()
    expected = HybridItem("Oslo and Rome or Rome", "travel", (Span("Oslo", "city", 0, 4), Span("Rome", "city", 9, 13)))
    empty = b'\n{"text": "nothing", "label": "none", "spans": []}'
    assert load_hybrid(write(tmp_path, line + empty)) == [expected, HybridItem("nothing", "none", ())]


ITEM_FAULTS = [
    (b"", 1, "the file is empty"),
    (GOOD + b"\n" + GOOD, 2, "the line is empty"),
    (GOOD + b"\n", 2, "the line is empty"),
    (GOOD + b'{"question": "a", "answer": "b"', 2, "not JSON: .* at column 32"),
    (GOOD + b"{'question': 'a', 'answer': 'b'}", 2, "not JSON"),
    (GOOD + b'["a", "b"]', 2, "must be an object, got a list"),
    (b"null", 1, "must be an object, got null"),
    (b'{"question": "a"}', 1, "the line has no 'answer'"),
    (
        b'{"question": "a", "answer": "b", "kinds": "normal"}',
        1,
        "unknown key 'kinds'; known are question, answer, kind",
    ),
    (b'{"question": "a", "answer": 2}', 1, "'answer' of the line must be a text, got an integer"),
    (b'{"question": "a", "answer": true}', 1, "must be a text, got a truth value"),
    (b'{"question": "a", "answer": null}', 1, "must be a text, got null"),
    (b'{"question": " \\n", "answer": "b"}', 1, "'question' is empty"),
    (b'{"question": "a", "answer": "b", "kind": "odd"}', 1, "'kind' must be one of implicit, misleading, normal"),
    (b'{"question": "a", "answer": "b", "split": "dev"}', 1, "'split' must be one of train, select, test"),
    (GOOD + GOOD, 2, "the same question stands in line 1"),
    (GOOD + b'{"question": "1+1=", "answer": "3"}', 2, "the same question stands in line 1"),
    (GOOD + b'{"question": "\xff", "answer": "b"}', 2, "not UTF-8 at byte 14"),
    (GOOD + b"\xef\xbb\xbf" + GOOD, 2, "not JSON"),
    (b'{"question": "a", "question": "b", "answer": "c"}', 1, "the key 'question' stands there twice"),
    (b'{"question": "\\ud800", "answer": "b"}', 1, "half of a surrogate pair"),
    (b'{"question": "a", "answer": ' + b"[" * 100_000, 1, "nested too deeply"),
    (b'{"question": "a", "answer": ' + b"1" * 5000 + b"}", 1, "integer"),
    (GOOD.decode().encode("utf-16"), 1, "not UTF-8"),
]


@pytest.mark.parametrize(("data", "line", "message"), ITEM_FAULTS, ids=[fault[2] for fault in ITEM_FAULTS])
def test_malformed_items_are_named_with_their_line(tmp_path, data, line, message):
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line {line}: .*{message}") as caught:
        load_items(path)
    assert "\n" not in str(caught.value)


def text(spans, content="Oslo and Rome and Rome"):
    return json.dumps({"text": content, "label": "travel", "spans": spans}).encode()


TEXT_FAULTS = [
    (text([{"text": "Oslo", "type": "city"}]).replace(b'"travel"', b"1"), "'label' of the line must be a text"),
    (b'{"text": "a", "label": "b"}', "the line has no 'spans'"),
    (text("Oslo"), "'spans' of the line must be a list, got a text"),
    (text(["Oslo"]), "span 1 must be an object, got a text"),
    (text([{"text": "Oslo", "type": "city"}, {"text": "Rome"}]), "span 2 has no 'type'"),
    (text([{"text": "Oslo", "type": "city", "end": 4}]), "span 1 has the unknown key 'end'"),
    (text([{"text": "", "type": "city"}]), "'text' is empty"),
    (text([{"text": "Oslo", "type": ""}]), "'type' is empty"),
    (text([{"text": "Paris", "type": "city"}]), "span 1, 'Paris', is not in the text"),
    (text([{"text": "Rome", "type": "city"}]), "'Rome', is 2 times in the text; say with 'start'"),
    (text([{"text": "aa", "type": "x"}], "aaa"), "'aa', is 2 times in the text"),
    (text([{"text": "Rome", "type": "city", "start": 10}]), "does not start at character 10, but at 9, 18"),
    (text([{"text": "Rome", "type": "city", "start": -4}]), "does not start at character -4"),
    (text([{"text": "Rome", "type": "city", "start": 9.0}]), "'start' of span 1 must be an integer, got a number"),
    (text([{"text": "Rome", "type": "city", "start": True}]), "must be an integer, got a truth value"),
    (text([{"text": "Oslo and", "type": "a"}, {"text": "and Rome and", "type": "b"}]), "the spans .* overlap"),
    (text([{"text": "Oslo", "type": "a"}, {"text": "Oslo", "type": "b"}]), "the spans 'Oslo' and 'Oslo' overlap"),
]


@pytest.mark.parametrize(("data", "message"), TEXT_FAULTS, ids=[fault[1] for fault in TEXT_FAULTS])
def test_malformed_texts_are_named_with_their_line(tmp_path, data, message):
    path = write(tmp_path, TEXT + data + b"\n")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line 2: .*{message}"):
        load_hybrid(path)


def test_a_text_stands_there_once(tmp_path):
    with pytest.raises(ValueError, match="line 2: the same text stands in line 1"):
        load_hybrid(write(tmp_path, TEXT + TEXT))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="cannot be read \\(No such file"):
        load_items(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        load_hybrid(tmp_path)
