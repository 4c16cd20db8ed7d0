"""Further training: what a run begins with, what stays unchanged, what is forgotten, and what is refused."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import charnn as package
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.errors import ModelError, OptionError
from charnn.inference.engine import Engine
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate
from charnn.storage.model_directory import Model, read_model, read_ngrams
from charnn.storage.run_config import ParentFacts
from charnn.text.corpus import open_ids
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.training.run import session
from charnn.training.run.parent import Parent, architecture_of, first_weights
from tests.conftest import ARCHITECTURES, ramp_weights, train_quietly
from tests.training.test_techniques import interrupted_after_ten_steps

OLD = "the cats which ate were full\nthe cat which ate was full\n" * 40
NEW = "кот ел и был сыт; the cat\nкоты ели и были сыты\n" * 30
SMALL = ("--precision", "fp32", "--batch-size", 4, "--bptt", 16, "--steps", 24)
SIZES = ("--hidden-size", 12, "--embedding-size", 6)
FURTHER = ("train", "new.txt", "--init-from", "old", *SMALL)


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "old.txt").write_text(OLD, encoding="utf-8")
    (tmp_path / "new.txt").write_text(NEW, encoding="utf-8")


@pytest.fixture(scope="module")
def _old(tmp_path_factory):
    return train_quietly(tmp_path_factory.mktemp("old"), OLD, *SMALL)


@pytest.fixture
def old(texts, _old):
    shutil.copytree(_old, "old")


def trained(charnn, *options):
    assert charnn("train", "old.txt", *SIZES, *SMALL, *options, "-o", "old").status == 0
    return load_file("old/model.safetensors")


def with_tokens(size):
    tokens = ("<unk>", "\n", *map(chr, range(97, 97 + size - 2)))
    return Vocabulary(tokens, tuple(range(1, size + 1)), boundary_id=1, unknown_id=0)


def parent_of(architecture, weights):
    vocabulary = with_tokens(architecture.vocab_size)
    model = Model(Path("old"), architecture, CharTokenizer(vocabulary, "stream"), weights, 5, "ab", None)
    return Parent(model, ParentFacts(path="old", generation=5, sha256="ab", vocab_size=len(vocabulary), unit="stream"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_old_rows_and_the_logits_of_old_tokens_are_those_of_the_old_model(architecture):
    weights = ramp_weights(architecture)
    parent, vocabulary = parent_of(architecture, weights), with_tokens(15)
    shape, extended = architecture_of(parent, vocabulary), first_weights(parent, vocabulary, seed=1)
    assert {name: array.shape for name, array in extended.items()} == expected_shapes(shape)
    for name, array in weights.items():
        np.testing.assert_array_equal(extended[name][tuple(map(slice, array.shape))], array)
    old_engine, new_engine = Engine(architecture, weights), Engine(shape, extended)
    ids = np.arange(40)[:, None] % 11
    old_outputs, _ = old_engine.forward(ids, old_engine.initial_state(1))
    new_outputs, _ = new_engine.forward(ids, new_engine.initial_state(1))
    expected = old_engine.logits(old_outputs[:, 0])
    np.testing.assert_allclose(new_engine.logits(new_outputs[:, 0])[:, :11], expected, atol=1e-5)
    new_engine.forward(np.arange(15)[:, None], new_engine.initial_state(1))


def test_the_same_vocabulary_keeps_the_weights_and_a_second_extension_the_numbers_of_ngrams():
    shape = Architecture("gru", 11, 6, 8, 1, embedding_order=3)
    parent = parent_of(shape, ramp_weights(shape))
    assert architecture_of(parent, with_tokens(11)) == shape
    assert first_weights(parent, with_tokens(11), seed=1) == parent.model.weights
    once = architecture_of(parent, with_tokens(15))
    assert (once.ngram_table_sizes, once.ngram_vocab_size) == ((144, 1728), 11)
    twice = architecture_of(parent_of(once, first_weights(parent, with_tokens(15), seed=1)), with_tokens(20))
    assert (twice.vocab_size, twice.ngram_table_sizes, twice.ngram_vocab_size) == (20, (144, 1728), 11)


def test_the_bias_of_a_new_token_is_that_of_an_old_one_with_its_frequency():
    shape = Architecture("lstm", 11, 6, 8, 1)
    weights = ramp_weights(shape)
    counts = np.array(with_tokens(11).counts)
    weights["output.bias"] = np.log(counts).astype(np.float32) + 3
    tokens = with_tokens(13).tokens
    vocabulary = Vocabulary(tokens, (*counts.tolist(), 4, 9), boundary_id=1, unknown_id=0)
    bias = first_weights(parent_of(shape, weights), vocabulary, seed=1)["output.bias"]
    np.testing.assert_allclose(bias[11:], bias[[3, 8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("freeze", "whole", "rows"),
    [
        ("embedding", ("embedding.",), ()),
        ("layer-2,output", ("layers.1.", "output."), ()),
        ("layers", ("layers.",), ()),
        (
            "old-rows, layer-1",
            ("embedding.2.weight", "embedding.3.weight", "embedding.word.weight", "layers.0."),
            ("embedding.weight", "output."),
        ),
    ],
)
@pytest.mark.parametrize("more", [(), ("--optimizer", "nt-asgd", "--weight-decay", 0.1)], ids=["muon", "nt-asgd"])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_is_trained(charnn, texts, freeze, whole, rows, more):
    old = trained(charnn, "--num-layers", 2)
    extended = ("--extend-vocab",) if rows else ()
    assert charnn(*FURTHER, *extended, "--freeze", freeze, *more, "-o", "new").status == 0
    for file, prefix in (("model", ""), ("training", "network."), ("training", "average.")):
        new = load_file(f"new/{file}.safetensors")
        for name, before in old.items():
            after = new[prefix + name]
            if name.startswith(whole):
                np.testing.assert_array_equal(after, before, err_msg=f"{file} {name}")
            elif name.startswith(rows or "none"):
                np.testing.assert_array_equal(after[: len(before)], before, err_msg=f"{file} {name}")
            else:
                assert not np.array_equal(after[: len(before)], before), f"{file} {name}"
    config = json.loads(Path("new/config.json").read_text(encoding="utf-8"))
    if "output" in freeze or rows:
        assert config["results"]["temperature"] == 1
    steps = [name for name in load_file("new/training.safetensors") if name.endswith((".step", ".counts"))]
    assert len(steps) == (0 if more else sum(not name.startswith(whole) for name in old))  # SGD has no moments


@pytest.mark.parametrize(
    "options",
    [
        ("--extend-vocab", "--freeze", "old-rows"),
        ("--freeze", "layers"),
        ("--extend-vocab", "--optimizer", "adamw"),
        ("--extend-vocab", "--unit", "line"),
    ],
    ids=" ".join,
)
def test_it_resumes_bit_for_bit(charnn, old, options, monkeypatch):
    arguments = (*FURTHER, *options)
    assert charnn(*arguments, "-o", "whole").status == 0
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn(*arguments, "-o", "parts").status == 130
    monkeypatch.setattr(session, "run", real)
    shutil.rmtree("old")
    assert charnn("train", "--resume", "-o", "parts").status == 0
    assert Path("parts/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    results = [
        json.loads(Path(run, "config.json").read_text(encoding="utf-8"))["results"] for run in ("parts", "whole")
    ]
    assert results[0]["old_loss_nats"] == results[1]["old_loss_nats"]


def test_the_run_says_where_it_came_from_and_what_it_forgot(charnn, old):
    said = charnn(*FURTHER, "--extend-vocab", "-o", "new")
    facts = json.loads(charnn("info", "new", "--json").out)
    before, after = facts["old_loss_before_nats"], facts["old_loss_nats"]
    old_text = read_model(Path("old"))
    scored = charnn("score", "-m", "new", "--unit", "stream", "--format", "jsonl", "--text", OLD[-len(OLD) // 10 :])
    score = json.loads(scored.out)
    assert after == pytest.approx(-score["log_prob"] / score["num_tokens"], abs=0.02)
    assert f"on held-out text of old: {before:.4f} before, {after:.4f} nats per token now" in said.err
    assert f"training begins with the weights of old (step {old_text.generation:,}); their loss is " in said.err
    config = json.loads(Path("new/config.json").read_text(encoding="utf-8"))
    assert config["parent"]["path"] == str(Path("old").resolve())
    assert config["parent"]["vocab_size"] == old_text.architecture.vocab_size
    evaluated = [json.loads(line) for line in Path("new/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [record["old_loss_nats"] for record in evaluated if record["event"] == "evaluated"]
    assert losses[-1] == pytest.approx(after, abs=1e-6) or len(losses) > 1
    assert "initialized from" in charnn("info", "new").out
    assert "initialized from" not in charnn("info", "old").out
    assert not any("old_loss" in line for line in Path("old/metrics.jsonl").read_text(encoding="utf-8").splitlines())


def test_ngrams_are_counted_on_both_texts(charnn, old):
    assert charnn(*FURTHER, "--extend-vocab", "-o", "new").status == 0
    model = read_model(Path("new"))
    vocabulary = model.tokenizer.vocabulary
    both = np.concatenate(
        [model.tokenizer.encode(OLD)[: round(len(OLD) * 0.9)], open_ids(Path("new/train.bin"), model.tokenizer)]
    )
    counts = count_ngrams(
        both, order=7, vocab_size=len(vocabulary), boundary_id=vocabulary.boundary_id, cut_at_boundary=False
    )
    expected = estimate(counts, len(vocabulary)).arrays()
    found = read_ngrams(Path("new"), len(vocabulary), tokenizer_sha256=model.tokenizer_sha256).arrays()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6)


def test_a_slim_model_is_trained_further_and_what_is_missing_is_said(charnn, texts):
    trained(charnn, "--slim")
    said = charnn(*FURTHER, "-o", "new")
    assert said.status == 0
    assert (
        "old: its valid.bin is missing (--slim), so what the model forgets of its old text cannot be measured"
        in said.err
    )
    assert "old: has no train.bin (--slim), so the n-gram model is estimated on the new text alone" in said.err
    assert json.loads(charnn("info", "new", "--json").out)["old_loss_nats"] is None


@pytest.mark.parametrize(
    "options",
    [
        ("--cell", "mogrifier", "--mogrifier-rounds", 2),
        ("--cell", "depth-lstm"),
        ("--cell", "mlstm", "--direction", "backward"),
        ("--cell", "leaky", "--leak", 0.4),
        ("--tie-weights", "--num-layers", 2),
        ("--inputs", "one-hot"),
        ("--tokenizer", "word", "--unit", "line"),
        ("--tokenizer", "word", "--pretokenized", "--unit", "document"),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_every_kind_of_model_is_trained_further(charnn, texts, options):
    assert charnn("train", "old.txt", "--hidden-size", 12, *options, *SMALL, "-o", "old").status == 0
    said = charnn(*FURTHER, "--extend-vocab", "--min-count", 1, "-o", "new")
    assert said.status == 0, said.err
    old, new = read_model(Path("old")), read_model(Path("new"))
    assert new.architecture.vocab_size > old.architecture.vocab_size
    assert new.tokenizer.vocabulary.tokens[: len(old.tokenizer.vocabulary)] == old.tokenizer.vocabulary.tokens
    assert charnn("score", "-m", "new", "--text", "кот ел").status == 0
    assert charnn("train", "new.txt", "--init-from", "new", *SMALL, "-o", "third").status == 0


def test_both_halves_of_a_bidirectional_model_are_trained_further(charnn, texts):
    trained(charnn, "--direction", "both")
    said = charnn(*FURTHER, "--extend-vocab", "--freeze", "layers", "-o", "new")
    assert said.status == 0, said.err
    for half in ("", "backward"):
        before, after = (load_file(Path(run, half, "model.safetensors")) for run in ("old", "new"))
        np.testing.assert_array_equal(after["layers.0.weight_hh"], before["layers.0.weight_hh"])
        assert not np.array_equal(after["output.bias"][: len(before["output.bias"])], before["output.bias"])
    assert said.err.count("training begins with the weights of") == 2
    assert charnn("train", "new.txt", "--init-from", "old/backward", *SMALL, "-o", "back").status == 0
    assert read_model(Path("back")).architecture.direction == "backward"
    shutil.rmtree("old/backward")
    said = charnn(*FURTHER, "-o", "other")
    assert said.status == 1
    assert "old: is a bidirectional model without its backward half" in said.err


def test_a_backward_half_does_not_begin_with_another_model(charnn, texts, monkeypatch):
    trained(charnn, "--direction", "both")
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn(*FURTHER, "-o", "new").status == 130
    monkeypatch.setattr(session, "run", real)
    assert (
        charnn(
            "train", "old.txt", *SIZES, *SMALL, "--seed", 2, "--direction", "both", "-o", "old", "--overwrite"
        ).status
        == 0
    )
    said = charnn("train", "--resume", "-o", "new")
    assert said.status == 1
    assert "old: has changed since the forward half began with its weights" in said.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden-size", 16), "--hidden-size: found 16, but old has 24, which --init-from keeps; leave it out"),
        (("--tokenizer", "word"), "--tokenizer: found word, but old has char, which --init-from keeps"),
        (("--unit", "document"), "--unit: found document, but old has stream, which --init-from keeps"),
        (("--forget-bias", 2), "--forget-bias: found 2.0, but old has its default, which --init-from keeps"),
        (("--vocab-size", 90), "--vocab-size with --init-from: has no effect without --extend-vocab"),
        (("--freeze", "layer-2"), "--freeze: found layer-2, but the last layer is layer-1; leave it out"),
        (("--freeze", "lstm"), "--freeze: found 'lstm', but each part must be embedding, layers, layer-1, layer-2"),
        (("--freeze", "old-rows"), "--freeze old-rows: has no effect without --extend-vocab"),
        (("--freeze", "layer-1,embedding,output"), "which leaves nothing to train; leave one part out"),
        (("--recipe", "karpathy"), "--recipe: cannot be combined with --init-from"),
        (("-o", "old", "--overwrite"), "-o: found old, the directory of --init-from; name another directory"),
        (("-o", "old/backward"), "-o: found old/backward, the directory of --init-from; name another directory"),
    ],
)
def test_what_contradicts_the_model_is_refused_in_one_line(charnn, old, options, message):
    before = Path("old/model.safetensors").read_bytes()
    said = charnn(*FURTHER, "-o", "new", *options)
    assert said.status == 2
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert not Path("new").exists()
    assert Path("old/model.safetensors").read_bytes() == before


def test_what_agrees_with_the_model_may_be_repeated(charnn, old):
    assert charnn(*FURTHER, "-o", "new", "--hidden-size", 24, "--cell", "lstm", "--tokenizer", "char").status == 0


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ("subword", "--extend-vocab: a SentencePiece model cannot be extended"),
        ("byte", "--extend-vocab: has no effect without a model of characters or words (bytes need none)"),
    ],
)
def test_tokenizers_without_new_tokens_are_kept(charnn, texts, tokenizer, message):
    sizes = ("--vocab-size", 40) if tokenizer == "subword" else ()
    trained(charnn, "--tokenizer", tokenizer, *sizes)
    assert message in charnn(*FURTHER, "--extend-vocab", "-o", "new").err
    said = charnn(*FURTHER, "-o", "new")
    assert said.status == 0
    assert ("they become <unk>; a new run without --init-from" in said.err) == (tokenizer == "subword")
    assert Path("new/tokenizer.json").read_bytes() == Path("old/tokenizer.json").read_bytes()


def test_a_resumed_run_keeps_what_it_began_with(charnn, old):
    assert charnn(*FURTHER, "-o", "new").status == 0
    said = charnn("train", "--resume", "-o", "new", "--steps", 30, "--init-from", "other")
    assert "--init-from: found other, but the run to resume was started with old; leave it out" in said.err
    assert charnn("train", "--resume", "-o", "new", "--steps", 30, "--init-from", "old").status == 0


def test_the_api_takes_a_path_and_speaks_of_arguments(old, caplog):
    quick = {"steps": 4, "batch_size": 4, "bptt_length": 16, "precision": "fp32"}
    with caplog.at_level(logging.INFO, logger="charnn"):
        model = package.train("new.txt", output="new", init_from=Path("old"), **quick)
    assert model.path == Path("new")
    assert "extend_vocab adds them to the vocabulary" in caplog.text
    with pytest.raises(OptionError, match=r"^hidden_size: found 64, but old has 24, which init_from keeps"):
        package.train("new.txt", output="other", init_from="old", hidden_size=64, **quick)
    with pytest.raises(ModelError, match="nowhere: no such model directory"):
        package.train("new.txt", output="other", init_from="nowhere", **quick)
    with pytest.raises(OptionError, match=r"^init_from: found 3, but it must be a string"):
        package.train("new.txt", output="other", init_from=3, **quick)


def test_a_registered_cell_is_trained_further(texts):
    def step(weights, projected_BP, state, xp):
        return (xp.tanh(projected_BP + state[0] * weights["gain"]),)

    def shapes(input_size, hidden_size):
        return {"weight_ih": (hidden_size, input_size), "bias_ih": (hidden_size,), "gain": (hidden_size,)}

    package.register_cell("further-adder", package.Cell(shapes, num_gates=1, num_states=1, step=step))
    quick = {"steps": 8, "batch_size": 4, "bptt_length": 16, "precision": "fp32"}
    package.train("old.txt", output="old", cell="further-adder", hidden_size=12, **quick)
    package.train("new.txt", output="new", init_from="old", extend_vocab=True, freeze="old-rows", **quick)
    old, new = load_file("old/model.safetensors"), load_file("new/model.safetensors")
    np.testing.assert_array_equal(new["output.weight"][: len(old["output.weight"])], old["output.weight"])
    assert not np.array_equal(new["layers.0.gain"], old["layers.0.gain"])
