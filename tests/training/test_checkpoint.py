"""Checkpoints as a library user meets them."""

import errno
import os

import pytest
import torch

from elegans.training.checkpoint import CheckpointError, FileCheckpoint, Point

POINT = Point(7, {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}, {"note": [1, 2]})


def test_a_point_comes_back_as_it_was(tmp_path):
    slot = FileCheckpoint(tmp_path / "deep" / "x", "me")
    assert slot.load() is None
    slot.save(POINT)
    back = slot.load()
    assert (back.step, back.notes) == (7, {"note": [1, 2]})
    assert all(torch.equal(back.tensors[k], v) for k, v in POINT.tensors.items())


def test_a_foreign_checkpoint_is_refused_by_name(tmp_path):
    FileCheckpoint(tmp_path / "x", "somebody").save(POINT)
    with pytest.raises(CheckpointError, match="belongs to 'somebody', not to 'me'"):
        FileCheckpoint(tmp_path / "x", "me").load()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        FileCheckpoint(tmp_path / "x").load()


def test_a_failed_write_keeps_the_last_point(tmp_path, monkeypatch):
    slot = FileCheckpoint(tmp_path / "x")
    slot.save(POINT)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        slot.save(Point(8, {}, {}))
    monkeypatch.undo()
    assert slot.load().step == 7
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
