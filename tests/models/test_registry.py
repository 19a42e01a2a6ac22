import pytest
import torch
from torch import nn

from elegans.models import CATALOG, GPT, build, locate
from elegans.models.registry import UnknownModel, settings_of


def test_names_and_paths():
    assert locate("gpt") == "elegans.models.gpt:GPT"
    assert locate("some.where:Mixer") == "some.where:Mixer"
    assert isinstance(build("gpt", vocab=5, width=8), GPT)
    assert isinstance(build("elegans.models.gpt:GPT", vocab=5, width=8), GPT)


def test_settings_pass_through():
    model = build("gpt", vocab=5, width=12, depth=3, heads=2, context=7, tied=False, seed=4)
    assert (len(model.blocks), model.token_table.weight.shape, model.context) == (3, (5, 12), 7)
    assert torch.equal(model.token_table.weight, build("gpt", vocab=5, width=12, seed=4).token_table.weight)


def test_what_makes_a_model_what_its_name_says_cannot_be_set():
    with pytest.raises(UnknownModel, match="model 'stablemask' is one with sink='stablemask'; it cannot be set"):
        build("stablemask", vocab=5, sink="none")
    assert "positions" in settings_of("gpt") - settings_of("gpt-alibi")


@pytest.mark.parametrize("name", CATALOG)
def test_every_entry_describes_itself_in_a_line(name):
    assert CATALOG[name][1] and "\n" not in CATALOG[name][1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpd", "no model 'gpd'; did you mean 'gpt'?"),
        ("zzz", "known: gpt, gpt-alibi"),
        ("no_such_package:Thing", "there is no module 'no_such_package'"),
        ("elegans.models.gtp:GPT", "there is no module 'elegans.models.gtp'"),
        ("elegans.models.gpt:GTP", "has no class 'GTP'; did you mean 'GPT'?"),
        ("not a path:X", "no model 'not a path:X'"),
        ("elegans.models.gpt:", "no model 'elegans.models.gpt:'"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(UnknownModel) as error:
        build(name, vocab=5)
    assert message in str(error.value) and isinstance(error.value, ValueError)


def test_wrong_keywords():
    with pytest.raises(UnknownModel, match=r"no setting 'widht'; did you mean 'width'\? accepted: vocab, width, depth"):
        build("gpt", vocab=5, widht=3)
    with pytest.raises(UnknownModel, match="no setting 'width'; accepted: vocab, symmetric, seed"):
        build("one-layer", vocab=5, width=3)


def test_a_module_that_lacks_a_dependency_says_which(tmp_path, monkeypatch):
    (tmp_path / "lacking_model.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        build("lacking_model:Model", vocab=5)


def test_foreign_classes_may_take_anything(tmp_path, monkeypatch):
    (tmp_path / "open_model.py").write_text(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, **kw):\n"
        "        super().__init__()\n        self.kw = kw\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = build("open_model:Model", vocab=5, flavor="up")
    assert isinstance(model, nn.Module) and model.kw == {"vocab": 5, "seed": 0, "flavor": "up"}


def test_settings_are_the_keywords_of_the_class():
    assert settings_of("bilinear") == {"vocab", "width", "symmetric", "init_std", "seed"}
    assert settings_of("elegans.models.one_layer:OneLayerLM") == {"vocab", "symmetric", "seed"}
