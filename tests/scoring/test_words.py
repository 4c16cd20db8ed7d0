import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import ScoreOptions, TextOptions
from charnn.scoring.scorer import estimator_of, score_units
from charnn.scoring.words import scored_words
from tests.conftest import trained_tokenizer
from tests.scoring.test_infilling import engines_for

TEXT = "the cat sat, don't it? the naïve cat\tsaw a cat. a cat-like thing\n" * 6


def tokenizer_of(kind, **options):
    return trained_tokenizer(TextOptions(tokenizer=kind, unit="line", **options), TEXT)


TOKENIZERS = {
    "char": tokenizer_of("char"),
    "byte": tokenizer_of("byte"),
    "word": tokenizer_of("word"),
    "pretokenized": tokenizer_of("word", pretokenized=True),
    "subword": tokenizer_of("subword", vocab_size=40),
}


def words_of(kind, text, spaces="before", *, backward=False, **options):
    tokenizer = TOKENIZERS[kind]
    direction = "backward" if backward else "forward"
    engine = engines_for(tokenizer, direction)[direction]
    made = ScoreOptions(**options)
    (score,) = score_units(estimator_of(engine, tokenizer), tokenizer, [text], made, with_tokens=True)
    return score, scored_words(score, spaces=spaces, is_closed=made.closes)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("spaces", ["before", "after"])
@given(text=st.text(alphabet="catsï'-,. \t\u00a0", max_size=20))
def test_words_share_out_all_of_a_line(kind, spaces, text):
    score, words = words_of(kind, text, spaces)
    total = sum(word.log_prob_nats for word in words)
    assert total == pytest.approx(score.log_prob_nats, abs=1e-6)
    assert sum(len(word.tokens) for word in words) == len(score.tokens)
    found = [word.word for word in words if word.word.strip()]
    assert found == text.split() or kind in ("word", "pretokenized")
    assert all(text[word.start : word.end] == word.word for word in words if word.word.strip())


def test_white_space_counts_with_the_word_after_it_or_before_it():
    score, before = words_of("char", " a cat ")
    _, after = words_of("char", " a cat ", "after")
    nats = [token.log_prob_nats for token in score.tokens]
    assert [word.word for word in before] == ["a", "cat", "\n"]
    assert [word.log_prob_nats for word in before] == pytest.approx([sum(nats[:2]), sum(nats[2:6]), sum(nats[6:])])
    assert [(word.start, word.end) for word in before] == [(1, 2), (3, 6), (6, 7)]
    assert [word.word for word in after] == ["a", "cat"]
    assert [word.log_prob_nats for word in after] == pytest.approx([sum(nats[:3]), sum(nats[3:])])


def test_a_word_of_several_tokens_is_their_sum():
    score, words = words_of("word", "the cat, it")
    nats = [token.log_prob_nats for token in score.tokens]
    assert [word.word for word in words] == ["the", "cat,", "it", "\n"]
    assert words[1].log_prob_nats == pytest.approx(nats[1] + nats[2])
    _, unscored = words_of("word", "the cat", bos=False)
    assert unscored[0].log_prob_nats is None
    _, unknown = words_of("word", "the zebra sat")
    assert [word.is_unknown for word in unknown] == [False, True, False, False]


def test_a_backward_model_has_the_words_in_the_order_of_the_text():
    score, words = words_of("char", "the cat", backward=True)
    assert [word.word for word in words] == ["the", "cat", "\n"]
    assert sum(word.log_prob_nats for word in words) == pytest.approx(score.log_prob_nats)


def test_a_blank_line_is_its_end():
    _, words = words_of("char", "")
    assert [word.word for word in words] == ["\n"]
    _, nothing = words_of("char", "", eos=False)
    assert nothing == []
