import pytest
import torch
from safetensors.torch import save_file

from elegans import build
from elegans.models.files import load, save
from elegans.models.gpt import GPT

TOKENS = torch.arange(12).reshape(2, 6) % 7


@pytest.mark.parametrize(
    ("name", "settings"),
    [("gpt", {"heads": 2, "tied": False}), ("looped", {"depth": 3}), ("mamba", {}), ("hybrid", {}), ("rwkv4", {})],
)
def test_a_model_comes_back_from_its_file(name, settings, tmp_path):
    model = build(name, vocab=7, width=16, seed=3, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert torch.equal(again(TOKENS), model(TOKENS)) and again.recipe == model.recipe


def test_a_model_without_recipe_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="only models made by elegans"):
        save(GPT(vocab=7, width=16), tmp_path / "model.safetensors")


def damaged(path, how):
    if how == "missing":
        return path
    save(build("gpt", vocab=7, width=16), path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    if how == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    if how == "other weights":
        recipe = '{"name": "gpt", "vocab": 8, "width": 16}'
        save_file(build("gpt", vocab=7, width=16).state_dict(), path, {"elegans.model": recipe})
    if how == "unknown":
        save_file({"x": torch.zeros(2)}, path, {"elegans.model": '{"name": "gtp", "vocab": 8}'})
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "not a readable model"),
        ("truncated", "not a readable model"),
        ("foreign", "no recipe of a model"),
        ("other weights", "does not fit its recipe: .*token_table.weight"),
        ("unknown", "did you mean 'gpt'"),
    ],
)
def test_files_that_are_no_models_are_refused_in_a_line(how, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        load(damaged(tmp_path / "model.safetensors", how))
    assert "\n" not in str(error.value) and "model.safetensors" in str(error.value)
