"""`charnn info` on small terminals, for models of many files and of n-gram embeddings."""

import json

import pytest

from charnn.cells.parameters import expected_shapes, parameter_counts
from charnn.cli.commands import info
from charnn.storage.model_directory import read_model


def test_the_losses_are_on_the_last_screen(charnn, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    screen = "\n".join(charnn("info", run).out.splitlines()[-23:])
    for label in ("model directory", "cell", "parameters", "validation tokens", "n-gram loss", "validation loss"):
        assert f"\n  {label} " in "\n" + screen
    assert "recipe" not in screen


@pytest.mark.parametrize("width", [20, 36])
def test_values_stand_below_their_names_on_a_narrow_terminal(charnn, run, monkeypatch, width):
    facts = json.loads(charnn("info", run, "--json").out)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = charnn("info", run).out.splitlines()
    assert max(map(len, lines)) <= width
    loss = f"{facts['valid_loss_nats']:,.4f} nats/token"
    assert lines[-2:] == ["validation loss", f"  {loss}"]
    assert lines[lines.index("vocabulary") + 1] == f"  {facts['vocab_size']} tokens"
    digest = facts["files"][0].split()[-1].removesuffix(")")
    assert digest in "".join(line.strip() for line in lines)


def test_several_models_follow_each_other_on_a_narrow_terminal(charnn, run, line_run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shown = charnn("info", run, line_run).out
    assert shown.count("\n  validation loss ") == 2
    assert max(map(len, shown.splitlines())) <= 60
    monkeypatch.setenv("COLUMNS", "90")
    assert charnn("info", run, line_run).out.count("  validation loss ") == 1


def test_of_many_files_a_few_are_named(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    file = config["corpus"]["files"][0]
    config["corpus"]["files"] = [{**file, "name": f"d/{number}.txt"} for number in range(20_000)]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shown = charnn("info", run).out
    assert "d/2.txt (" in shown
    assert "d/3.txt (" not in shown
    assert "and 19,997 others (--json lists them all)" in shown
    assert len(shown.splitlines()) < 70
    assert len(json.loads(charnn("info", run, "--json").out)["files"]) == 20_000


def test_ngram_embeddings_are_counted_apart(charnn, run):
    model = read_model(run)
    tables = {
        name: array.size
        for name, array in model.weights.items()
        if name.startswith("embedding.") and name != "embedding.weight"
    }
    others = sum(array.size for array in model.weights.values()) - sum(tables.values())
    assert len(tables) == 3
    assert parameter_counts(model.architecture) == (others, sum(tables.values()))
    assert sum(parameter_counts(model.architecture)) == sum(
        int(array.size) for name, array in model.weights.items() if name in expected_shapes(model.architecture)
    )
    facts = json.loads(charnn("info", run, "--json").out)
    assert facts["num_parameters"] == others + sum(tables.values())
    assert facts["num_ngram_embedding_parameters"] == sum(tables.values())
    assert f"{others:,} + {sum(tables.values()):,} in n-gram embeddings" in charnn("info", run).out


def test_part_of_the_held_out_text_is_named_as_such(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["results"]["valid_num_tokens"] = 100
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = " ".join(charnn("info", run).out.split())
    assert "100 of 1,200 tokens, in pieces: held-out text read as running text" in words
    config["results"]["valid_loss_nats"] = None
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert json.loads(charnn("info", run, "--json").out)["valid_protocol"] is None


def test_every_row_has_a_place():
    assert list(info.LABELS)[-1] == "valid_loss_nats"
    assert set(info.OMITTED) < set(info.LABELS)
