"""The guide to data runs as it is written."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from flyte._local import run_local

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "data.md"


def test_the_guide_runs(monkeypatch):
    """Every sample of the guide is executed, and its tasks give what the text says."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    module = types.ModuleType("data_guide")
    monkeypatch.setitem(sys.modules, "data_guide", module)
    monkeypatch.setattr("flyte.init", lambda storage: setattr(module, "storage", storage))
    code = "\n\n".join(blocks)
    path = Path(sys.modules["tempfile"].gettempdir()) / "data_guide.py"
    path.write_text(code)
    exec(compile(code, str(path), "exec"), module.__dict__)
    assert run_local(module.lines, 12).result() == 12
    assert run_local(module.split_lines, 3).result() == ["0.txt", "1.txt", "2.txt"]
    assert run_local(module.bill).result() == 8.0
    assert run_local(module.report, module.prices.forward()).result() == "2 items"
    assert module.storage.region == "eu-1"
