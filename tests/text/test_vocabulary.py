import numpy as np
import pytest

from charnn.text.vocabulary import Vocabulary, build_vocabulary, replaceable_tokens

COUNTS = {"e": 50, "t": 30, "z": 1, "\n": 5, "q": 2}


def test_tokens_stand_in_order_of_their_counts_after_unk():
    vocabulary = build_vocabulary(COUNTS, boundary="\n")
    assert vocabulary.tokens == ("<unk>", "e", "t", "\n", "q", "z")
    assert vocabulary.counts == (0, 50, 30, 5, 2, 1)
    assert vocabulary.boundary_id == 3


def test_rare_tokens_become_unk_with_their_counts():
    vocabulary = build_vocabulary(COUNTS, boundary="\n", min_count=3)
    assert vocabulary.tokens == ("<unk>", "e", "t", "\n")
    assert vocabulary.counts[0] == 1 + 2
    assert vocabulary.id_of("z") == vocabulary.id_of("never seen") == 0


@pytest.mark.parametrize("size", [3, 4, 5])
def test_the_size_counts_the_specials(size):
    vocabulary = build_vocabulary(COUNTS, boundary="\n", max_size=size)
    assert len(vocabulary) == size
    assert "\n" in vocabulary.tokens


def test_the_boundary_is_kept_even_if_it_never_occurs():
    vocabulary = build_vocabulary({"a": 1}, boundary="\n", always=["b"])
    assert set(vocabulary.tokens) == {"<unk>", "a", "\n", "b"}


def test_ids_are_stored_in_the_smallest_integers():
    def size(num_tokens):
        tokens = tuple(map(str, range(num_tokens)))
        return np.dtype(Vocabulary(tokens, (1,) * num_tokens, 0, None).dtype).itemsize

    assert [size(256), size(257), size(65_536), size(65_537)] == [1, 2, 2, 4]


def test_a_vocabulary_without_unknown_tokens_refuses_them():
    with pytest.raises(KeyError):
        Vocabulary(("a",), (1,), 0, None).id_of("b")


def test_the_rarest_tokens_stand_in_for_unk_where_nothing_is_unknown():
    # 10,000 tokens: the rarest types with at most 1 % of them together are z (1), y (40) and x (50).
    vocabulary = build_vocabulary({"a": 9_000, "b": 904, "x": 50, "y": 40, "z": 1, "\n": 5}, boundary="\n")
    chosen = np.array(vocabulary.tokens)[replaceable_tokens(vocabulary)]
    assert set(chosen) == {"x", "y", "z"}


def test_the_single_rarest_token_stands_in_even_if_it_is_common():
    vocabulary = build_vocabulary({"a": 60, "b": 40}, boundary="\n")
    assert np.array(vocabulary.tokens)[replaceable_tokens(vocabulary)].tolist() == ["b"]


def test_nothing_stands_in_where_unk_is_learned_from_the_text_or_cannot_occur():
    assert not replaceable_tokens(build_vocabulary(COUNTS, boundary="\n", min_count=2)).any()
    assert not replaceable_tokens(Vocabulary(("a", "b"), (5, 1), 0, None)).any()
