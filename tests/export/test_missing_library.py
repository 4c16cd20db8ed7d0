"""Exports without the libraries that they need."""

import sys
from pathlib import Path


def test_a_missing_library_is_named_with_its_remedy(charnn, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "charnn.export.hf", raising=False)
    result = charnn("export", run, "--to", "hf")
    assert result.status == 1
    assert "transformers is not installed; in the clone, run pip install -e '.[export]'" in result.err
    assert not Path("small-hf").exists()
