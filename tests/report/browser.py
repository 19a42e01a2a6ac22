"""Open pages in a headless Chromium and read what came of them: the document, the console, the requests."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@dataclass(frozen=True)
class Visit:
    """A page after its scripts ran."""

    document: str
    console: tuple[str, ...]
    """All that the page wrote to the console, uncaught exceptions included. A page in order writes nothing."""
    requests: tuple[str, ...]
    """Addresses beyond the local disk that the page asked for."""

    def plates(self) -> list[str]:
        """The state of every figure: ``drawn``, ``waiting`` or ``fallback``."""
        return re.findall(r'<div class="plate[^>]*data-state="(\w+)"', self.document)


def chromium() -> str:
    """The browser's command; skips the test if there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium found: browser tests skipped")


def visit(
    page: Path, folder: Path, *, script: str = "", screenshot: Path | None = None, options: tuple[str, ...] = ()
) -> Visit:
    """Open `page` from the disk and wait until its scripts are done.

    `folder` is an empty one for the browser's own files. `script` runs in the page after its figures are drawn (in a
    copy beside it), as a test's hand on a slider would.
    """
    command = [chromium(), *QUIET, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", *options]
    log = folder / "net.json"
    target = _with_script(page, script) if script else page
    command += [f"--log-net-log={log}", "--enable-logging=stderr", "--v=0", target.resolve().as_uri()]
    try:
        shown = _run([*command[:-1], "--dump-dom", command[-1]], folder)
        if screenshot:
            _run([*command[:-1], f"--screenshot={screenshot}", command[-1]], folder)
    finally:
        if script:
            target.unlink()
    console = re.findall(r"(?m)^\[[^\]]*:CONSOLE[^\]]*\] (.*)", shown.stderr)
    return Visit(shown.stdout, tuple(console), _requests(log))


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=True)


def _with_script(page: Path, script: str) -> Path:
    copy = page.with_name(f"{page.stem}-with-script.html")
    hand = f"<script>window.addEventListener('load', () => setTimeout(() => {{ {script} }}, 3000));</script></body>"
    copy.write_text(page.read_text().replace("</body>", hand))
    return copy


def _requests(log: Path) -> tuple[str, ...]:
    """Network requests that a page began. The browser's own have no initiator."""
    text = log.read_text()
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:  # the browser ended before it closed the list
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    found = []
    for event in events:
        asked = event.get("params", {})
        address = asked.get("url", "")
        if (
            address.startswith(("http:", "https:", "ws:", "wss:"))
            and asked.get("initiator", "not an origin") != "not an origin"
        ):
            found.append(address)
    return tuple(found)
