from collections import Counter

import numpy as np
import pytest

from charnn.config import Architecture, SampleOptions, TextOptions
from charnn.errors import UnknownTokenError
from charnn.runtime.context import encode_prompt, read_context
from charnn.runtime.engine import Engine, log_softmax
from charnn.runtime.sampler import _Stream, generate
from charnn.text.tokenizer_training import train_tokenizer
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ramp_weights

LETTERS = CharTokenizer(Vocabulary(("<unk>", "a", "b", "c", "\n"), (0, 4, 3, 2, 1), 4, 0), "stream")
LINES = CharTokenizer(LETTERS.vocabulary, "line")


def engine_for(tokenizer, cell="lstm"):
    architecture = Architecture(cell, len(tokenizer.vocabulary), 4, 6, 1)
    return Engine(architecture, ramp_weights(architecture, 0.8))


def written(tokenizer=LETTERS, prompt="", seed=1, **options):
    """Return the samples, having checked that the pieces that were streamed make up each one's text."""
    made = SampleOptions(**{"length": 20, **options})
    streamed, samples = Counter(), {}
    texts = {}
    for number, fresh, sample in generate(engine_for(tokenizer), tokenizer, tokenizer.encode(prompt), made, seed=seed):
        texts[number] = texts.get(number, "") + fresh
        samples[number] = sample
        streamed[number] += 1
    assert all(sample.text == texts[number] for number, sample in samples.items())
    assert len(samples) == made.num_samples
    return [samples[number] for number in range(made.num_samples)]


def test_a_sample_has_the_wanted_length_and_says_why_it_ended():
    (sample,) = written(length=33)
    assert (len(sample.ids), len(sample.text), sample.ended) == (33, 33, "length")


def test_unk_is_never_written():
    samples = written(length=400, num_samples=4, temperature=5.0)
    assert all(0 not in sample.ids for sample in samples)


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_sample_is_that_of_its_own_seed_alone(number):
    together = written(length=60, num_samples=8, seed=40)[number]
    alone = written(length=60, seed=40 + number)[0]
    assert (alone.text, alone.seed) == (together.text, together.seed)


def test_draws_follow_the_models_distribution():
    logits, _ = read_context(engine_for(LETTERS), LETTERS, LETTERS.encode("ab"))
    probs = np.exp(log_softmax(logits))[0]
    probs[0] = 0
    probs /= probs.sum()
    drawn = Counter(sample.ids[0] for sample in written(prompt="ab", length=1, num_samples=20_000))
    expected = probs[1:] * 20_000
    chi_square = sum((drawn[id] - wanted) ** 2 / wanted for id, wanted in enumerate(expected, start=1))
    assert chi_square < 16.27  # three degrees of freedom, one run in a thousand


def test_greedy_is_the_likeliest_path_and_temperature_zero_is_greedy():
    engine = engine_for(LETTERS)
    logits, state = read_context(engine, LETTERS, LETTERS.encode("a"))
    expected = []
    for _ in range(10):
        id = int(log_softmax(logits)[0][1:].argmax()) + 1
        expected.append(id)
        logits, state = engine.step(np.array([id]), state)
    for options in ({"greedy": True}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}):
        assert written(prompt="a", length=10, **options)[0].ids == expected


def test_the_log_probability_is_the_models_own():
    engine = engine_for(LETTERS)
    (sample,) = written(prompt="b", length=6, temperature=0.7, top_k=3)
    logits, state = read_context(engine, LETTERS, LETTERS.encode("b"))
    total = 0.0
    for id in sample.ids:
        total += log_softmax(logits)[0, id]
        logits, state = engine.step(np.array([id]), state)
    assert sample.log_prob_nats == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("stop", ["c", "ab", "ca\n", "zzz"])
def test_a_sample_ends_before_the_stop_text(stop):
    for sample in written(length=200, num_samples=10, stop=stop):
        free = written(length=200, seed=sample.seed)[0].text
        assert sample.text == free.split(stop)[0]
        assert sample.ended == ("stop" if stop in free else "length")


def test_a_line_ends_at_its_boundary():
    for sample in written(LINES, length=100, num_samples=20):
        assert "\n" not in sample.text
        assert sample.ended in ("unit", "length")


def test_a_word_goes_on_from_the_prompt_with_its_space():
    tokenizer = train_tokenizer(TextOptions(tokenizer="word", min_count=1), lambda: iter(["one two, three\n"]), seed=1)
    assert isinstance(tokenizer, WordTokenizer)
    for sample in written(tokenizer, prompt="one", length=1, num_samples=30):
        word = tokenizer.vocabulary.tokens[sample.ids[0]]
        assert sample.text == {",": ",", "\n": "\n", "<glue>": "", " ": " "}.get(word, " " + word)


def test_half_a_character_is_held_back_and_given_at_the_end():
    vocabulary = Vocabulary(tuple(map(str, range(256))), (1,) * 256, 10, None)
    tokenizer = ByteTokenizer(vocabulary, "stream")
    (sample,) = written(tokenizer, length=60)
    assert sample.text.encode("utf-8", "surrogateescape") == bytes(sample.ids)


def test_an_unknown_character_in_a_prompt_is_named_with_its_place():
    with pytest.raises(UnknownTokenError) as error:
        encode_prompt(LETTERS, "abé é", on_unknown="error")
    assert str(error.value) == (
        "prompt: character 'é' (U+00E9) at position 3 is not in the model's vocabulary of 5 (and 2 more); "
        "change it, or pass --on-unknown skip or --on-unknown unk"
    )
    assert encode_prompt(LETTERS, "aéb", on_unknown="skip").tolist() == [1, 2]
    assert encode_prompt(LETTERS, "aéb", on_unknown="unk").tolist() == [1, 0, 2]


@pytest.mark.parametrize(("pieces", "stop"), [(["A", b"\xc3"], None), (["A", b"\xc3"], "zz"), (["a", "z"], "zz")])
def test_what_was_held_back_is_given_once_at_the_end(pieces, stop):
    ids = [byte for piece in pieces for byte in (piece.encode() if isinstance(piece, str) else piece)]
    tokenizer = ByteTokenizer(Vocabulary(tuple(map(str, range(256))), (1,) * 256, 10, None), "stream")
    stream = _Stream(1, tokenizer.decoder(), stop, [10])
    streamed = "".join(stream.add(id) for id in ids) + stream.finish("length") + stream.finish("length")
    assert stream.sample.text == streamed
    assert streamed.encode("utf-8", "surrogateescape") == bytes(ids)


def test_the_coldest_temperature_is_greedy_and_never_writes_unk():
    assert written(length=30, temperature=1e-310)[0].ids == written(length=30, greedy=True)[0].ids


def test_a_long_prompt_is_read_in_parts(monkeypatch):
    engine, ids = engine_for(LETTERS), LETTERS.encode("abc" * 50)
    whole = read_context(engine, LETTERS, ids)
    monkeypatch.setattr("charnn.runtime.context.CONTEXT_CHUNK", 7)
    parts = read_context(engine, LETTERS, ids)
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-6)
