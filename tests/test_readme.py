"""What README and the pages in docs/ tell a reader to type works."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
SHELL = [
    line.split("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()
]


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_the_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_from_top_to_bottom(page):
    text = page.read_text(encoding="utf-8")
    if "transformers" in text:
        pytest.importorskip("transformers")
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), {})


@pytest.mark.parametrize("command", [line for line in SHELL if line.startswith("elegans")])
def test_commands_parse_and_plan(command, monkeypatch, capsys, tmp_path):
    """Each command goes as far as its plan; what follows is tested elsewhere."""
    from elegans import cli
    from elegans.cli import lab

    monkeypatch.setenv("ELEGANS_HOME", str(tmp_path / "runs"))
    planned = []

    def stop(plan, *_, **__):
        planned.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "run_study", stop)
    words = [word.replace("my_package.mixers:MyModel", "elegans.models.gpt:GPT") for word in shlex.split(command)]
    with pytest.raises(SystemExit) as ended:
        cli.main(words[1:])
    expected = {"run": 130, "verdicts": 2}.get(words[1], 0)
    assert ended.value.code == expected, capsys.readouterr().err
    assert bool(planned) == (words[1] == "run")


def test_the_library_example_runs_and_shows_what_it_says():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    lines = []
    for line in example.splitlines():
        claimed = re.search(r"^(.*?)\s+# .*: (\d)$", line)
        lines.append(f"assert abs(float({claimed[1]}) - {claimed[2]}) < 0.1, {line!r}" if claimed else line)
    assert sum(line.startswith("assert") for line in lines) == 2
    exec("\n".join(lines), {})
