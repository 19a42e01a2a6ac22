"""The command line: what it prints, and that a wrong call is one line and status 2."""

import json
import os
import re
import string
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elegans import studies
from elegans.cli import main


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call the command line in this process, on a fresh store; returns (status, stdout, stderr)."""
    monkeypatch.setenv("ELEGANS_HOME", str(tmp_path / "runs"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def assert_refused(result, contains=""):
    status, out, err = result
    assert status == 2, (out, err)
    assert out == ""
    assert err.startswith("elegans: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert contains in err


# ------------------------------------------------------------------------------------------------ good calls


def test_list_and_show_name_every_study(call):
    _, out, _ = call("list")
    assert all(name in out for name in studies.names())
    _, out, _ = call("list", "--json")
    assert [row["study"] for row in json.loads(out)["studies"]] == studies.names()


def test_show_documents_every_field(call):
    for name in studies.names():
        status, out, _ = call("show", name)
        assert status == 0
        assert studies.load(name).claims[0].statement in out
        _, out, _ = call("show", name, "--json")
        for fields in json.loads(out)["fields"].values():
            assert all(about["doc"] for about in fields.values())


def test_models_and_tasks(call):
    assert "gpt" in call("models")[1]
    assert "ReversalPairs" in call("tasks")[1]
    assert json.loads(call("tasks", "--json")[1])["tasks"]


def test_run_verdicts_and_report(call, tmp_path):
    run = ("run", "toys:STUDY", "--workers", "0", "--device", "cpu", "--json")
    status, out, _ = call(*run)
    assert status == 0
    document = json.loads(out)
    study = document["studies"][0]
    assert set(study) == {"study", "scale", "seeds", "claims", "failed_jobs"}
    assert set(study["claims"][0]) == {
        "name", "verdict", "value", "low", "high", "threshold", "control", "n_seeds", "paper"
    }  # fmt: skip
    assert {claim["verdict"] for claim in study["claims"]} == {"supported"}
    started = time.monotonic()
    assert json.loads(call(*run)[1]) == document
    assert time.monotonic() - started < 5
    assert json.loads(call("verdicts", "toys:STUDY", "--json")[1]) == document
    status, out, _ = call("verdicts", "toys:STUDY")
    assert "it-trains" in out and "supported" in out
    status, out, _ = call("report", "toys:STUDY", "--out", tmp_path / "site")
    assert status == 0
    assert (tmp_path / "site" / "index.html").exists()
    assert "it-trains" in call("report", "toys:STUDY", "--markdown")[1]


def test_verdicts_show_what_was_last_run_with_its_changes(call):
    call("run", "toys:STUDY", "--workers", "0", "--seeds", "3", "--first-seed", "5", "--set", "a.config.steps=5")
    study = json.loads(call("verdicts", "toys:STUDY", "--json")[1])["studies"][0]
    assert study["seeds"] == [5, 6, 7]
    other = json.loads(call("verdicts", "toys:STUDY", "--seeds", "4", "--json")[1])["studies"][0]
    assert {claim["verdict"] for claim in other["claims"]} == {"not testable"}


def test_until_decided_adds_seeds_and_stops(call):
    status, out, _ = call(
        "run", "toys:STUDY", "--workers", "0", "--seeds", "1", "--until-decided", "--max-seeds", "6", "--json"
    )
    assert status == 0
    study = json.loads(out)["studies"][0]
    assert 1 < len(study["seeds"]) <= 6
    assert "inconclusive" not in {claim["verdict"] for claim in study["claims"]}


def test_a_failed_job_is_status_1(call):
    status, out, _ = call("run", "toys:FAILING", "--workers", "0", "--json")
    assert status == 1
    study = json.loads(out)["studies"][0]
    assert {job["arm"] for job in study["failed_jobs"]} == {"b", "c"}
    assert {claim["name"]: claim["verdict"] for claim in study["claims"]}["b-exists"] == "not testable"


# ------------------------------------------------------------------------------------------------ bad calls

STUDY = "reversal-curse"
BAD_CALLS = [
    (("rum",), "Did you mean 'run'"),
    (("run",), "name studies to run, or pass --all"),
    (("run", "--all", STUDY), "not both"),
    (("run", "reversal-cruse"), "did you mean 'reversal-curse'"),
    (("run", "no.such.module:STUDY"), "no study"),
    (("run", "elegans.study:Study"), "is not a Study"),
    (("run", ":"), "no study"),
    (("run", STUDY, "--scale", "laptpo"), "laptop"),
    (("run", STUDY, "--seeds", "0"), "--seeds"),
    (("run", STUDY, "--seeds", "-3"), "--seeds"),
    (("run", STUDY, "--seeds", "three"), "--seeds"),
    (("run", STUDY, "--seeds"), "--seeds"),
    (("run", STUDY, "--first-seed", "-1"), "--first-seed"),
    (("run", STUDY, "--workers", "-1"), "--workers"),
    (("run", STUDY, "--device", "tpu"), "--device"),
    (("run", STUDY, "--max-seeds", "9"), "--until-decided"),
    (("run", STUDY, "--until-decided", "--seeds", "9", "--max-seeds", "5"), "--max-seeds must be at least"),
    (("run", STUDY, "--set", "gpt.config.depth=0"), "depth must be at least 1, got 0"),
    (("run", STUDY, "--set", "gpt.config.depth=-2"), "depth must be at least 1, got -2"),
    (("run", STUDY, "--set", "gpt.config.depth=two"), "depth must be int, got 'two'"),
    (("run", STUDY, "--set", "gpt.config.depth=1.5"), "depth must be int"),
    (("run", STUDY, "--set", "gpt.config.dpeth=2"), "did you mean 'depth'"),
    (("run", STUDY, "--set", "gtp.config.depth=2"), "did you mean 'gpt'"),
    (("run", STUDY, "--set", "gpt.config.lr=0"), "lr must be above 0"),
    (("run", STUDY, "--set", "gpt.config.lr=inf"), "lr must be float"),
    (("run", STUDY, "--set", "gpt.config.lr=nan"), "lr must be float"),
    (("run", STUDY, "--set", "gpt.config.dropout=0.95"), "dropout must be at most 0.9"),
    (("run", STUDY, "--set", "gpt.config.positions=sinusoidal"), "positions must be 'learned' | 'rotary' | 'none'"),
    (("run", STUDY, "--set", "gpt.config.heads=5"), "width must be divisible by heads"),
    (("run", STUDY, "--set", "gpt.config.n_both=50"), "n_both must be below n_pairs"),
    (("run", STUDY, "--set", "gpt.config.n_pairs=51"), "n_pairs must be at most n_symbols ** word_size = 50"),
    (("run", STUDY, "--set", "gpt.config.tied=perhaps"), "tied must be bool"),
    (("run", STUDY, "--set", "gpt.depth=2"), "write ARM.config.FIELD=VALUE"),
    (("run", STUDY, "--set", "gpt.config.depth"), "write ARM.config.FIELD=VALUE"),
    (("run", STUDY, "--set", "="), "write ARM.config.FIELD=VALUE"),
    (("run", STUDY, "--set", "gpt.config.model=gtp"), "did you mean 'gpt'"),
    (("run", STUDY, "--model", "gtp"), "did you mean 'gpt'"),
    (("run", STUDY, "--model", "no.such:Model"), "no module"),
    (("run", STUDY, "--model", "elegans.study:Modle"), "Modle"),
    (("run", STUDY, "--jsno"), "--jsno"),
    (("run", STUDY, STUDY + "x"), "did you mean"),
    (("show",), "study"),
    (("show", "x"), "no study 'x'"),
    (("show", STUDY, "extra"), "extra"),
    (("show", STUDY, "--scale", "huge"), "huge"),
    (("list", "extra"), "extra"),
    (("verdicts",), "nothing was run yet"),
    (("verdicts", "x"), "no study 'x'"),
    (("verdicts", STUDY), "nothing was run yet"),
    (("report",), "nothing was run yet"),
    (("report", STUDY, "--formats", "gif"), "no figure format 'gif'"),
    (("report", "--markdown", "--open"), "--markdown"),
    (("models", "gpt"), "gpt"),
    (("tasks", "--jsn"), "--jsn"),
]


@pytest.mark.parametrize(("arguments", "contains"), BAD_CALLS, ids=lambda value: " ".join(value)[:60])
def test_a_wrong_call_is_one_line(call, arguments, contains):
    assert_refused(call(*arguments), contains)


WORDS = st.text(string.ascii_letters + string.digits + "-_.:=/ ", min_size=1, max_size=12)
NOT_A_STUDY = WORDS.filter(lambda w: w not in studies.names() and not w.startswith("-"))
FIELD = st.sampled_from(["depth", "width", "heads", "steps", "batch_size", "n_pairs", "evaluations"])
BAD_NUMBER = (
    st.integers(max_value=0).map(str) | st.floats(allow_nan=True).map(str) | st.sampled_from(["", "x", "1e3", "--"])
)
BAD = st.one_of(
    NOT_A_STUDY.map(lambda w: ("run", w)),
    NOT_A_STUDY.map(lambda w: ("show", w)),
    st.tuples(FIELD, BAD_NUMBER).map(lambda p: ("run", STUDY, "--set", f"gpt.config.{p[0]}={p[1]}")),
    WORDS.map(lambda w: ("run", STUDY, f"--set={w}")),
    WORDS.filter(lambda w: w.strip() not in ("smoke", "laptop", "paper")).map(lambda w: ("run", STUDY, f"--scale={w}")),
    st.integers(max_value=0).map(lambda n: ("run", STUDY, f"--seeds={n}")),
    WORDS.filter(lambda w: not w.strip().isdigit()).map(lambda w: ("verdicts", STUDY, f"--seeds={w}")),
    WORDS.filter(lambda w: ":" not in w and w not in ("gpt", "bilinear", "one-layer")).map(
        lambda w: ("run", STUDY, f"--model={w}")
    ),
    WORDS.map(lambda w: ("list", f"--{w.strip('-= ') or 'x'}x")),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BAD)
def test_generated_wrong_calls_are_one_line(call, arguments):
    assert_refused(call(*arguments))


@pytest.mark.parametrize("make", ["file", "garbage", "beneath a file"])
def test_an_unusable_store_is_one_line(call, tmp_path, monkeypatch, make):
    home = tmp_path / "home"
    if make == "garbage":
        home.mkdir()
        (home / "index.sqlite").write_bytes(b"no database at all, but long enough to be read as one")
    else:
        home.write_text("a file")
        home = home / "runs" if make == "beneath a file" else home
    monkeypatch.setenv("ELEGANS_HOME", str(home))
    assert_refused(call("run", "toys:STUDY", "--scale", "smoke"))


def test_an_unwritable_report_is_one_line(call, tmp_path):
    call("run", "toys:STUDY", "--workers", "0", "--seeds", "1")
    (tmp_path / "file").write_text("")
    assert_refused(call("report", "toys:STUDY", "--out", tmp_path / "file"), "cannot write the report")


# ------------------------------------------------------------------------------------------------ start-up


def modules_of(code):
    """The modules that a fresh interpreter has after running `code`."""
    code = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def test_import_and_help_and_list_are_light():
    assert "torch" not in modules_of("import elegans")
    assert not {"torch", "numpy", "xarray"} & modules_of("from elegans.cli import main; main(['--help'])")
    assert not {"torch", "altair", "scipy"} & modules_of("from elegans.cli import main; main(['list'])")


def test_every_command_has_a_help_that_fits_a_screen(elegans):
    for command in ("list", "show", "run", "verdicts", "report", "models", "tasks", "bench"):
        out, _ = elegans(command, "--help").communicate()
        assert 3 < out.count("\n") < 50
        assert max(map(len, out.splitlines())) <= 100


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m elegans.cli show {STUDY} | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, env={**os.environ})
    assert re.match("reversal-curse", result.stdout)
    assert result.stderr == ""


@pytest.fixture
def own_lm(tmp_path):
    pytest.importorskip("transformers")
    from elegans.lm.grow import tiny_llama
    from elegans.lm.tokens import char_tokenizer

    tokenizer = char_tokenizer(
        string.ascii_lowercase + string.digits + string.ascii_uppercase + string.punctuation + " \n"
    )
    tiny_llama(tokenizer, width=16, depth=1, heads=2, ffn=24, context=128, seed=0).save(tmp_path / "lm")
    return tmp_path / "lm"


def test_icl_advises_on_ones_own_questions_and_goes_on_where_it_was(call, own_lm, tmp_path):
    items = [{"question": f"{a}+{b}=", "answer": str((a + b) % 3)} for a in range(12) for b in range(12)]
    data = tmp_path / "items.jsonl"
    data.write_text("\n".join(map(json.dumps, items)))
    arguments = ("icl", "--lm", own_lm, "--data", data, "--shots", "0,2", "--samples", "4", "--rates", "1e-3")
    arguments += ("--steps", 2, "--seeds", 1, "--workers", 0)
    status, out, _ = call(*arguments)
    assert status == 0 and "ICL minus LoRA:" in out
    status, again, err = call(*arguments)
    assert status == 0 and again == out and "2/2 done before" in err
    assert_refused(call(*arguments, "--shots", "0,two"), "--shots must be numbers parted by commas")
    data.write_text('{"question": "1+1="}')
    assert_refused(call(*arguments), "line 1")


def test_flow_reads_ones_own_texts(call, own_lm, tmp_path):
    names = {"paris": "city", "anna": "person"}
    texts = [
        {
            "text": f"{word} at {n}",
            "label": "place" if kind == "city" else "people",
            "spans": [{"text": word, "type": kind}],
        }
        for n in range(6)
        for word, kind in names.items()
    ]
    data = tmp_path / "texts.jsonl"
    data.write_text("\n".join(map(json.dumps, texts)))
    arguments = ("flow", "--lm", own_lm, "--data", data, "--shots", 1, "--texts", 6, "--seeds", 1, "--workers", 0)
    arguments += ("--label-marker", "label:", "--words-marker", "words:")
    status, out, err = call(*arguments)
    assert status == 0 and "report" in out, err
    data.write_text("{")
    assert_refused(call(*arguments), "line 1")


def test_solve_searches_ones_own_problems_and_goes_on_where_it_was(call, own_lm, tmp_path):
    data = tmp_path / "problems.jsonl"
    data.write_text('{"init": [["a"], ["b"]], "goal": [["b", "a"]], "name": "p"}')
    arguments = ("solve", "--problems", data, "--expert", own_lm, "--render", "compact", "--shots", 0, "--depth", 2)
    arguments += ("--iterations", 20, "--workers", 0)
    status, out, err = call(*arguments)
    assert status == 0 and "p: solved in 2 actions (shortest: 2)\nsolved 1 of 1; greedy " in out, err
    status, again, err = call(*arguments, "--amateur", own_lm)
    assert status == 0 and again == out and "1/1 done before" in err
    assert "no reward in ll+se asks the amateur; --reward ll+se+cd would" in err
    document = json.loads(call(*arguments, "--json")[1])
    assert document["problems"][0]["plan"] == ["pick-up a", "stack a b"]
    assert_refused(call(*arguments, "--reward", "ll+cd"), "--amateur")
    assert_refused(call(*arguments, "--world", "blocks"), "did you mean 'blocksworld'")
    data.write_text('{"init": [["a"], ["b"]]}')
    assert_refused(call(*arguments), "line 1: the line has no 'goal'")


def test_solve_shows_what_is_found_beside_a_fault(call, own_lm, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(own_lm / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, own_lm / "model.safetensors", {"format": "pt"})
    data = tmp_path / "problems.jsonl"
    data.write_text(
        '{"init": [["a"], ["b"]], "goal": [["b", "a"]], "name": "p"}\n'
        '{"init": [["a", "b"]], "goal": [["a", "b"]], "name": "nothing to do"}'
    )
    arguments = ("solve", "--problems", data, "--expert", own_lm, "--render", "compact", "--shots", 0, "--depth", 2)
    status, out, err = call(*arguments, "--workers", 0)
    assert status == 1 and "1 of 2 problems ended in a fault" in err
    assert "p: fault: the model gave a log-probability that is not a finite number\nnothing to do: solved in 0" in out
