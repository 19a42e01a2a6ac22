import os

import pytest
import torch

from elegans.interop import load_rwkv4, save_rwkv4
from elegans.models.rwkv import RWKV4


def model(**options):
    return RWKV4(**{"vocab": 11, "width": 8, "depth": 3, "attention_width": 12, "mlp_width": 20, "seed": 5} | options)


def saved(tmp_path, **changes):
    """A released file with some tensors replaced, those set to None left out."""
    tensors = {name: tensor for name, tensor in (model().state_dict() | changes).items() if tensor is not None}
    torch.save(tensors, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def assert_same_weights(first, second):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"depth": 1}, {"attention_width": None, "mlp_width": None}])
def test_what_is_written_is_read(options, tmp_path):
    save_rwkv4(model(**options), tmp_path / "model.pth")
    assert_same_weights(load_rwkv4(tmp_path / "model.pth"), model(**options))


def test_a_state_dict_is_a_released_file(tmp_path):
    again = load_rwkv4(str(saved(tmp_path)))
    assert type(again) is RWKV4
    tokens = torch.arange(10).reshape(2, 5)
    torch.testing.assert_close(again(tokens), model()(tokens), rtol=0, atol=0)


def test_half_precision_is_widened(tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in model().state_dict().items() if "time_decay" not in name}
    again = load_rwkv4(saved(tmp_path, **half))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    torch.testing.assert_close(again.head.weight, half["head.weight"].float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"blocks.1.att.time_faaaa": torch.zeros(2, 4)}, "time_faaaa.* RWKV-5"),
        ({"blocks.1.att.ln_x.weight": torch.zeros(8)}, "ln_x.weight.* RWKV-5"),
        ({"blocks.1.att.gate.weight": torch.zeros(8, 8)}, "gate.weight.* RWKV-5"),
        ({"blocks.0.att.time_maa_x": torch.zeros(1, 1, 8)}, "time_maa_x.* RWKV-5"),
        ({"blocks.0.att.time_decay": torch.zeros(2, 6)}, r"'blocks.0.att.time_decay' has shape \(2, 6\).* RWKV-5"),
        ({"blocks.0.ffnPre.key.weight": torch.zeros(8, 8)}, "ffnPre.key.weight.* ffnPre"),
        ({"head_q.weight": torch.zeros(8, 8)}, "'head_q.weight'.* head_q"),
        ({"blocks.2.tiny_q.weight": torch.zeros(8, 8)}, "'blocks.2.tiny_q.weight'.* tiny_att"),
        ({"blocks.0.pos_emb_x": torch.zeros(1, 4, 8)}, "'blocks.0.pos_emb_x'.* pos_emb"),
        ({"emb.weight": None}, "lack 'emb.weight'"),
        ({"blocks.0.att.time_decay": None}, "lack 'blocks.0.att.time_decay'"),
        ({"blocks.2.ln1.bias": None}, "lack 'blocks.2.ln1.bias'"),
        ({"blocks.0.ln0.weight": None}, "lack 'blocks.0.ln0.weight'"),
        ({"head.weight": torch.zeros(12, 8)}, r"'head.weight' has shape \(12, 8\), the model needs \(11, 8\)"),
        ({"emb.weight": torch.zeros(11)}, "'emb.weight' has shape"),
        ({"blocks.0.att.time_decay": torch.zeros(0)}, "'blocks.0.att.time_decay' has shape"),
        ({"blocks.0.att.time_mix_k": torch.zeros(8)}, "'blocks.0.att.time_mix_k' has shape"),
        ({"blocks.1.ffn.key.weight": torch.zeros(8, 20)}, "'blocks.1.ffn.key.weight' has shape"),
        ({"blocks.99999999999.ln1.bias": torch.zeros(8)}, "no place for 'blocks.99999999999.ln1.bias'"),
        ({"blocks.4.ln1.bias": torch.zeros(8)}, "no place for 'blocks.4.ln1.bias'"),
        ({"extra": torch.zeros(8)}, "no place for 'extra'"),
        ({"ln_out.bias": torch.zeros(8, dtype=torch.int32)}, "'ln_out.bias' holds torch.int32"),
        ({"ln_out.bias": [0.0] * 8}, "holds a list under 'ln_out.bias'"),
    ],
)
def test_tensors_that_do_not_fit_are_named(changes, named, tmp_path):
    with pytest.raises(ValueError, match=named) as caught:
        load_rwkv4(saved(tmp_path, **changes))
    assert "\n" not in str(caught.value)


class Command:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


def test_code_in_a_file_is_named_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"emb.weight": Command()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth is not a file of tensors: it would run \w+\.system$"):
        load_rwkv4(tmp_path / "model.pth")
    assert not (tmp_path / "it_ran").exists()


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    whole = saved(tmp_path).read_bytes()
    path = tmp_path / "bad.pth"
    for data in (whole[: len(whole) // 2], whole[:10], b"", b"text, not weights", bytes(100)):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"bad\.pth is not a file of tensors") as caught:
            load_rwkv4(path)
        assert "\n" not in str(caught.value)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ValueError, match="holds a list"):
        load_rwkv4(path)
    with pytest.raises(ValueError, match="no file"):
        load_rwkv4(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match="is not a file of tensors"):
        load_rwkv4(tmp_path)
