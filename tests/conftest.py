"""Fixtures shared by all floors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture
def elegans(tmp_path):
    """Start the command line in a process of its own, with a fresh store; `elegans(...)` returns the `Popen`."""
    processes = []

    def start(*arguments, home=tmp_path / "runs", **environment):
        env = {**os.environ, "PYTHONPATH": str(TESTS), "ELEGANS_HOME": str(home), **environment}
        command = [sys.executable, "-m", "elegans.cli", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
