"""The pool in real processes: killed, interrupted, doubled."""

import json
import os
import random
import re
import signal
import sqlite3
import time

import psutil
import pytest
import toys
import xarray as xr

from elegans.lab.plan import Request, make_plan
from elegans.lab.store import Store


def result_files(home, study=toys.STUDY):
    plan = make_plan(study, Request(seeds=2))
    store = Store(home)
    return {(r.arm, r.seed): store.result_path(r.key).read_bytes() for r in plan.records.values()}


def training_started(home, process, known=()):
    """Wait until some job writes metrics that were not there before."""
    while process.poll() is None and not sizes(home) - set(known):
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_at_20_random_moments_the_study_ends_bit_identical(elegans, tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert elegans("run", "toys:STUDY", "--json", home=undisturbed).wait() == 0
    rng = random.Random(0)
    killed = []
    while len(killed) < 20:
        known = sizes(disturbed)
        process = elegans("run", "toys:STUDY", "--workers", "2", "--json", home=disturbed, TOY_PAUSE="0.1")
        if rng.random() < 0.8:
            training_started(disturbed, process, known)
            time.sleep(rng.uniform(0, 0.5))
        else:
            time.sleep(rng.uniform(0, 2))
        if process.poll() is not None:
            forget_two_records(disturbed)
            continue
        workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        who = rng.choice(["worker", "parent", "both"]) if workers else "parent"
        for worker in workers[:1] if who == "worker" else workers if who == "both" else []:
            worker.send_signal(signal.SIGKILL)
        if who == "worker":
            time.sleep(0.3)  # the parent notices, and goes on until it is killed as well
        process.kill()
        process.wait()
        killed.append(who)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive, "a worker outlived its parent"
    process = elegans("run", "toys:STUDY", "--json", home=disturbed)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert {"worker", "parent", "both"} <= set(killed)
    assert result_files(disturbed) == result_files(undisturbed)
    assert json.loads(output)["studies"][0]["failed_jobs"] == []


def sizes(home):
    return {(p.name, p.stat().st_size) for p in (home / "metrics").glob("*.jsonl")}


def forget_two_records(home):
    """Give a study that finished something to be killed at."""
    with sqlite3.connect(home / "index.sqlite") as db:
        db.execute("DELETE FROM records WHERE key IN (SELECT key FROM records WHERE arm LIKE 'a%' LIMIT 2)")
    db.close()


def test_two_processes_on_one_store_do_no_job_twice(elegans, tmp_path):
    home, log = tmp_path / "runs", tmp_path / "log"
    both = [elegans("run", "toys:STUDY", "--json", TOY_PAUSE="0.02", TOY_LOG=str(log)) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    done = log.read_text().splitlines()
    assert len(done) == len(set(done)) == 6
    assert json.loads(outputs[0][0]) == json.loads(outputs[1][0])
    assert sqlite3.connect(home / "index.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_ctrl_c_stops_within_two_seconds_and_the_same_command_goes_on(elegans, tmp_path):
    home = tmp_path / "runs"
    process = elegans("run", "toys:STUDY", TOY_PAUSE="0.1")
    training_started(home, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - started < 2
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=2)[1]
    process = elegans("run", "toys:STUDY", "--json")
    assert process.wait() == 0


def test_a_worker_that_keeps_dying_fails_its_job_only(elegans, tmp_path):
    process = elegans("run", "toys:DEADLY", "--seeds", "1", "--json")
    output, _ = process.communicate()
    assert process.returncode == 1
    study = json.loads(output)["studies"][0]
    assert [job["arm"] for job in study["failed_jobs"]] == ["b"]
    assert re.search("died 3 times", study["failed_jobs"][0]["error"])


def test_pool_and_inline_agree_to_the_bit(elegans, tmp_path):
    assert elegans("run", "toys:STUDY", "--json", home=tmp_path / "pool").wait() == 0
    assert elegans("run", "toys:STUDY", "--json", "--workers", "0", home=tmp_path / "inline").wait() == 0
    assert result_files(tmp_path / "pool") == result_files(tmp_path / "inline")


def test_results_open_as_plain_netcdf(elegans, tmp_path):
    assert elegans("run", "toys:STUDY", "--json").wait() == 0
    path = next((tmp_path / "runs" / "results").glob("*.nc"))
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert set(dataset.data_vars)
