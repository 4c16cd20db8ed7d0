import numpy as np
import pytest

from charnn.config import SampleOptions, TextOptions
from charnn.errors import OptionError
from charnn.sampling import constraints
from charnn.sampling.constraints import NoRepeatedNgram, Pattern, token_bias, unescaped
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer, byte_vocabulary
from charnn.text.vocabulary import Vocabulary
from tests.conftest import trained_tokenizer
from tests.sampling.test_sampler import LETTERS, LINES, written

BYTES = ByteTokenizer(byte_vocabulary(np.ones(256, dtype=np.int64), "stream"), "stream")


def words(text, **options):
    return trained_tokenizer(TextOptions(**options), text)


WORDS = words("the cat sat, the dog ran.\n", tokenizer="word", min_count=1)


def left(tokenizer, **options):
    """Return the texts of the tokens that may be written."""
    bias = token_bias(tokenizer, SampleOptions(**options))
    return {tokenizer.vocabulary.tokens[id] for id in np.flatnonzero(np.isfinite(bias))}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "abc\n"),
        ({"ban": "ab"}, "c\n"),
        ({"ban": "\\n"}, "abc"),
        ({"allow": "ab"}, "ab"),
        ({"allow": "abc", "ban": "b"}, "ac"),
        ({"allow_token": ("c",)}, "c"),
        ({"allow": "a", "allow_token": ("\\n",)}, "a\n"),
        ({"ban_token": ("a", "\\n")}, "bc"),
    ],
    ids=str,
)
def test_what_is_left_of_the_letters(options, expected):
    assert left(LETTERS, **options) == set(expected)


def test_a_line_may_always_end_unless_its_end_is_banned_as_a_token():
    assert left(LINES, allow="a") == {"a", "\n"}
    assert left(LINES, ban="ab\\n") == {"c", "\n"}
    assert left(LINES, ban_token=("\\n",)) == {"a", "b", "c"}


def test_words_are_allowed_by_their_characters_and_banned_whole():
    assert left(WORDS, allow="thesact") == {"the", "cat", "sat"}
    assert "dog" not in left(WORDS, ban_token=("dog",))
    assert left(WORDS, ban="a") == left(WORDS) - {"cat", "sat", "ran"}


def test_a_subword_is_named_as_it_looks():
    tokenizer = words("the cat sat on the mat. the dog ran to the cat.\n" * 20, tokenizer="subword", vocab_size=40)
    spaced = next(token for token in tokenizer.vocabulary.tokens if token.startswith("▁") and len(token) > 1)
    assert left(tokenizer, allow_token=(spaced.replace("▁", " "),)) == {spaced}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ban": "abc\\n"}, "--allow and --ban: leave none of 5 tokens to write; allow more, or ban less"),
        ({"allow": "z"}, "--allow and --ban: leave none of 5 tokens to write; allow more, or ban less"),
        (
            {"ban_token": ("zebra",)},
            "--ban-token: found 'zebra', which is none of the model's 5 tokens; charnn tokenize shows how a text is cut",
        ),
        ({"logit_bias": ("a",)}, "--logit-bias: found 'a', but it must be TOKEN=NATS, as in 'e=-2.5'"),
        ({"logit_bias": ("a=x",)}, "--logit-bias: found 'a=x', but it must be TOKEN=NATS, as in 'e=-2.5'"),
        ({"logit_bias": ("a=inf",)}, "--logit-bias: found 'a=inf', but it must be TOKEN=NATS, as in 'e=-2.5'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_rules_are_said_in_one_line(options, message):
    with pytest.raises(OptionError) as error:
        token_bias(LETTERS, SampleOptions(**options))
    assert str(error.value) == message


def test_biases_add_up_and_an_equals_sign_may_be_a_token():
    tokenizer = CharTokenizer(Vocabulary(("<unk>", "=", "a", "\n"), (0, 1, 1, 1), 3, 0), "stream")
    bias = token_bias(tokenizer, SampleOptions(logit_bias=("==1.5", "a=2", "a=-0.5")))
    assert bias.tolist() == [-np.inf, 1.5, 1.5, 0.0]


def test_escapes_on_the_command_line():
    assert unescaped("a\\nb\\tc\\\\n\\d") == "a\nb\tc\\n\\d"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_run_of_tokens_comes_twice(size):
    alphabet = "".join(chr(0x61 + number) for number in range(20))
    tokenizer = CharTokenizer(Vocabulary(("<unk>", *alphabet, "\n"), (0, *(1,) * 21), 21, 0), "stream")
    for sample in written(
        tokenizer, prompt="abab", length=18 if size == 1 else 200, num_samples=5, no_repeat_ngram=size
    ):
        whole = "\nabab" + sample.text
        runs = [whole[place : place + size] for place in range(len(whole) - size + 1)]
        written_runs = runs[max(0, 5 - size + 1) :]
        assert len(set(written_runs)) == len(written_runs)


def test_a_run_is_followed_by_what_it_was_not_followed_by_before():
    rule = NoRepeatedNgram(3, [1, 2, 3, 1, 2])
    candidates = np.array([True] * 5)
    assert np.flatnonzero(~rule.is_allowed(candidates)).tolist() == [3]
    other = rule.copy()
    other.push(4)
    assert np.flatnonzero(~rule.is_allowed(candidates)).tolist() == [3]
    for id in (1, 2):
        other.push(id)
    assert np.flatnonzero(~other.is_allowed(candidates)).tolist() == [3, 4]


@pytest.mark.parametrize("num_samples", [1, 6])
def test_a_text_matches_its_pattern_and_ends_with_it(num_samples):
    import regex

    for expression in ("[ab]{3}c", "(a|bc)*", "(?!aa)[abc]{4}", "c+\\n[ab]+"):
        for sample in written(match=expression, num_samples=num_samples, length=30):
            assert regex.fullmatch(expression, sample.text, partial=True)
            if sample.ended == "match":
                assert regex.fullmatch(expression, sample.text)
            else:
                assert sample.ended == "length"
                assert len(sample.text) == 30


def test_a_line_ends_only_where_it_matches():
    for sample in written(LINES, match="(ab)+c", num_samples=30, length=60):
        assert sample.ended == "unit"
        assert sample.text.rstrip("c").replace("ab", "") == ""
        assert sample.text.count("c") == 1


def test_a_pattern_that_the_vocabulary_cannot_match_is_stuck():
    (sample,) = written(match="ab!")
    assert (sample.text, sample.ended) == ("ab", "stuck")


def test_a_pattern_may_contain_flags():
    for sample in written(match=r"(?V1)[\w--c]+", num_samples=3, length=20):
        assert set(sample.text) <= set("ab")
    (sample,) = written(match="(?i)AB!")
    assert (sample.text, sample.ended) == ("ab", "stuck")


def test_words_match_with_their_spaces():
    for sample in written(WORDS, prompt="the", match=" (cat|dog) (sat|ran)\\.", num_samples=10):
        assert sample.text in {f" {one} {other}." for one in ("cat", "dog") for other in ("sat", "ran")}


def test_bytes_match_by_their_utf_8():
    for sample in written(BYTES, match="(ab|é)+!", num_samples=10, length=12):
        assert set(sample.text.replace("\udcc3", "")) <= set("abé!")


@pytest.mark.parametrize("expression", ["(", "[z-a]", "*", "(?r)ab"])
def test_what_is_no_pattern_is_said_in_one_line(expression):
    with pytest.raises(OptionError, match=r"--match: found .* which is no regular expression"):
        Pattern(expression, LETTERS)


def test_a_pattern_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(constraints, "MATCH_SECONDS", 0.01)
    pattern = Pattern("(a|aa)+[bc]", LETTERS)
    with pytest.raises(OptionError, match=r"took over 0\.01 seconds for one try on 60 characters"):
        pattern.matches("a" * 60, partly=False)


def test_a_pattern_of_words_is_complete_where_only_glue_could_follow():
    for sample in written(WORDS, match="the cat", length=20, num_samples=3):
        assert (sample.text, sample.ended) == ("the cat", "match")


def test_bytes_are_banned_by_the_characters_they_are():
    names = left(BYTES, ban="x0\\n")
    assert "<0xC3>" in names
    assert not names & {"x", "0", "\n"}
    assert left(BYTES, allow="<x>") == {"<", "x", ">"}
    with pytest.raises(OptionError, match=r"--allow: found a character that is several bytes.*--allow-token '<0xC3>'"):
        left(BYTES, allow="é")


def test_glue_is_made_of_no_characters():
    tokenizer = words("the cat.the dog\nthe cat.the dog\n", tokenizer="word", min_count=1)
    assert "<glue>" in left(tokenizer, ban="gl")


def test_a_line_may_close_with_the_boundary_that_opened_it():
    ended = {sample.ended for sample in written(LINES, no_repeat_ngram=1, num_samples=20, length=30)}
    assert "unit" in ended
    free = [sample.ids[:1] for sample in written(LINES, num_samples=30, length=1, seed=5)]
    taxed = [sample.ids[:1] for sample in written(LINES, num_samples=30, length=1, seed=5, presence_penalty=50.0)]
    assert taxed == free
