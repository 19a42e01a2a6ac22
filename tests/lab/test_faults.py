"""What a store does when its files or its disk fail: a rerun, or one clear line; never a wrong result."""

import errno
import os
import sqlite3
import subprocess

import pytest
import toys
import xarray as xr

from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.run import LabCheckpoint
from elegans.lab.store import Store, StoreError
from elegans.training.checkpoint import CheckpointError, FileCheckpoint

PLAN = make_plan(toys.study(a=toys.A), Request(seeds=1))
KEY = PLAN.records["a", 0].key


class Silent:
    def __getattr__(self, name):
        return lambda *args: None


def run(store, plan=PLAN):
    return execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def undisturbed(tmp_path):
    store = Store(tmp_path / "undisturbed")
    run(store)
    return collect(PLAN, store)["a"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "artefact"])
def test_a_damaged_result_is_computed_again(store, undisturbed, damage):
    run(store)
    path = store.result_path(KEY)
    if damage == "truncate":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "remove":
        path.unlink()
    else:
        (store.artifact_path(KEY) / "loss.txt").write_text("0")
    assert store.done({KEY}) == set()
    assert "damaged" in collect(PLAN, store).missing["a"]
    assert run(store) == []
    xr.testing.assert_identical(collect(PLAN, store)["a"], undisturbed)


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign", "empty"])
def test_an_unusable_checkpoint_is_only_a_lost_shortcut(store, undisturbed, damage):
    path = store.checkpoint_path(KEY, "fit")
    other = make_plan(toys.study(a=toys.A), Request(seeds=1, overrides=("a.config.lr=0.5",)))
    stop_after(store, other, path)
    if damage == "truncate":
        os.truncate(path, path.stat().st_size - 10)
    elif damage == "flip":
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        FileCheckpoint(path, KEY).load()
    assert run(store) == []
    xr.testing.assert_identical(collect(PLAN, store)["a"], undisturbed)


def stop_after(store, plan, path):
    """Leave the last checkpoint of `plan`'s job at `path`."""
    kept = []
    key = plan.records["a", 0].key
    original = LabCheckpoint.save

    def save(self, point):
        original(self, point)
        kept.append(self.path.read_bytes())

    LabCheckpoint.save = save
    try:
        run(store, plan)
    finally:
        LabCheckpoint.save = original
    assert key != KEY and kept
    path.write_bytes(kept[-1])


def test_a_full_disk_fails_the_job_with_that_reason(store, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("elegans.lab.store.write_whole", full)
    failures = run(store)
    assert "No space left on device" in failures[0].error
    assert store.done({KEY}) == set()
    monkeypatch.undo()
    assert run(store) == []


def test_a_really_full_disk(tmp_path):
    """On a file system of 300 kB; only root can mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        store = Store(disk / "runs")
        (disk / "ballast").write_bytes(b"x" * (300_000 - _used(disk)))
        try:
            assert run(store)  # the worker ran out of space ...
        except StoreError as error:
            assert "full" in str(error)  # ... or the index did
        (disk / "ballast").unlink()
        assert run(store) == []
        assert collect(PLAN, store)["a"].sizes["seed"] == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _used(disk):
    stat = os.statvfs(disk)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


@pytest.mark.parametrize("content", [b"this is no database", b""])
def test_an_index_that_is_no_index(tmp_path, content):
    root = tmp_path / "runs"
    root.mkdir()
    (root / "index.sqlite").write_bytes(content)
    if content:
        with pytest.raises(StoreError, match="move it away"):
            Store(root)
    else:
        assert run(Store(root)) == []


def test_a_store_of_another_version_is_refused(store):
    with sqlite3.connect(store.root / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="another version"):
        Store(store.root)


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use"):
        Store(tmp_path / "file")
