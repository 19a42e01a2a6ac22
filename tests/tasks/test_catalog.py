import importlib
import subprocess
import sys

import pytest

from elegans import tasks


@pytest.mark.parametrize("name", tasks.CATALOG)
def test_every_entry_leads_to_its_class(name):
    path, description = tasks.CATALOG[name]
    module, _, attribute = path.partition(":")
    assert getattr(importlib.import_module(module), attribute) is getattr(tasks, name)
    assert description and "\n" not in description
    assert name in tasks.__all__


def test_everything_listed_exists():
    assert all(hasattr(tasks, name) for name in tasks.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ReversalPears'"):
        _ = tasks.ReversalPears


def test_catalogs_need_no_torch():
    code = (
        "import sys, elegans.tasks, elegans.models.registry as r; "
        "assert elegans.tasks.CATALOG and r.CATALOG and r.locate('gpt'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
