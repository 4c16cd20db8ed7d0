from collections import Counter

import numpy as np
import pytest

from charnn.config import Architecture, SampleOptions, TextOptions
from charnn.errors import UnknownTokenError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import PromptState, encode_prompt, prefill, read_context
from charnn.inference.stepper import stepper_for
from charnn.sampling import stream_sampler as sampler_module
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import PreparedPrompt, Sample, SampleRequest, Stream
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer, byte_vocabulary
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ramp_weights, trained_tokenizer

LETTERS = CharTokenizer(Vocabulary(("<unk>", "a", "b", "c", "\n"), (0, 4, 3, 2, 1), 4, 0), "stream")
LINES = CharTokenizer(LETTERS.vocabulary, "line")


def engine_for(tokenizer, cell="lstm"):
    architecture = Architecture(cell, len(tokenizer.vocabulary), 4, 6, 1)
    return Engine(architecture, ramp_weights(architecture, 0.8))


def sampler_for(tokenizer, **options):
    engine = engine_for(tokenizer)
    stepper = stepper_for(engine, engine.initial_state())
    return stepper, Sampler(StreamSampler(stepper, tokenizer, SampleOptions(**{"length": 20, **options})))


def written(tokenizer=LETTERS, prompt="", seed=1, **options):
    """Return the samples, having checked that the pieces that were streamed make up each one's text."""
    made = SampleOptions(**{"length": 20, **options})
    stepper, sampler = sampler_for(tokenizer, **options)
    start = prefill(stepper, tokenizer, tokenizer.encode(prompt))
    plans = [SampleRequest(start, seed + number) for number in range(made.num_samples)]
    samples, texts = {}, {}
    for number, fresh, sample in sampler.generate(plans):
        texts[number] = texts.get(number, "") + fresh
        samples[number] = sample
    assert all(sample.text == texts[number] for number, sample in samples.items())
    assert all(sample.ended is not None for sample in samples.values())
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
    for sample in written(length=200, num_samples=10, stop=(stop,)):
        free = written(length=200, seed=sample.seed)[0].text
        assert sample.text == free.split(stop)[0]
        assert sample.ended == ("stop" if stop in free else "length")


def test_a_line_ends_at_its_boundary():
    for sample in written(LINES, length=100, num_samples=20):
        assert "\n" not in sample.text
        assert sample.ended in ("unit", "length")


def test_a_word_goes_on_from_the_prompt_with_its_space():
    tokenizer = trained_tokenizer(TextOptions(tokenizer="word", min_count=1), "one two, three\n")
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
    start = PromptState([10], np.zeros((1, 256)), ())
    stream = Stream(0, PreparedPrompt(start, tokenizer, SampleOptions(stop=(stop,) if stop else ()), None), 1)
    streamed = "".join(stream.take(id, 0.0) for id in ids) + stream.finish("length") + stream.finish("length")
    assert stream.sample.text == streamed
    assert streamed.encode("utf-8", "surrogateescape") == bytes(ids)


def test_the_coldest_temperature_is_greedy_and_never_writes_unk():
    assert written(length=30, temperature=1e-310)[0].ids == written(length=30, greedy=True)[0].ids


def walk(engine, tokenizer, num_streams, length, **options):
    """Write samples together, then each alone; return both, and how many choices were too close to make together."""
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, tokenizer, tokenizer.encode("ab"))
    made = SampleOptions(length=length, **options)
    plans = [SampleRequest(start, seed) for seed in range(num_streams)]
    sampler = Sampler(StreamSampler(stepper, tokenizer, made))
    together = {piece.number: piece.sample for piece in sampler.generate(plans)}
    alone = [list(Sampler(StreamSampler(stepper, tokenizer, made)).generate([plan]))[-1].sample for plan in plans]
    return [together[number] for number in range(num_streams)], alone, sampler.num_recomputed


@pytest.mark.parametrize("close", [1e-5, 1e-2, 10.0], ids=["usual", "often", "always"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mogrifier"])
@pytest.mark.parametrize(
    "options",
    [{}, {"top_p": 0.9, "temperature": 0.8}, {"greedy": True}, {"stop": ("ca",), "no_repeat_ngram": 6}],
    ids=["plain", "filtered", "greedy", "rules"],
)
def test_samples_are_the_same_together_and_alone(cell, options, close, monkeypatch):
    monkeypatch.setattr(sampler_module, "CLOSE_NATS", close)
    monkeypatch.setattr("charnn.sampling.sampler.MOST_STREAMS", 5)
    together, alone, num_decided = walk(engine_for(LETTERS, cell), LETTERS, 12, 60, **options)
    assert [(one.ids, one.text, one.ended) for one in together] == [(one.ids, one.text, one.ended) for one in alone]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.log_probs_nats, other.log_probs_nats, atol=1e-5)
    if close == 10:
        assert num_decided > 0


def test_a_network_whose_products_are_rounded_otherwise_together_writes_the_same(monkeypatch):
    """Wide enough for BLAS to add in another order; a draw as near to a bound as that happens in 20,000 tokens."""
    size = 40
    tokens = ("<unk>", "\n", *(chr(0x61 + number) for number in range(size - 2)))
    tokenizer = CharTokenizer(Vocabulary(tokens, (1,) * size, 1, 0), "stream")
    architecture = Architecture("lstm", size, 16, 96, 2)
    engine = Engine(architecture, ramp_weights(architecture, 0.3))
    together, alone, num_decided = walk(engine, tokenizer, 40, 500)
    assert [one.text for one in together] == [one.text for one in alone]
    assert num_decided > 0


@pytest.mark.parametrize("until", ["line", "sentence"])
def test_a_sample_goes_on_until_a_line_or_sentence_is_complete(until):
    tokenizer = CharTokenizer(Vocabulary(("<unk>", "a", "b", ".", " ", "\n"), (0, 4, 3, 2, 1, 1), 5, 0), "stream")
    for sample in written(tokenizer, until=until, num_samples=20, length=300):
        free = written(tokenizer, length=300, seed=sample.seed)[0].text
        assert free.startswith(sample.text)
        assert sample.ended == until
        rest = free[len(sample.text) :]
        if until == "line":
            assert rest.startswith("\n")
            assert sample.text.strip()
            assert "\n" not in sample.text.lstrip(" \n")
        else:
            assert (sample.text.endswith(".") and rest[0] in " \n") or rest.lstrip(" ").startswith("\n")
            assert not [
                place
                for place in range(len(sample.text) - 1)
                if sample.text[place : place + 2] in (". ", ".\n") and sample.text[: place + 1].strip()
            ]


def test_without_an_end_a_sample_is_as_long_as_its_reader_wants():
    stepper, sampler = sampler_for(LETTERS, length=-1, num_samples=2)
    start = prefill(stepper, LETTERS, LETTERS.encode(""))
    pieces = sampler.generate([SampleRequest(start, 1), SampleRequest(start, 2)])
    seen = [next(pieces) for _ in range(1000)]
    ended = sampler.interrupt()
    assert [piece.sample.ended for piece in ended] == ["interrupted"] * 2
    assert sum(len(piece.sample.ids) for piece in ended) == 1000
    assert all(piece.sample.text in "".join(one.text for one in seen if one.number == piece.number) for piece in ended)
    assert ended[0].sample.text == written(length=500, seed=1)[0].text


def test_one_stream_may_be_interrupted_too():
    stepper, sampler = sampler_for(LETTERS, length=-1, stop=("zz",))
    pieces = sampler.generate([SampleRequest(prefill(stepper, LETTERS, LETTERS.encode("")), 1)])
    for _ in range(7):
        next(pieces)
    (piece,) = sampler.interrupt()
    assert (len(piece.sample.text), piece.sample.ended) == (7, "interrupted")


def test_several_stops_end_a_sample_at_the_first_of_them():
    for sample in written(length=300, num_samples=10, stop=("cab", "bb", "c\n")):
        free = written(length=300, seed=sample.seed)[0].text
        assert sample.text == min((free.split(stop)[0] for stop in ("cab", "bb", "c\n")), key=len)


def test_alternatives_are_the_models_likeliest_at_each_place():
    engine = engine_for(LETTERS)
    for num_samples in (1, 3):
        sample = written(length=5, num_samples=num_samples, show_alternatives=2, top_k=1)[0]
        logits, state = read_context(engine, LETTERS, LETTERS.encode(""))
        for id, nats, alternatives in zip(sample.ids, sample.log_probs_nats, sample.alternatives, strict=True):
            log_probs = log_softmax(logits)[0]
            order = np.argsort(-log_probs)[:2].tolist()
            assert [other for other, _ in alternatives] == order
            assert nats == pytest.approx(log_probs[id], abs=1e-6)
            logits, state = engine.step(np.array([id]), state)


def test_perplexity_is_that_of_the_tokens_drawn():
    sample = written(LINES, length=40)[0]
    assert len(sample.log_probs_nats) == len(sample.ids) + (sample.ended == "unit")
    assert sample.perplexity == pytest.approx(np.exp(-np.mean(sample.log_probs_nats)))
    assert Sample(1).perplexity is None


@pytest.mark.parametrize("cell", ["lstm", "mogrifier"])
def test_a_prompt_read_in_parts_is_read_as_a_whole(cell, monkeypatch):
    engine, ids = engine_for(LETTERS, cell), LETTERS.encode("abc" * 50)
    stepper = stepper_for(engine, engine.initial_state())
    whole = prefill(stepper, LETTERS, ids)
    monkeypatch.setattr("charnn.inference.stepper.READ_AT_ONCE", 7)
    parts = prefill(stepper, LETTERS, ids, known=prefill(stepper, LETTERS, ids[:70]))
    assert parts.ids == whole.ids
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-6)
    nothing_more = prefill(stepper, LETTERS, ids, known=whole)
    assert nothing_more is whole


def test_a_character_that_the_prompt_breaks_off_is_not_written_again():
    tokenizer = ByteTokenizer(byte_vocabulary(np.ones(256, dtype=np.int64), "stream"), "stream")
    prompt = b"caf\xc3".decode("utf-8", "surrogateescape")
    (sample,) = written(tokenizer, prompt=prompt, length=1, allow_token=("<0xA9>",))
    assert sample.text.encode("utf-8", "surrogateescape") == b"\xa9"


def test_what_is_only_streamed_leaves_nothing_behind():
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, LETTERS, LETTERS.encode("ab"))
    sampler = Sampler(StreamSampler(stepper, LETTERS, SampleOptions(length=-1), keeps_history=False))
    pieces = sampler.generate([SampleRequest(start, 1)])
    text = "".join(next(pieces).text for _ in range(3000))
    (piece,) = sampler.interrupt()
    assert (piece.sample.ids, piece.sample.log_probs_nats, piece.sample.text) == ([], [], "")
    assert text == written(prompt="ab", length=3000)[0].text


def test_a_stop_may_be_a_line_end_spelled_out():
    for sample in written(length=200, num_samples=5, stop=("\\n",)):
        assert "\n" not in sample.text
        assert sample.ended == "stop"
