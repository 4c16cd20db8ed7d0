"""The ONNX export computes what charnn's engine computes, in one pass, in chunks and step by step."""

import errno
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from charnn import api, cells
from charnn.config import Architecture, TextOptions
from charnn.errors import CharnnError, StorageError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.stepper import stepper_for
from charnn.storage.model_directory import Model, read_model
from tests.conftest import ARCHITECTURES, FABLES, REPOSITORY, ramp_weights, trained_tokenizer
from tests.export.models import add_attention

CLIENTS = "the extra clients is not installed: pip install -e '.[clients]'"
onnx = pytest.importorskip("onnx", reason=CLIENTS)
onnxruntime = pytest.importorskip("onnxruntime", reason=CLIENTS)

from charnn.export import onnx as export  # noqa: E402  (needs onnx)

NUM_TOKENS = 1000
OTHERS = [
    Architecture("lstm", 11, 6, 8, 1, embedding_order=4, tie_weights=True),
    Architecture("lstm", 11, 6, 8, 1, embedding_order=3, word_rows=29, word_codes=(-9, *range(1, 8), -3, 4, -2)),
    Architecture("gru", 11, 6, 8, 1, word_rows=29, word_codes=(-9, *range(1, 8), -3, 4, -2)),
    Architecture("gru", 11, 6, 8, 3, residual=True, initial_state="learned", embedding_order=2),
    Architecture("rnn", 11, 6, 8, 2, nonlinearity="relu", residual=True, tie_weights=True),
    Architecture("gru", 11, 6, 8, 2, inputs="one-hot", direction="backward"),
    Architecture("leaky", 11, 6, 8, 1, skip=2, inputs="one-hot"),
    Architecture("mlstm", 11, 6, 8, 2, skip=3, embedding_order=3, initial_state="learned", residual=True),
    Architecture("depth-lstm", 11, 6, 8, 3, initial_state="learned", residual=True, embedding_order=2),
    Architecture("minlstm", 11, 6, 8, 2, inputs="one-hot", initial_state="learned", residual=True),
    Architecture("mogrifier", 11, 6, 8, 2, mogrifier_rounds=3, tie_weights=True, residual=True),
    Architecture(
        "lstm", 11, 6, 8, 2, skip=2, residual=True, attention_window=20, attention_size=3, direction="backward"
    ),
]
EVERY = [
    *ARCHITECTURES,
    *(pytest.param(shape, id=f"{shape.cell}-options-{number}") for number, shape in enumerate(OTHERS)),
]


def model_of(architecture, tokenizer=None, weights=None):
    """Return a model that was never on disk, with weights small enough that rounding does not grow over many tokens."""
    tokenizer = tokenizer or trained_tokenizer(TextOptions(), "abcdefghi")
    weights = ramp_weights(architecture, 0.15) if weights is None else weights
    return Model(Path("m"), architecture, tokenizer, weights, 7, "", lambda: pytest.fail("is not needed"))


def session_of(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options)


@functools.cache
def exported(architecture):
    """Return the engine of an architecture, a session of ONNX Runtime, and the initial state of one stream."""
    model = model_of(architecture)
    session = session_of(export.onnx_model(model).SerializeToString())
    return Engine.of(model), session, state_of(export.description(model))


def state_of(description):
    """Return the initial state of one stream as a client makes it from model.json."""
    state = {
        name: np.array([vector], dtype=np.int64 if name in ("last_tokens", "word") else np.float32)
        for name, vector in description["initial_state"].items()
    }
    return state | {name: np.zeros((1, *shape), dtype=np.float32) for name, shape in description["zero_state"].items()}


def advance(session, ids_TB, state):
    logits_TBV, *new = session.run(None, {"ids": ids_TB, **state})
    assert [output.name for output in session.get_outputs()] == ["logits", *(f"new.{name}" for name in state)]
    return logits_TBV, dict(zip(state, new, strict=True))


def some_ids(num_streams, vocab_size=11):
    return np.arange(NUM_TOKENS * num_streams).reshape(NUM_TOKENS, num_streams) ** 2 // 3 % vocab_size


def assert_same_state(state, engine_state):
    parts = [part for layer in engine_state for part in layer]
    names = [name for name in state if name.startswith("state.")]
    names += [name for name in state if name.startswith("attention.")]  # before the last tokens, in the engine
    history = [state[name] for name in state if name not in names]  # one array in the engine
    arrays = [*(state[name] for name in names), *([np.concatenate(history, axis=1)] if history else [])]
    for number, (array, expected) in enumerate(zip(arrays, parts, strict=True)):
        np.testing.assert_allclose(array, expected, atol=1e-4, err_msg=f"part {number}")


@pytest.mark.parametrize("architecture", EVERY)
def test_a_thousand_tokens_agree_with_the_engine(architecture):
    engine, session, state = exported(architecture)
    ids_TB = some_ids(num_streams=2)
    logits_TBV, state = advance(session, ids_TB, {name: array.repeat(2, axis=0) for name, array in state.items()})
    outputs_TBH, engine_state = engine.forward(ids_TB, engine.initial_state(2))
    expected = engine.logits(outputs_TBH)
    np.testing.assert_allclose(logits_TBV, expected, atol=1e-4)
    assert_same_state(state, engine_state)
    assert np.std(expected) > 0.01


@pytest.mark.parametrize("architecture", EVERY)
def test_chunks_and_single_steps_carry_the_state(architecture):
    engine, session, initial = exported(architecture)
    ids_TB = some_ids(num_streams=1)[:120]
    whole, last = advance(session, ids_TB, initial)
    state, parts = initial, []
    for first, end in pairwise(
        [0, *range(1, 41), 47, 111, 120]
    ):  # 40 single steps, then chunks, one of 2 blocks of attention
        logits, state = advance(session, ids_TB[first:end], state)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    for name, array in state.items():
        np.testing.assert_allclose(array, last[name], atol=1e-5, err_msg=name)
    assert [array.shape for array in state.values()] == [array.shape for array in initial.values()]
    stepper = stepper_for(engine, engine.initial_state())
    expected = [stepper.step(ids_B)[0].copy() for ids_B in ids_TB]
    np.testing.assert_allclose(whole[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mogrifier", "minlstm"])
def test_each_stream_of_a_batch_is_as_if_alone(cell):
    architecture = Architecture(cell, 11, 6, 8, 2, embedding_order=3, mogrifier_rounds=2 * (cell == "mogrifier"))
    _, session, initial = exported(architecture)
    ids_TB = some_ids(num_streams=3)[:20]
    batch, _ = advance(session, ids_TB, {name: array.repeat(3, axis=0) for name, array in initial.items()})
    for stream in range(3):
        alone, _ = advance(session, ids_TB[:, stream : stream + 1], initial)
        np.testing.assert_allclose(batch[:, stream], alone[:, 0], atol=1e-5)


@pytest.fixture
def written(run):
    """The directory of an exported model that has learned a little, and a session of it."""
    export.write(read_model(run), Path("small-onnx"))
    return Path("small-onnx"), session_of("small-onnx/model.onnx")


def test_the_directory_is_enough_to_score_a_text(run, written):
    directory, session = written
    description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    text = FABLES.read_text(encoding="utf-8")[500 : 500 + NUM_TOKENS]
    ids = [description["tokens"].index(character) for character in text]
    ids_TB = np.array([[description["boundary_id"]], *([id] for id in ids[:-1])])
    logits_TBV, _ = advance(session, ids_TB, state_of(description))
    np.testing.assert_allclose(log_softmax(logits_TBV)[:, 0], api.load(run).log_probs(text), atol=1e-4)
    assert sorted(path.name for path in directory.iterdir()) == ["model.json", "model.onnx"]


def test_the_file_says_what_it_is_where_it_is_on_its_own(written):
    directory, session = written
    facts = session.get_modelmeta().custom_metadata_map
    description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    assert json.loads(facts["architecture"]) == description["architecture"]
    assert json.loads(facts["boundary_id"]) == description["boundary_id"] == description["tokens"].index("\n")
    assert json.loads(facts["unknown_id"]) == description["unknown_id"] == description["tokens"].index("<unk>")
    assert (facts["steps"], facts["tokenizer"], facts["unit"]) == ("120", "char", "stream")
    model = onnx.load(directory / "model.onnx")
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (7, [("", 13)])
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    vocab_size = len(description["tokens"])
    assert shapes == {
        "ids": ["T", "B"],
        "logits": ["T", "B", vocab_size],
        **{name: ["B", 24] for name in ("state.0.0", "state.0.1", "new.state.0.0", "new.state.0.1")},
        **{name: ["B", 2] for name in ("last_tokens", "new.last_tokens")},
        **{name: ["B", 1] for name in ("word", "new.word")},
    }


def test_the_memory_of_attention_begins_with_zeros(charnn, run):
    add_attention(run, window=6)
    assert charnn("export", run, "--to", "onnx", "-o", "small-onnx").status == 0
    description = json.loads(Path("small-onnx/model.json").read_text(encoding="utf-8"))
    assert description["zero_state"] == {
        "attention.memory": [5, 10],
        "attention.is_filled": [5],
        "attention.next_key": [5],
    }
    assert list(description["initial_state"]) == ["state.0.0", "state.0.1", "last_tokens", "word"]
    session = session_of("small-onnx/model.onnx")
    assert {each.name: each.shape for each in session.get_inputs()}["attention.memory"] == ["B", 5, 10]
    text = FABLES.read_text(encoding="utf-8")[500:700]
    ids = [description["boundary_id"], *map(description["tokens"].index, text[:-1])]
    logits_TBV, _ = advance(session, np.array(ids)[:, None], state_of(description))
    np.testing.assert_allclose(log_softmax(logits_TBV)[:, 0], api.load(run).log_probs(text), atol=1e-4)


def test_a_learned_initial_state_is_that_of_the_description():
    architecture = Architecture("gru", 11, 6, 8, 1, initial_state="learned")
    model = model_of(architecture)
    (vector,) = export.description(model)["initial_state"].values()
    np.testing.assert_array_equal(np.float32(vector), model.weights["layers.0.initial_0"])
    assert np.any(vector)


def test_no_weight_is_stored_twice():
    model = model_of(Architecture("lstm", 11, 64, 64, 2, tie_weights=True, embedding_order=2))
    num_bytes = sum(array.nbytes for array in model.weights.values())
    assert export.onnx_model(model).ByteSize() < num_bytes + 10_000


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        pytest.param(TextOptions(), "a b\n", {"<unk>", "a", "b", " ", "\n"}, id="char"),
        pytest.param(TextOptions(tokenizer="word"), "a fox\na fox\n", {"fox", "\n"}, id="word"),
        pytest.param(TextOptions(tokenizer="byte", unit="document"), "a\n\nb", {"<0x00>", "a", "</s>"}, id="byte"),
    ],
)
def test_tokens_are_texts_by_id(options, text, expected):
    tokenizer = trained_tokenizer(options, text)
    model = model_of(Architecture("gru", len(tokenizer.vocabulary), 6, 8, 1), tokenizer)
    description = export.description(model)
    assert description["tokenizer"] == options.tokenizer
    assert expected <= set(description["tokens"])
    assert len(description["tokens"]) == len(tokenizer.vocabulary)
    assert (description["unknown_id"] is None) == (options.tokenizer == "byte")


def test_subwords_come_with_the_model_of_sentencepiece(tmp_path):
    text = FABLES.read_text(encoding="utf-8")[:4000]
    tokenizer = trained_tokenizer(TextOptions(tokenizer="subword", vocab_size=120), text)
    export.write(model_of(Architecture("gru", len(tokenizer.vocabulary), 6, 8, 1), tokenizer), tmp_path / "out")
    tokens = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))["tokens"]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "tokenizer.model"))
    ids = pieces.encode("The heron wrote")
    assert ids == tokenizer.encode("The heron wrote").tolist()
    assert "".join(tokens[id] for id in ids) == "The heron wrote"


def registered(monkeypatch, step):
    def shapes(input_size, hidden_size):
        return {"weight_ih": (hidden_size, input_size), "bias_ih": (hidden_size,), "gain": (hidden_size,)}

    cell = cells.Cell(shapes, num_gates=1, num_states=1, step=step)
    monkeypatch.setitem(cells._MAKERS, "mine", lambda *_: cell)
    return model_of(Architecture("mine", 11, 6, 8, 2))


def test_a_registered_cell_is_exported_from_its_equations(monkeypatch):
    def step(weights, projected_BG, state, xp):
        half = projected_BG.shape[-1] // 2
        turned = xp.concatenate((state[0][:, half:], -state[0][:, :half]), -1)
        bounded = xp.clip(projected_BG / 2 + weights["gain"] * turned, -0.5, 0.5)
        return (xp.where(bounded > 0.1, xp.exp(bounded) - 1, xp.maximum(bounded, 0.3 - bounded**2)),)

    model = registered(monkeypatch, step)
    session = session_of(export.onnx_model(model).SerializeToString())
    ids_TB = some_ids(num_streams=1)
    logits_TBV, _ = advance(session, ids_TB, state_of(export.description(model)))
    outputs_TBH, _ = Engine.of(model).forward(ids_TB, Engine.of(model).initial_state())
    np.testing.assert_allclose(logits_TBV, Engine.of(model).logits(outputs_TBH), atol=1e-4)


def cumulative(weights, x, state, xp):
    return (xp.cumsum(x, -1),)


def deciding(weights, x, state, xp):
    return (x if x > 0 else state[0],)


def every_other(weights, x, state, xp):
    return (x[:, ::2],)


def by_a_vector(weights, x, state, xp):
    return (x @ weights["gain"],)


def over_streams(weights, x, state, xp):
    return (x.reshape(3, -1),)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param(cumulative, "no attribute 'cumsum'", id="function"),
        pytest.param(deciding, "the value of an array decides what is computed", id="decision"),
        pytest.param(every_other, "a slice has a step", id="slice"),
        pytest.param(by_a_vector, "do not fit in a matrix product", id="product"),
        pytest.param(over_streams, "cannot be reshaped to", id="reshape"),
    ],
)
def test_a_registered_cell_that_onnx_cannot_express_is_refused(monkeypatch, step, reason):
    with pytest.raises(
        CharnnError, match=r"export --to onnx: cell 'mine' is computed in a way that .* express"
    ) as error:
        export.onnx_model(registered(monkeypatch, step))
    assert reason in str(error.value)
    assert "use arithmetic, @, slices, reshape, sigmoid and abs, amax, clip, concatenate" in str(error.value)


def test_a_model_too_large_for_a_file_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "LARGEST_BYTES", 1000)
    with pytest.raises(
        CharnnError, match=r"m: its weights have 0\.0 GiB, but an ONNX file has at most 2 GiB; use --to hf"
    ):
        export.write(model_of(Architecture("gru", 11, 6, 8, 1)), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_full_disk_or_an_interrupt_leaves_nothing(monkeypatch, tmp_path, file, error):
    real, flushed = os.fsync, []

    def fail(descriptor):
        flushed.append(descriptor)
        if len(flushed) == file:
            raise error
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((StorageError, KeyboardInterrupt)) as raised:
        export.write(model_of(Architecture("gru", 11, 6, 8, 1)), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    if isinstance(error, OSError):
        assert str(raised.value) == (
            f"{tmp_path / 'out'}: cannot be written: no space is left on the disk; free some and run the command again"
        )


def test_a_link_that_leads_nowhere_is_kept(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"link: cannot be written: .*link is a link that leads nowhere; choose"):
        export.write(model_of(Architecture("gru", 11, 6, 8, 1)), tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_of_a_bidirectional_model_each_half_is_exported(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["architecture"]["direction"] = "backward"
    shutil.copytree(run, run / "backward")
    (run / "backward" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = charnn("export", run, "--to", "onnx")
    assert (
        f"{run}: is a bidirectional model, of which the forward half is exported; export the other with: "
        f"charnn export {run / 'backward'} --to onnx"
    ) in result.err
    result = charnn("export", run / "backward", "--to", "onnx")
    assert result.err == "charnn: wrote backward-onnx\n"
    for name, direction in (("small-onnx", "forward"), ("backward-onnx", "backward")):
        description = json.loads((Path(name) / "model.json").read_text(encoding="utf-8"))
        assert description["architecture"]["direction"] == direction


@pytest.mark.parametrize("window", [0, 4], ids=["", "attention"])
def test_the_snippet_of_the_readme_samples_with_onnxruntime_and_numpy_alone(run, tmp_path, window):
    if window:
        add_attention(run, window)
    export.write(read_model(run), tmp_path / "tour-onnx")
    page = (REPOSITORY / "charnn" / "export" / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page.split("## ONNX")[1].split("\n## ")[0], flags=re.DOTALL)
    check = "\nimport sys\nassert not {'charnn', 'torch', 'onnx'} & set(sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", snippet + check], capture_output=True, encoding="utf-8", cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr
    text = result.stdout[:-1]
    assert len(text) == 100
    assert "<unk>" not in text
    assert len(set(text)) > 8
