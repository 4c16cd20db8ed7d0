"""The benchmarks of recall: their lines, their options, what they count as right, and the names that they find."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks.copying import options_of, recall
from tests.benchmarks.copying_data import copying_lines
from tests.benchmarks.recurring_names import groups, names


def test_lines_repeat_their_letters_after_the_delay_and_are_the_same_each_time():
    lines = list(copying_lines(30, 50, seed=3))
    assert lines == list(copying_lines(30, 50, seed=3))
    assert len(set(lines)) == 50
    assert set(lines).isdisjoint(copying_lines(30, 50, seed=4))
    for line in lines:
        assert line == line[:8] + "." * 30 + ">" + line[:8]
        assert line[:8].isalpha()


def test_a_variant_is_a_name_and_options():
    assert options_of("deep: cell=gru num_layers=2 dropout=0.1 dynamic=True") == (
        "deep",
        {"cell": "gru", "num_layers": 2, "dropout": 0.1, "dynamic": True},
    )


def test_only_the_repeated_letters_count():
    """A model that knows the first of them, and nothing else of the line."""

    def log_probs(line):
        probs = np.full((len(line), 128), 0.5 / 127)
        probs[-8, ord(line[-8])] = 0.5
        return np.log(probs)

    model = SimpleNamespace(
        log_probs=log_probs, tokenizer=SimpleNamespace(encode=lambda text: np.array([ord(letter) for letter in text]))
    )
    right, nats = recall(model, delay=10, num_lines=20)
    assert abs(right - 1 / 8) < 0.05  # ties fall to the first token, which no letter is
    assert nats == pytest.approx(-(np.log(0.5) + 7 * np.log(0.5 / 127)) / 8)


def test_names_are_headings_and_capitalized_words_within_sentences():
    text = "ROMEO:\nGood night, Juliet, said he. The night\n\nROMEO:\nO Juliet, my Night\n"
    assert [(text[start:end], kind) for start, end, kind in names(text)] == [
        ("ROMEO", "heading"),
        ("Juliet", "in the text"),
        ("ROMEO", "heading"),
    ]
    assert {key: len(places) for key, places in groups(text).items()} == {
        ("heading", "not"): 1,
        ("in the text", "not"): 1,
        ("heading", "in the last 512"): 1,
    }
