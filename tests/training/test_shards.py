"""Training, resuming and analyses do not depend on the number of shards of the encoded text."""

import json
from pathlib import Path

import pytest

from charnn.storage.run_files import other_files
from charnn.text import selection, stored_ids
from tests.conftest import FABLES, train_quietly

SMALL = ("--batch-size", 4, "--bptt", 16, "--steps", 12, "--seed", 3)


def of_run(run):
    return [(run / name).read_bytes() for name in ("model.safetensors", "ngram.safetensors", "tokenizer.json")]


def trained(directory, *options):
    directory.mkdir()
    return train_quietly(directory, FABLES.read_text(encoding="utf-8")[:12_000], *SMALL, *options)


@pytest.mark.parametrize("options", [(), ("--unit", "line"), ("--direction", "both", "--tokenizer", "word")])
def test_a_run_does_not_depend_on_the_number_of_shards(tmp_path, monkeypatch, options, charnn):
    whole = trained(tmp_path / "whole", *options)
    monkeypatch.setattr(stored_ids, "SHARD_BYTES", 1000)
    monkeypatch.setattr(selection, "MIN_TEXT_BYTES", 0)
    monkeypatch.setenv("CHARNN_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("sharded", "from the cache"):
        run = trained(tmp_path / name, *options)
        assert (run / "train.3.bin").exists()
        assert of_run(run) == of_run(whole)
        joined = b"".join(shard.read_bytes() for shard in stored_ids.shard_paths(run / "train.bin"))
        assert joined == (whole / "train.bin").read_bytes()
        assert other_files(run) == []
    if (whole / "backward").exists():
        assert of_run(run / "backward") == of_run(whole / "backward")
    for each in (whole, run):
        assert charnn("train", "--resume", "-o", each, "--steps", 20).status == 0
    assert of_run(run) == of_run(whole)


def test_a_missing_shard_is_noticed(tmp_path, monkeypatch, charnn):
    monkeypatch.setattr(stored_ids, "SHARD_BYTES", 4000)
    run = trained(tmp_path / "a")
    novelty = ("sample", "-m", run, "-n", 40, "--novelty", "--seed", 1, "--format", "jsonl")
    sharded = charnn(*novelty).out
    dynamic = charnn(
        "score", "-m", run, "--text", "a fox", "--dynamic", "--dynamic-rate", 0.1, "--dynamic-decay", 0.1
    ).out
    shards = [shard.read_bytes() for shard in stored_ids.shard_paths(run / "train.bin")]
    for shard in stored_ids.shard_paths(run / "train.bin")[1:]:
        shard.unlink()
    result = charnn("train", "--resume", "-o", run, "--steps", 20)
    assert result.status == 1
    assert "train.bin: holds 4,000 tokens, the run was started with 10,800" in result.err
    Path(run, "train.bin").write_bytes(b"".join(shards))
    assert charnn(*novelty).out == sharded
    assert json.loads(sharded.splitlines()[0])["novelty"]
    assert (
        charnn("score", "-m", run, "--text", "a fox", "--dynamic", "--dynamic-rate", 0.1, "--dynamic-decay", 0.1).out
        == dynamic
    )
