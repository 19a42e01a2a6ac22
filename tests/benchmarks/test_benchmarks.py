"""All benchmarks run, at tiny sizes; what they measure is not looked at."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from elegans import benchmarks
from elegans.benchmarks import harness, peers
from elegans.cli import main

HAS_PEERS = importlib.util.find_spec("transformers") is not None
OFTEN_ABSENT = ("TransformerLens", peers.REASONERS)
CPU = torch.device("cpu")


@pytest.fixture
def call(capsys):
    """Call the command line in this process; returns (status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.mark.parametrize("name", benchmarks.CATALOG)
def test_contenders_agree_and_are_timed(name):
    state = torch.random.get_rng_state()
    results = harness.run(benchmarks.load(name), CPU, quick=True)
    assert results or not HAS_PEERS
    for result in results:
        assert result.refused is None
        for timing in result.timings:
            assert (timing.ms is not None and timing.ms > 0) == (timing.contender.call is not None)
            assert timing.contender.call is not None or not HAS_PEERS or timing.contender.name.startswith(OFTEN_ABSENT)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["training-step", "selective-scan", "wkv"])
def test_peers_may_be_absent(name, monkeypatch):
    monkeypatch.setattr(peers, "has_transformers", lambda: False)
    for case in benchmarks.load(name)(True, CPU):
        assert [c.name for c in case.contenders if c.call is None] == [peers.HF]


def test_recurrent_states_have_one_size():
    sizes = {
        case.name.partition(",")[0]: {c.facts["state_bytes"] for c in case.contenders}
        for case in benchmarks.load("decoding")(True, CPU)
    }
    assert {name: len(found) for name, found in sizes.items()} == {"mamba": 1, "rwkv4": 1, "gpt": 2}


def test_json_is_all_of_stdout(call):
    status, out, err = call("bench", "linear-attention", "decoding", "--quick", "--json", "--device", "cpu")
    assert status == 0
    document = json.loads(out)
    assert set(document) == {"machine", "quick", "benchmarks"}
    assert set(document["machine"]) == {"device", "processor", "threads", "torch"}
    assert [b["benchmark"] for b in document["benchmarks"]] == ["linear-attention", "decoding"]
    case = document["benchmarks"][0]["cases"][0]
    assert set(case) == {"case", "rounds", "refused", "contenders"}
    assert set(case["contenders"][1]) == {"contender", "installed", "ms", "ratio", "low", "high", "goal", "met"}
    assert "state_bytes" in document["benchmarks"][1]["cases"][0]["contenders"][0]
    assert err.splitlines()[0].startswith("linear-attention: ")


def test_a_table_for_people(call):
    status, out, _ = call("bench", "linear-attention", "--quick", "--device", "cpu")
    assert status == 0
    assert "in chunks" in out and "loop" in out
    assert max(map(len, out.splitlines())) <= 120


def test_the_list_is_light(call):
    assert call("bench", "--list")[0] == 0
    rows = json.loads(call("bench", "--list", "--json")[1])["benchmarks"]
    assert [row["name"] for row in rows] == list(benchmarks.CATALOG)
    code = "import sys\nfrom elegans.cli import main\ntry: main(['bench', '--list'])\nexcept SystemExit: pass\n"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True, capture_output=True)


def test_the_help_fits_a_screen(call):
    status, out, _ = call("bench", "--help")
    assert status == 0
    assert 3 < out.count("\n") < 50 and max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("atention",), "no benchmark 'atention'; did you mean 'attention'?"),
        (("--threads", "0"), "--threads"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_a_wrong_call_is_one_line(call, arguments, says):
    status, out, err = call("bench", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_one_line(call):
    status, _, err = call("bench", "--quick", "--device", "cuda")
    assert (status, err) == (2, "elegans: no CUDA device on this machine; use --device cpu\n")


def test_wrong_numbers_are_status_1(call, monkeypatch):
    def cases(quick, device):
        right, wrong = (
            harness.Contender(name=n, call=lambda v=v: [torch.tensor(v)]) for n, v in (("a", 1.0), ("b", 2.0))
        )
        yield harness.Case(name="fake", contenders=(right, wrong))

    monkeypatch.setattr(benchmarks, "load", lambda name: cases)
    status, out, _ = call("bench", "fit", "--quick", "--device", "cpu")
    assert status == 1
    assert "not timed: fake: b" in out
