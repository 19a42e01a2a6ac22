import json
import re
from dataclasses import replace

import pytest

from elegans.report.page import StudyPage
from elegans.report.site import write_site

from .browser import visit


def test_x(tmp_path, toy_page):
    import time
    from pathlib import Path

    t = time.time()
    index = write_site([toy_page], Path("/tmp/site"))
    print(time.time() - t)
    t = time.time()
    index = write_site([toy_page], Path("/tmp/site"))
    print(time.time() - t)
    v = visit(
        index.parent / "toy-study.html",
        tmp_path,
        screenshot=Path("/tmp/page.png"),
        options=("--window-size=1200,4200",),
    )
    print(v.errors, v.requests, v.plates())
    Path("/tmp/dom.html").write_text(v.document)
    v = visit(index, tmp_path, screenshot=Path("/tmp/index.png"), options=("--window-size=1200,1000",))
