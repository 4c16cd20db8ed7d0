import json
import pickle
import shutil

import numpy as np
import pytest
import safetensors.numpy

from charnn.config import Architecture
from charnn.errors import ModelError, StorageError
from charnn.files import staged
from charnn.storage.checkpoint import packed_tensors, read_tensors
from charnn.storage.mixture import read_mixture
from charnn.storage.model_directory import (
    find_model,
    finish_interrupted_writes,
    read_model,
    read_training_state,
    write_training_state,
)
from charnn.storage.tensor_file import DTYPES, packed_arrays, read_arrays
from tests.conftest import ramp_weights


def complaint(run):
    with pytest.raises(ModelError) as error:
        read_model(run)
    return str(error.value)


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_a_model_is_read_as_it_was_written(run):
    model = read_model(run)
    assert model.weights.keys() >= {"embedding.weight", "layers.0.weight_hh", "output.bias"}
    assert all(array.dtype == np.float32 for array in model.weights.values())
    assert model.architecture.hidden_size == 24


@pytest.mark.parametrize("size", [0, 5, 100, -10])
def test_truncated_weights_are_named(run, size):
    file = run / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert complaint(run).startswith(f"{file}: is damaged or truncated (")


def test_corrupted_json_is_named(run):
    (run / "config.json").write_text('{"format_version": 1, "arch')
    assert complaint(run).startswith(f"{run / 'config.json'}: is damaged, not JSON")
    (run / "config.json").write_bytes(b"\xff\xfe")
    assert complaint(run).startswith(f"{run / 'config.json'}: is damaged, not JSON")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_newer_format_is_named_with_its_version(run, name):
    edit_json(run / name, format_version=99)
    if name == "config.json":
        assert complaint(run) == (
            f"{run / name}: has format version 99, this charnn reads up to 3; install a newer charnn"
        )
    else:
        assert complaint(run).startswith(f"{run / name}: is damaged or belongs to another model")


def test_weights_of_a_newer_format_are_refused(run):
    model = read_model(run)
    header = {"format_version": 4, "generation": model.generation}
    (run / "model.safetensors").write_bytes(b"".join(packed_tensors(model.weights, header)))
    assert complaint(run) == (
        f"{run / 'model.safetensors'}: has format version 4, this charnn reads up to 3; install a newer charnn"
    )


def test_a_model_of_the_first_format_is_read(run):
    """It embeds no n-grams, knows no temperature and has no n-gram model."""
    config = json.loads((run / "config.json").read_text())
    tables = {"embedding_order": 1, "ngram_table_sizes": None, "word_rows": 0, "word_codes": None}
    old = Architecture(**{**config["architecture"], **tables})
    for name in ("temperature", "ngram_loss_nats", "ngram_order", "mixture_loss_nats", "valid_loss_cold_nats"):
        del config["results"][name]
    del config["mixture_weights"]
    for name in tables:
        del config["architecture"][name]
    config["format_version"] = 1
    (run / "config.json").write_text(json.dumps(config))
    (run / "ngram.safetensors").unlink()
    header = {"format_version": 1, "generation": config["generation"]}
    (run / "model.safetensors").write_bytes(b"".join(packed_tensors(ramp_weights(old), header)))
    model = read_model(run)
    assert model.architecture == old
    with pytest.raises(ModelError, match="has no n-gram model to interpolate with"):
        read_mixture(model)


def test_weights_whose_header_begins_as_a_pickle_does_are_weights(run):
    """A header of 640 bytes is announced by the bytes 0x80 0x02, with which pickles of protocol 2 begin."""
    model = read_model(run)
    header = {"format_version": 1, "generation": model.generation, "tokenizer_sha256": ""}
    for padding in range(2000):
        content = b"".join(packed_tensors(model.weights, {**header, "padding": " " * padding}))
        if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            break
    assert content[0] == 0x80
    (run / "model.safetensors").write_bytes(content)
    assert read_model(run).weights.keys() == model.weights.keys()


@pytest.mark.parametrize("name", ["model.safetensors", "ngram.safetensors"])
def test_a_flipped_bit_in_a_tensor_is_noticed(run, name):
    file = run / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_mixture(read_model(run))
    assert str(error.value).startswith(
        f"{file}: is damaged (its content does not have the crc32 in its header); restore"
    )


def test_tensors_without_a_checksum_are_read(run):
    """Those of older versions, and those that a user has changed with another program."""
    model, file = read_model(run), run / "model.safetensors"
    changed = {name: array + 1 for name, array in model.weights.items()}
    header = {"format_version": 1, "generation": model.generation, "tokenizer_sha256": model.tokenizer_sha256}
    file.write_bytes(safetensors.numpy.save(changed, {"charnn": json.dumps(header)}))
    assert all((array == changed[name]).all() for name, array in read_model(run).weights.items())


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.ones(1), np.ones((2, 3))], ids=str)
def test_tensors_of_any_shape_have_a_checksum(tmp_path, array):
    (tmp_path / "x").write_bytes(b"".join(packed_tensors({"a": array}, {"format_version": 1, "generation": 0})))
    tensors, header = read_tensors(tmp_path / "x")
    assert np.array_equal(tensors["a"], array)
    assert header == {"format_version": 1, "generation": 0}


def test_the_tokenizer_of_another_model_is_refused(run, line_run):
    shutil.copy(line_run / "tokenizer.json", run / "tokenizer.json")
    assert complaint(run).startswith(f"{run}/tokenizer.json: is damaged or belongs to another model: its SHA-256 is ")


def test_a_missing_file_is_named(run):
    (run / "tokenizer.json").unlink()
    assert complaint(run) == f"{run}/tokenizer.json: is missing; restore it or train again"
    (run / "model.safetensors").unlink()
    assert complaint(run) == f"{run / 'model.safetensors'}: is missing; restore it or train again"


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("content", [pickle.dumps(Trap()), b"PK\x03\x04 a torch.save archive"], ids=["pickle", "zip"])
def test_a_pickle_in_place_of_the_weights_is_refused_by_name_and_never_opened(run, content):
    file = run / "model.safetensors"
    file.write_bytes(content)
    assert complaint(run).startswith(f"{file}: is a pickle (a torch.save file), which can run code when it is opened")


def test_a_pickle_beside_missing_weights_is_refused_by_name(run):
    (run / "model.safetensors").rename(run / "model.pt")
    assert complaint(run).startswith(f"{run / 'model.pt'}: looks like a pickle")


def test_what_is_no_model_directory_is_named(tmp_path):
    assert complaint(tmp_path / "none") == (
        f"{tmp_path / 'none'}: no such model directory (looked in {tmp_path}); check the name; by default, models are in runs/"
    )
    (tmp_path / "file").touch()
    assert "is a file; a model is a directory" in complaint(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").touch()
    assert "is not a model directory: it contains notes.md, but no config.json" in complaint(tmp_path / "other")


def test_weights_of_another_shape_are_refused(run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    edit_json(run / "config.json", architecture={**config["architecture"], "hidden_size": 99})
    assert complaint(run) == (
        f"{run}/model.safetensors: layers.0.weight_ih has shape (96, 8), but config.json requires (396, 8); "
        "restore the files that belong together"
    )
    edit_json(run / "config.json", architecture={**config["architecture"], "vocab_size": 7})
    assert "does not describe a model that charnn knows (unknown word codes 60)" in complaint(run)
    others = {"vocab_size": 7, "word_rows": 0, "word_codes": None}
    edit_json(run / "config.json", architecture={**config["architecture"], **others})
    assert "the tokenizer has" in complaint(run)
    edit_json(run / "config.json", architecture={**config["architecture"], "cell": "rwkv"})
    assert "has the cell 'rwkv', which charnn does not know" in complaint(run)
    edit_json(run / "config.json", architecture={**config["architecture"], "hidden_size": -1})
    assert "does not describe a model that charnn knows" in complaint(run)


def test_files_of_different_generations_are_refused(run):
    edit_json(run / "config.json", generation=10**6)
    assert "are of different generations" in complaint(run)


def test_the_newest_whole_generation_is_read_wherever_a_crash_left_it(tmp_path):
    def write(generation):
        write_training_state(tmp_path, {"step": generation}, {"x": np.array([generation])}, generation=generation)
        return {path: path.read_bytes() for path in (tmp_path / "training.json", tmp_path / "training.safetensors")}

    (tmp_path / "config.json").touch()
    first, second = write(1), write(2)
    json_file, tensors_file = first
    # Crashed after both files were staged; after the first was renamed; while the first was being staged.
    crashes = {
        "before renaming": (
            {**first, staged(json_file): second[json_file], staged(tensors_file): second[tensors_file]},
            2,
        ),
        "between renamings": (
            {json_file: first[json_file], tensors_file: second[tensors_file], staged(json_file): second[json_file]},
            2,
        ),
        "while staging": ({**first, staged(tensors_file): second[tensors_file][:20]}, 1),
        "one staged": ({**first, staged(tensors_file): second[tensors_file]}, 1),
    }
    for name, (files, expected) in crashes.items():
        for path in (*first, *map(staged, first)):
            path.unlink(missing_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
        scalars, tensors = read_training_state(tmp_path)
        assert (scalars["step"], tensors["x"].item()) == (expected, expected), name


def test_equal_contents_give_equal_bytes():
    tensors = {name: np.arange(3, dtype=np.float32) for name in "zyx"}
    packed = packed_tensors(tensors, {"b": 1, "a": 2})
    assert packed == packed_tensors(dict(reversed(tensors.items())), {"a": 2, "b": 1})


def read_header(beginning):
    """Return the charnn metadata of the beginning of a safetensors file."""
    return json.loads(json.loads(beginning[8:])["__metadata__"]["charnn"])


def test_files_are_those_of_the_safetensors_package():
    tensors = {
        "ä": np.arange(3, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "alone": np.array(2.5, dtype=np.float32),
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    header = {"generation": 3, "name": '"é"\n'}
    beginning, *arrays = packed_tensors(tensors, header)
    metadata = {**header, "crc32": read_header(beginning)["crc32"]}
    packed = safetensors.numpy.save(tensors, {"charnn": json.dumps(metadata, sort_keys=True)})
    assert b"".join([beginning, *arrays]) == packed


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_all_kinds_of_numbers_are_read_again(dtype, tmp_path):
    tensors = {
        "b": np.arange(5).astype(dtype),
        "a": np.arange(3, dtype=np.uint8),
        "c": np.ones((2, 2), dtype=np.float64),
    }
    (tmp_path / "x").write_bytes(b"".join(packed_tensors(tensors, {"format_version": 1, "generation": 0})))
    arrays, _ = read_tensors(tmp_path / "x")
    assert arrays.keys() == tensors.keys()
    for name, array in tensors.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


HEADER = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def a_file(table, num_bytes=8):
    encoded = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(encoded).to_bytes(8, "little") + encoded + bytes(num_bytes)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10",
        (1 << 60).to_bytes(8, "little") + b"{}",
        a_file(b"[]", 0),
        a_file(b"{", 0),
        a_file(b"\xff\xff", 0),
        a_file({"__metadata__": 3}, 0),
        a_file({"a": 3}, 0),
        a_file({"a": {**HEADER["a"], "dtype": "F7"}}),
        a_file({"a": {**HEADER["a"], "shape": [-2]}}),
        a_file({"a": {**HEADER["a"], "shape": ["2"]}}),
        a_file({"a": {**HEADER["a"], "shape": [3]}}),
        a_file({"a": {**HEADER["a"], "shape": [1 << 62, 1 << 62]}}),
        a_file({"a": {**HEADER["a"], "data_offsets": [0, 1 << 60]}}),
        a_file({"a": {**HEADER["a"], "data_offsets": [8, 16]}}, 16),
        a_file({**HEADER, "b": HEADER["a"]}),
        a_file(HEADER, 7),
        a_file(HEADER, 9),
    ],
    ids=range(18),
)
def test_what_is_no_whole_file_of_tensors_is_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_arrays(tmp_path / "x")
    with pytest.raises(safetensors.SafetensorError):
        safetensors.numpy.load(content)


def test_a_file_of_the_safetensors_package_is_read(tmp_path):
    tensors = {"b": np.arange(6, dtype=np.float16).reshape(2, 3), "a": np.zeros((0, 2)), "c": np.array(True)}
    (tmp_path / "x").write_bytes(safetensors.numpy.save(tensors, {"name": "é"}))
    arrays, metadata = read_arrays(tmp_path / "x")
    assert metadata == {"name": "é"}
    assert arrays.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    (tmp_path / "y").write_bytes(b"".join(packed_arrays(arrays, metadata)))
    assert safetensors.numpy.load((tmp_path / "y").read_bytes()).keys() == tensors.keys()


def test_the_newest_model_is_found(run, line_run, tmp_path):
    import os

    os.utime(run / "config.json", (2e9, 2e9))
    assert find_model(None).name == run.name
    assert find_model("x/y").as_posix() == "x/y"
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(ModelError, match=r"runs/: no model in .* train one with: charnn train TEXT"):
        find_model(None)


def test_after_a_crash_the_whole_generation_outlives_a_write_that_fails(tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    for generation in (1, 2):
        write_training_state(tmp_path, {}, {"x": np.array([generation])}, generation=generation)
        if generation == 1:
            old = (tmp_path / "training.json").read_bytes()
    # The crash: weights renamed into place, their description still staged.
    (tmp_path / "training.json").rename(staged(tmp_path / "training.json"))
    (tmp_path / "training.json").write_bytes(old)
    monkeypatch.setattr("charnn.storage.model_directory.CHECKPOINT_FILES", (("training.json", "training.safetensors"),))
    finish_interrupted_writes(tmp_path)
    assert not staged(tmp_path / "training.json").exists()

    def fill_up(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charnn.files._write_through", fill_up)
    with pytest.raises(StorageError):
        write_training_state(tmp_path, {}, {"x": np.array([3])}, generation=3)
    assert read_training_state(tmp_path)[1]["x"].item() == 2


def test_a_directory_in_the_making_is_not_the_newest_model(run):
    shutil.copytree(run, run.parent / ".book.charnn-new")
    (run.parent / ".book.charnn-new" / "config.json").touch()
    assert find_model(None).name == run.name


def test_hostile_files_are_model_errors(run):
    model = read_model(run)
    (run / "model.safetensors").write_bytes(b"".join(packed_tensors(model.weights, {"format_version": 1})))
    assert "model.safetensors: is damaged or truncated ('generation')" in complaint(run)


def test_weights_that_are_not_finite_are_refused(run):
    model = read_model(run)
    model.weights["output.bias"][0] = np.nan
    header = {"format_version": 1, "generation": model.generation}
    (run / "model.safetensors").write_bytes(b"".join(packed_tensors(model.weights, header)))
    assert complaint(run) == f"{run}/model.safetensors: output.bias contains non-finite numbers; restore the file"
