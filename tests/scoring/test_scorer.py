import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.cells import CELL_NAMES
from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine, log_softmax
from charnn.scoring import scorer
from charnn.scoring.formats import TabSeparated, in_base, score_fields, summary
from charnn.scoring.scorer import estimator_of, score_units
from charnn.scoring.scores import Score
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ramp_weights

LETTERS = CharTokenizer(Vocabulary(("<unk>", "a", "b", "\n"), (0, 4, 3, 1), 3, 0), "stream")
SHAPE = Architecture("lstm", 4, 3, 5, 2)
ENGINE = Engine(SHAPE, ramp_weights(SHAPE, 0.9))


def scored(*texts, engine=ENGINE, tokenizer=LETTERS, **options):
    return list(score_units(estimator_of(engine, tokenizer), tokenizer, texts, ScoreOptions(**options)))


def step_by_step(ids, engine=ENGINE):
    """Return log P(id) of each id, read one by one after the boundary."""
    state, context, found = engine.initial_state(1), 3, []
    for id in ids:
        logits, state = engine.step(np.array([context]), state)
        found.append(log_softmax(logits)[0, id])
        context = id
    return found


def bigram_engine():
    """A model without memory whose probabilities are worked by hand: the embedding is the row of a table of logits."""
    table = np.log(
        np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1], [0.25] * 4], dtype=np.float32)
    )
    weights = {
        "embedding.weight": np.eye(4, dtype=np.float32),
        "layers.0.weight_ih": np.eye(4, dtype=np.float32) * 20,
        "layers.0.weight_hh": np.zeros((4, 4), dtype=np.float32),
        "layers.0.bias_ih": np.zeros(4, dtype=np.float32),
        "layers.0.bias_hh": np.zeros(4, dtype=np.float32),
        "output.weight": np.ascontiguousarray(table.T),
        "output.bias": np.zeros(4, dtype=np.float32),
    }
    return Engine(Architecture("rnn", 4, 4, 4, 1), weights)


def test_a_bigram_by_hand():
    # "ab": P(a | newline) = 0.25, P(b | a) = 0.2, P(newline | b) = 0.1.
    (score,) = scored("ab", engine=bigram_engine())
    assert score.log_prob_nats == pytest.approx(math.log(0.25 * 0.2 * 0.1), abs=1e-6)
    assert (score.num_tokens, score.num_chars, score.num_unknown) == (3, 3, 0)
    assert score.perplexity == pytest.approx((0.25 * 0.2 * 0.1) ** (-1 / 3), rel=1e-6)


def test_unknown_tokens_count_in_one_perplexity_and_not_in_the_other():
    # "aé": P(a | newline) = 0.25, P(<unk> | a) = 0.4, P(newline | <unk>) = 0.4.
    (score,) = scored("aé", engine=bigram_engine())
    assert score.num_unknown == 1
    assert score.num_bytes == 4
    assert score.perplexity == pytest.approx((0.25 * 0.4 * 0.4) ** (-1 / 3), rel=1e-6)
    assert score.perplexity_excluding_unknown == pytest.approx((0.25 * 0.4) ** (-1 / 2), rel=1e-6)


def test_boundaries_are_scored_or_not_as_one_wishes():
    by_hand = {
        (True, True): 0.25 * 0.2 * 0.1,
        (True, False): 0.25 * 0.2,
        (False, True): 0.2 * 0.1,
        (False, False): 0.2,
    }
    for (bos, eos), expected in by_hand.items():
        (score,) = scored("ab", engine=bigram_engine(), bos=bos, eos=eos, per_token=True)
        assert score.log_prob_nats == pytest.approx(math.log(expected), abs=1e-6)
        assert score.num_tokens == score.num_chars == 1 + bos + eos
        assert [token.log_prob_nats is None for token in score.tokens] == [not bos, False, *([False] if eos else [])]


@given(st.lists(st.text(alphabet="abé", max_size=9), max_size=12))
def test_a_sentence_scores_the_same_alone_and_among_others(texts):
    for text, score in zip(texts, scored(*texts), strict=True):
        assert score.text == text
        assert score.log_prob_nats == pytest.approx(sum(step_by_step([*LETTERS.encode(text), 3])), abs=1e-5)


def test_records_come_one_a_line_in_order_blank_lines_included(monkeypatch):
    monkeypatch.setattr(scorer, "LINES_PER_WINDOW", 3)
    monkeypatch.setattr(scorer, "POSITIONS_PER_BATCH", 10)
    texts = ["a", "", "b" * 40, "ab", "", "ba" * 10, "a"]
    scores = scored(*texts)
    assert [(score.number, score.text) for score in scores] == list(enumerate(texts, start=1))
    assert scores[1].num_tokens == 1
    assert scored() == []


def test_a_stream_is_scored_as_one_text():
    text = "ab\nba\n" * 200
    (score,) = scored(text, unit="stream")
    assert score.num_tokens == len(text)
    assert score.log_prob_nats == pytest.approx(sum(step_by_step(LETTERS.encode(text))), abs=1e-3)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_all_strings_and_unfinished_prefixes_together_have_probability_one(cell):
    shape = Architecture(cell, 4, 3, 5, 1)
    engine = Engine(shape, ramp_weights(shape, 0.9))
    letters = "abé"
    longest = 4
    whole = ["".join(letters_) for length in range(longest) for letters_ in itertools.product(letters, repeat=length)]
    prefixes = ["".join(letters_) for letters_ in itertools.product(letters, repeat=longest)]
    finished = sum(math.exp(score.log_prob_nats) for score in scored(*whole, engine=engine))
    unfinished = sum(math.exp(score.log_prob_nats) for score in scored(*prefixes, engine=engine, eos=False))
    assert finished + unfinished == pytest.approx(1, abs=1e-6)


def test_totals_are_sums_and_convert_at_the_edge():
    total = Score(log_prob_nats=-2.0, num_tokens=2, num_chars=4, num_bytes=8) + Score(log_prob_nats=-4.0, num_tokens=1)
    facts = summary(total)
    assert facts["nats"] == -6.0
    assert facts["perplexity"] == pytest.approx(math.exp(2))
    assert facts["bits_per_token"] == pytest.approx(2 / math.log(2))
    assert facts["bits_per_char"] == pytest.approx(6 / math.log(2) / 4)
    assert facts["bits_per_byte"] == pytest.approx(6 / math.log(2) / 8)
    assert math.isnan(summary(Score())["perplexity"])
    assert Score(log_prob_nats=-1e6, num_tokens=1).perplexity == math.inf
    assert [in_base(-math.log(100), base) for base in ("10", "e")] == pytest.approx([-2, -math.log(100)])


def test_records_give_their_tokens():
    (score,) = scored("a\té", per_token=True)
    options = ScoreOptions(per_token=True, log_base="2")
    fields = score_fields(score, options)
    assert [token["token"] for token in fields["tokens"]] == ["a", "\t", "é", "\n"]
    assert [token["unknown"] for token in fields["tokens"]] == [False, True, True, False]
    assert sum(token["log_prob"] for token in fields["tokens"]) == pytest.approx(fields["log_prob"])
    lines = list(TabSeparated(options).lines(score))
    assert [line.split("\t")[2] for line in lines] == ["a", "\\t", "é", "\\n"]
    assert len({line.count("\t") for line in lines}) == 1


def test_the_bytes_of_an_unscored_first_token_do_not_count():
    tokenizer = ByteTokenizer(Vocabulary(tuple(map(str, range(256))), (1,) * 256, 10, None), "stream")
    shape = Architecture("rnn", 256, 3, 5, 1)
    engine = Engine(shape, ramp_weights(shape))
    for text, chars, num_bytes in (("\u00e9a", 3, 3), ("ab", 2, 2)):
        (score,) = scored(text, engine=engine, tokenizer=tokenizer, bos=False)
        assert (score.num_tokens, score.num_chars, score.num_bytes) == (num_bytes, chars, num_bytes)


@pytest.mark.parametrize(
    ("num_texts", "sizes"),
    [(0, []), (127, [127]), (128, [64, 64]), (601, [301, 300]), (1024, [512, 512]), (1026, [257, 257, 257, 255])],
)
def test_batches_are_of_one_size_and_an_even_number(num_texts, sizes):
    units = [scorer._encode(1, "ab", LETTERS, ScoreOptions(), False)] * num_texts
    batches = list(scorer._batches(list(range(num_texts)), units, 100))
    assert [len(batch) for batch in batches] == sizes
    assert list(itertools.chain(*batches)) == list(range(num_texts))
