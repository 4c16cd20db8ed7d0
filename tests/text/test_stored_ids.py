"""Encoded text in shards behaves like an array."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.storage.run_files import purpose_of, resuming_files, unsharded_name
from charnn.text import stored_ids
from charnn.text.stored_ids import (
    ShardedIds,
    ShardWriter,
    as_array,
    open_stored,
    positions_of,
    read_block,
    read_stored,
    replace_shards,
    shard_paths,
    shard_writers,
    spaced_parts,
    stored_bytes,
    tokens_at,
)

IDS = np.arange(23, dtype=np.uint16)


def sharded(bounds):
    return ShardedIds(list(np.split(IDS, sorted(bounds))))


@given(st.lists(st.integers(0, 23), max_size=5), st.slices(23))
def test_slices_are_those_of_an_array(bounds, part):
    assert sharded(bounds)[part].tolist() == IDS[part].tolist()


@given(st.lists(st.integers(0, 23), max_size=5), st.lists(st.integers(-23, 22), min_size=4, max_size=4))
def test_positions_are_those_of_an_array(bounds, positions):
    ids = sharded(bounds)
    found = ids[np.array(positions).reshape(2, 2)]
    assert (found == IDS[np.array(positions).reshape(2, 2)]).all()
    assert found.dtype == ids.dtype == np.uint16
    assert int(ids[positions[0]]) == IDS[positions[0]]
    assert ids[IDS % 2 == 0].tolist() == IDS[IDS % 2 == 0].tolist()
    assert (np.asarray(ids) == IDS).all()
    assert (len(ids), ids.shape, list(ids), ids.tolist()) == (23, (23,), IDS.tolist(), IDS.tolist())
    assert ids.astype(np.int64).dtype == np.int64


def test_a_position_beyond_the_end_is_refused():
    for position in (23, -24):
        with pytest.raises(IndexError, match="out of bounds for 23 tokens"):
            sharded([5])[position]
    with pytest.raises(ValueError, match="several shards"):
        np.asarray(sharded([5]), copy=False)


@pytest.mark.parametrize("shard_bytes", [2, 10, 46, 48])
def test_what_is_written_in_shards_is_read_as_one(tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(stored_ids, "SHARD_BYTES", shard_bytes)
    monkeypatch.setattr(stored_ids, "FLUSHED_BYTES", 4)
    path = tmp_path / "train.bin"
    (tmp_path / "train.2.bin").write_bytes(b"of an older text")
    with shard_writers([path]) as (writer,):
        for first in range(0, 23, 7):
            writer.write(IDS[first : first + 7].data)
    assert len(shard_paths(path)) == -(-46 // shard_bytes)
    assert stored_bytes(path) == 46
    assert max(shard.stat().st_size for shard in shard_paths(path)) <= shard_bytes
    ids = open_stored(path, np.uint16)
    assert (np.asarray(ids) == IDS).all()
    assert read_stored(path, np.uint16, 3, 20).tolist() == IDS[3:20].tolist()
    assert read_stored(path, np.uint16, -5, 99).tolist() == IDS.tolist()
    assert read_block(ids, 4, 30).tolist() == IDS[4:].tolist()
    del ids
    replace_shards(path, tmp_path / "valid.bin")
    assert not shard_paths(path)
    assert stored_bytes(tmp_path / "valid.bin") == 46


def test_an_empty_text_is_an_empty_array(tmp_path):
    with shard_writers([tmp_path / "valid.bin"]):
        pass
    assert open_stored(tmp_path / "valid.bin", np.uint8).tolist() == []


def test_a_flush_that_fails_is_reported(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_ids, "FLUSHED_BYTES", 1)
    monkeypatch.setattr(stored_ids.os, "fsync", full)
    with ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(1) as flusher:
        writer = ShardWriter(tmp_path / "train.bin", thread, flusher)
        writer.write(b"abc")
        with pytest.raises(OSError, match="No space left"):
            writer.finish()
        writer.close()


@pytest.mark.parametrize("bounds", [[], [4, 9, 20]])
def test_spaced_parts_and_positions(monkeypatch, bounds):
    monkeypatch.setattr(stored_ids, "BLOCK_TOKENS", 4)
    ids = sharded(bounds) if bounds else IDS
    assert np.asarray(spaced_parts(ids, 3, 4)).tolist() == [0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17, 20, 21, 22]
    assert positions_of(ids, 17).tolist() == [17]
    assert positions_of(ids, 99).tolist() == []


def test_further_shards_have_the_purpose_of_the_first(tmp_path):
    assert purpose_of("train.2.bin") == purpose_of("train.bin") != purpose_of("valid.17.bin")
    names = ("train.1.bin", "train.02.bin", "train.2.bin.txt", "my.2.bin")
    assert [unsharded_name(name) for name in names] == list(names)
    for name in ("train.bin", "train.2.bin", "train.txt"):
        (tmp_path / name).touch()
    assert sorted(file.name for file in resuming_files(tmp_path)) == ["train.2.bin", "train.bin"]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says what of a file is in memory")
@pytest.mark.parametrize("max_resident", [0, 1 << 30])
def test_what_was_read_of_a_long_text_does_not_stay_in_memory(max_resident, tmp_path, monkeypatch):
    monkeypatch.setattr("charnn.text.stored_ids.MAX_RESIDENT_BYTES", max_resident)
    path = (tmp_path / "train.bin").resolve()
    (np.arange(1 << 20) % 251).astype(np.uint8).tofile(path)
    ids = as_array(open_stored(path, np.uint8))
    positions = np.arange(0, 1 << 20, 4096)
    assert tokens_at(ids, positions).tolist() == (positions % 251).tolist()
    lines = Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    resident = next(int(line.split()[1]) for line in lines[number:] if line.startswith("Rss:"))
    assert (resident > 0) == (max_resident > 0)
