"""Rates of dynamic evaluation that are fitted are kept for later runs, as far as they are the same."""

import shutil
from dataclasses import replace

import pytest

from charnn.config import ScoreOptions
from charnn.scoring import dynamic, rates
from charnn.scoring.dynamic import DynamicSettings
from charnn.storage.model_directory import read_model
from tests.notices import collected_notices

TEXT = "The fox met the heron, and the heron met the fox. " * 3


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty cache, and little to compute."""
    monkeypatch.setattr(dynamic, "SEGMENTS_MEASURED", 3)
    monkeypatch.setattr(dynamic, "RATES", (1e-3, 3e-3))
    monkeypatch.setenv("CHARNN_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def fits(monkeypatch):
    """What was fitted, instead of trying all rates."""
    made = []

    def fit_rates(estimator, _held_out, *, rate, decay):
        made.append((rate, decay))
        yield DynamicSettings(estimator.settings.segment, 0.1 + 0.2 if rate is None else rate, decay or 1e-3), 1 / 3

    monkeypatch.setattr(rates, "fit_rates", fit_rates)
    return made


def settings(model, temperature=1.0, **options):
    return rates.dynamic_estimator(model, ScoreOptions(dynamic=True, **options), temperature).settings


def test_a_score_by_kept_rates_is_that_by_fitted_ones_bit_for_bit(charnn, run):
    asked = ("score", "-m", run, "--text", TEXT, "--dynamic", "--format", "jsonl")
    first, second = charnn(*asked), charnn(*asked)
    assert first.status == 0, first.err
    assert first.out == second.out
    fitting, fitted, *totals = first.err.splitlines()
    assert "fitting the learning rate and decay" in fitting
    assert "--dynamic-stretch 20 --dynamic-rate" in fitted
    assert second.err.splitlines() == [f"{fitted}, fitted by an earlier run", *totals]
    assert "rates of dynamic evaluation for" in charnn("info", run, "--files").out


def test_numbers_are_kept_exactly_and_the_place_of_the_model_does_not_matter(run, fits, tmp_path):
    fitted = settings(read_model(run))
    assert fitted == DynamicSettings(20, 0.30000000000000004, 1e-3)
    moved = shutil.copytree(run, tmp_path / "moved")
    assert settings(read_model(moved)) == fitted
    assert fits == [(None, None)]


def test_all_that_a_fit_depends_on_is_its_own(run, fits, monkeypatch):
    model = read_model(run)
    settings(model)
    changed = {name: array * (1 + 1e-6 * (name == "output.bias")) for name, array in model.weights.items()}
    settings(replace(model, weights=changed))
    settings(model, temperature=1.25)
    settings(model, dynamic_rate=1e-4)
    settings(model, dynamic_decay=1e-2)
    settings(model, dynamic_stretch=10)
    monkeypatch.setattr(rates, "RATES", (1e-4,))
    settings(model)
    assert len(fits) == 7
    for name in ("valid", "train"):
        (run / f"{name}.bin").write_bytes((run / f"{name}.bin").read_bytes()[::-1])
        settings(model)
    assert len(fits) == 9
    settings(model)
    settings(model, dynamic_rate=1e-4, dynamic_decay=1e-2)  # nothing to fit
    assert len(fits) == 9


@pytest.mark.parametrize("damage", ["manifest", "number", "file", "none"])
def test_a_cache_that_is_damaged_or_cannot_be_written_is_done_without(run, fits, root, monkeypatch, damage):
    model = read_model(run)
    if damage == "file":
        root.write_text("no directory", encoding="utf-8")
    elif damage == "none":
        monkeypatch.setenv("CHARNN_CACHE_DIR", "")
    fitted = settings(model)
    manifests = list(root.glob("*/manifest.json"))
    assert len(manifests) == (damage in ("manifest", "number"))
    for manifest in manifests:
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text[:20] if damage == "manifest" else text.replace("0.30", "0.31"), encoding="utf-8")
    with collected_notices(notes := []):
        assert settings(model) == fitted
    assert len(fits) == 2
    assert "fitted by an earlier run" not in " ".join(notes)
    assert settings(model) == fitted
    assert len(fits) == (2 if manifests else 3)
