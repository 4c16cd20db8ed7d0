import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import ModelError
from charnn.ngrams.spelling import NUM_CODE_POINTS, UniformSpelling, WordSpelling, learn_spelling
from charnn.storage.model_directory import read_model, read_spelling, write_spelling
from charnn.storage.run_files import SPELLING_FILE
from tests.conftest import train_quietly

WORDS = ["cat", "cats", "act", "tact", "attic", "cast", "sac", "xa"]


def test_all_spellings_that_are_no_known_word_have_probability_one_together():
    known = ["cat", "a", "tactic", "<unk>"]
    spelling = learn_spelling(WORDS, known)
    letters = [*spelling.characters, "\u2603"]  # the snowman stands for every character that no rare word has
    num_others = NUM_CODE_POINTS - len(spelling.characters)
    longest = 5

    def mass(words):
        weights = np.array([num_others ** word.count("\u2603") for word in words], dtype=np.float64)
        return math.fsum((np.exp(spelling.log_probs(words)) * weights).tolist())

    finished = [
        mass(["".join(word) for word in itertools.product(letters, repeat=length)]) for length in range(longest + 1)
    ]
    prefixes = ["".join(word) for word in itertools.product(letters, repeat=longest)]
    going_on = sum(_prefix_mass(spelling, prefix, num_others) for prefix in prefixes) - finished[-1]
    assert sum(finished) + going_on == pytest.approx(1, abs=1e-6)
    assert spelling.known_mass == pytest.approx(math.fsum(np.exp(spelling.log_probs(known)).tolist()))
    left = 1 - spelling.known_mass
    assert math.exp(spelling.log_prob("tac")) == pytest.approx(math.exp(spelling.log_probs(["tac"])[0]) / left)


def _prefix_mass(spelling, prefix, num_others):
    """Return the probability of all words that begin so: each letter after those before it."""
    ids = [spelling._ids.get(letter, 1) for letter in prefix]
    prob = 1.0
    for place, id in enumerate(ids):
        probs, _ = spelling.ngrams.distribution([0, *ids[:place]])
        prob *= probs[id]
    return prob


@given(st.text(max_size=30))
def test_every_word_has_a_spelling(word):
    nats = learn_spelling(WORDS, ["cat"]).log_prob(word)
    assert math.isfinite(nats)
    assert nats < 0


def test_what_rare_words_have_in_common_is_learned():
    spelling = learn_spelling([f"{stem}ing" for stem in ("walk", "talk", "sing", "ring", "bring", "think")], [])
    assert spelling.log_prob("drinking") > spelling.log_prob("drinknig")
    assert spelling.log_prob("sinking") > spelling.log_prob("sinkin\u2603")


def test_a_model_of_spellings_survives_being_stored():
    spelling = learn_spelling(WORDS, ["cat"])
    other = WordSpelling.from_arrays(spelling.characters, spelling.arrays())
    assert [other.log_prob(word) for word in ("tact", "dog", "")] == [
        spelling.log_prob(word) for word in ("tact", "dog", "")
    ]
    with pytest.raises(ValueError, match="known_mass"):
        WordSpelling.from_arrays(spelling.characters, spelling.ngrams.arrays())


def test_nothing_learned_is_a_coin_for_the_end_and_all_characters_alike():
    spelling = learn_spelling([], [])
    assert spelling.log_prob("\u2603") == pytest.approx(math.log(0.25) - math.log(NUM_CODE_POINTS))


def test_unknown_characters_share_what_is_left_of_unicode():
    assert UniformSpelling(60, is_run=False).log_prob("\u2603") == pytest.approx(-math.log(NUM_CODE_POINTS - 60))
    run = UniformSpelling(60, is_run=True)
    lengths = [math.exp(run.log_prob("x" * length)) * (NUM_CODE_POINTS - 60.0) ** length for length in range(1, 40)]
    assert sum(lengths) == pytest.approx(1)


@pytest.fixture
def word_run(tmp_path):
    text = "".join(
        f"the {noun} is {noun} and {noun}{number} is not\n" for number in range(9) for noun in ("cat", "dog", "cow")
    )
    return train_quietly(tmp_path, text, "--tokenizer", "word", "--steps", 4, "--bptt", 8, "--batch-size", 2)


def test_a_model_of_words_is_trained_with_its_spellings(charnn, word_run):
    assert (word_run / SPELLING_FILE).exists()
    figures = {}
    for word in ("cat", "cat8", "hat", "xylophon\u00e9"):
        for option in ("", "--spell"):
            result = charnn("score", "-m", word_run, "--text", f"the {word} is", "--format", "tsv", *option.split())
            assert result.status == 0, result.err
            figures[word, option] = float(result.out.splitlines()[1].split("\t")[1])
    assert figures["cat", ""] == figures["cat", "--spell"]
    assert figures["hat", ""] == figures["cat8", ""] == figures["xylophon\u00e9", ""]
    assert (
        figures["cat8", ""]
        > figures["cat8", "--spell"]
        > figures["hat", "--spell"]
        > figures["xylophon\u00e9", "--spell"]
    )
    spelling = read_spelling(read_model(word_run))
    assert figures["hat", "--spell"] - figures["hat", ""] == pytest.approx(spelling.log_prob("hat"), rel=1e-6)


def test_spellings_that_are_missing_or_damaged_are_one_clear_line(charnn, word_run, run):
    file = word_run / SPELLING_FILE
    content = file.read_bytes()
    spelled = ("score", "-m", word_run, "--text", "the yak", "--spell")
    file.unlink()
    assert "spelling.safetensors: the spelling model is missing" in charnn(*spelled).err
    assert charnn("score", "-m", word_run, "--text", "the yak").status == 0
    file.write_bytes(content[:-30])
    result = charnn(*spelled)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "is damaged or truncated" in result.err
    write_spelling(word_run, learn_spelling(WORDS, []), tokenizer_sha256="0" * 64)
    result = charnn(*spelled)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "spelling.safetensors: belongs to another tokenizer" in result.err
    assert charnn("score", "-m", run, "--text", "\u2603", "--spell").status == 0


def test_a_pair_has_its_spellings_on_both_sides(tmp_path):
    text = "the cat sat\nthe dog ran\nthe cow ate hay\n" * 9
    run = train_quietly(
        tmp_path, text, "--tokenizer", "word", "--steps", 2, "--bptt", 8, "--batch-size", 2, "--direction", "both"
    )
    assert (run / SPELLING_FILE).read_bytes() == (run / "backward" / SPELLING_FILE).read_bytes()


def test_a_model_can_be_trained_without(tmp_path):
    run = train_quietly(
        tmp_path, "a b c\n" * 40, "--tokenizer", "word", "--steps", 2, "--bptt", 8, "--batch-size", 2, "--no-spell"
    )
    assert not (run / SPELLING_FILE).exists()


def test_bytes_know_no_unknown(tmp_path, charnn):
    run = train_quietly(tmp_path, "abc\n" * 60, "--tokenizer", "byte", "--steps", 2, "--bptt", 8, "--batch-size", 2)
    with pytest.raises(ModelError, match="which has no unknown tokens"):
        read_spelling(read_model(run))
    assert "leave --spell out" in charnn("score", "-m", run, "--text", "a", "--spell").err


def test_a_benchmarks_own_unknown_word_has_no_spelling(charnn, tmp_path):
    text = "the cat <unk> ate\nthe dog ran\n" * 20
    run = train_quietly(
        tmp_path, text, "--tokenizer", "word", "--pretokenized", "--steps", 2, "--bptt", 8, "--batch-size", 2
    )
    figures = [
        float(
            charnn("score", "-m", run, "--text", "the <unk>", "--format", "tsv", *options)
            .out.splitlines()[1]
            .split("\t")[1]
        )
        for options in ((), ("--spell",))
    ]
    assert figures[0] == figures[1]
