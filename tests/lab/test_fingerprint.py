"""Which edits make a result stale."""

import sys

import pytest

from elegans.lab import fingerprint
from elegans.study import UsageError

EXPERIMENT = '''
"""An experiment."""
import math
from {package}.helper import double
from {package} import parts

FACTOR = 2
UNUSED = 3

def scale(x):
    """Doc."""
    return FACTOR * double(x) + parts.a.unused()

def experiment(config, seed, run):
    return scale(seed)

def other(config, seed, run):
    return math.sqrt(seed) + UNUSED

CLAIMS = [lambda r: r["a"]]
'''
HELPER = "from {package}.deep import one\n\ndef double(x):\n    return x + one(x)\n"
DEEP = "def one(x):\n    # a comment\n    return x\n"
PARTS = "def unused():\n    return 1\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a temporary folder; `package(file=text)` rewrites files and returns the revision."""
    name = f"fingerprinted_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    (folder / "parts").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    originals = {
        "__init__": "",
        "exp": EXPERIMENT,
        "helper": HELPER,
        "deep": DEEP,
        "parts/__init__": "",
        "parts/a": PARTS,
    }

    def revision(function="experiment", names=(), **edits):
        for file, text in originals.items():
            old, new = edits.get(file.replace("/", "_"), ("", ""))
            assert old in text
            (folder / f"{file}.py").write_text(text.replace(old, new).replace("{package}", name))
        for cached in (fingerprint._source, fingerprint._parse, fingerprint._summary):
            cached.cache_clear()
        return fingerprint.revision(f"{name}.exp:{function}", names)

    yield revision
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "edit",
    [
        {"exp": ("return scale(seed)", "return scale(seed + 1)")},
        {"exp": ("FACTOR = 2", "FACTOR = 3")},
        {"exp": ("FACTOR * double", "FACTOR + double")},
        {"helper": ("x + one(x)", "x - one(x)")},
        {"deep": ("return x", "return x + 0")},
        {"parts_a": ("return 1", "return 2")},
    ],
)
def test_what_the_experiment_reads_makes_it_stale(package, edit):
    assert package(**edit) != package()


@pytest.mark.parametrize(
    "edit",
    [
        {"exp": ('"""An experiment."""', '"""Reworded."""')},
        {"exp": ('"""Doc."""', '"""Other."""')},
        {"exp": ('r["a"]', 'r["b"]')},
        {"exp": ("UNUSED = 3", "UNUSED = 4")},
        {"exp": ("math.sqrt(seed)", "math.exp(seed)")},
        {"deep": ("    # a comment\n", "")},
        {"helper": ("\n\ndef", "\n\n\n\ndef")},
    ],
)
def test_claims_comments_and_neighbors_do_not(package, edit):
    assert package(**edit) == package()


def test_a_model_named_in_the_config_or_in_the_code_counts(package):
    assert package(names=("gpt",)) != package(names=("bilinear",)) != package()
    assert package(names=("no model",)) == package()
    assert package(exp=("return scale(seed)", 'return scale("gpt")')) != package(
        exp=("return scale(seed)", 'return scale("gpx")')
    )


def test_what_does_not_exist_is_named(package):
    package()
    with pytest.raises(UsageError, match="defines no 'experment'"):
        package(function="experment")
    with pytest.raises(UsageError, match="cannot find the source"):
        fingerprint.revision("no_such_module:f")


def test_studies_do_not_depend_on_the_lab_or_on_models_they_do_not_use():
    parts = {}
    fingerprint._collect_definition("elegans.studies.reversal_curse.experiments", "bilinear", parts)
    assert "elegans.models.bilinear" in parts
    assert not [name for name in parts if name.startswith(("elegans.lab", "elegans.report", "elegans.stats"))]
