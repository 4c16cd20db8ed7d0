import itertools

import numpy as np
import pytest

from charnn.config import SampleOptions
from charnn.inference.engine import log_softmax
from charnn.inference.prompt import prefill, read_context
from charnn.inference.stepper import stepper_for
from charnn.sampling.beam import BeamSearch, best_continuations
from charnn.sampling.streams import Stream
from tests.sampling.test_sampler import LETTERS, LINES, engine_for, written


def found(tokenizer=LETTERS, prompt="", **options):
    engine = engine_for(tokenizer)
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, tokenizer, tokenizer.encode(prompt))
    return BeamSearch(stepper, tokenizer, start, SampleOptions(**options)).run()


def log_prob(tokenizer, prompt, ids):
    """Score by the engine's own steps."""
    engine = engine_for(tokenizer)
    logits, state = read_context(engine, tokenizer, tokenizer.encode(prompt))
    total = 0.0
    for id in ids:
        total += log_softmax(logits)[0, id]
        logits, state = engine.step(np.array([id]), state)
    return total


def test_a_beam_of_full_width_finds_the_best_strings_there_are():
    length = 5
    every = {ids: log_prob(LETTERS, "a", ids) for ids in itertools.product((1, 2, 3, 4), repeat=length)}
    best = sorted(every, key=lambda ids: -every[ids])[:10]
    samples = found(prompt="a", beam=4**length, num_samples=10, length=length)
    assert [tuple(sample.ids) for sample in samples] == best
    assert [sample.log_prob_nats for sample in samples] == pytest.approx([every[ids] for ids in best], abs=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_beam_of_full_width_finds_the_best_lines_of_any_length(penalty):
    length, end = 4, LINES.vocabulary.boundary_id
    every = {}
    for size in range(length):
        every |= {(*ids, end): log_prob(LINES, "", (*ids, end)) for ids in itertools.product((1, 2, 3), repeat=size)}
    every |= {ids: log_prob(LINES, "", ids) for ids in itertools.product((1, 2, 3), repeat=length)}
    best = sorted(every, key=lambda ids: -every[ids] / len(ids) ** penalty)[:8]
    samples = found(LINES, beam=4**length, num_samples=8, length=length, length_penalty=penalty)
    assert [tuple(sample.ids) for sample in samples] == [tuple(id for id in ids if id != end) for ids in best]
    assert [sample.ended for sample in samples] == ["unit" if ids[-1] == end else "length" for ids in best]


def test_a_beam_of_one_is_greedy():
    (sample,) = found(prompt="a", beam=1, length=30)
    assert sample.ids == written(prompt="a", greedy=True, length=30)[0].ids


def test_a_wider_beam_is_never_worse_here():
    scores = [found(prompt="b", beam=beam, length=12)[0].log_prob_nats for beam in (1, 4, 16, 64)]
    assert all(wider > narrower - 1e-6 for narrower, wider in itertools.pairwise(scores))  # rounding aside


def test_groups_differ_from_those_before_them():
    alike = found(prompt="a", beam=4, num_samples=4, length=12)
    groups = found(prompt="a", beam=4, num_samples=4, length=12, beam_groups=4, diversity=5.0)

    def num_agreeing(samples):
        pairs = itertools.combinations(samples, 2)
        return sum(one == other for first, second in pairs for one, other in zip(first.ids, second.ids, strict=True))

    assert num_agreeing(groups) < num_agreeing(alike)
    assert groups[0].ids == written(prompt="a", greedy=True, length=12)[0].ids


def test_a_diversity_of_nothing_makes_all_groups_the_same():
    samples = found(prompt="a", beam=3, num_samples=3, length=6, beam_groups=3, diversity=0.0)
    assert len({sample.text for sample in samples}) == 1


def test_rules_hold_in_a_beam():
    (sample,) = found(prompt="a", beam=8, length=20, match="(ab|c)+\\nb")
    assert sample.ended == "match"
    assert all(piece == "" for piece in sample.text.removesuffix("\nb").replace("ab", "").split("c"))
    (sample,) = found(prompt="a", beam=8, length=40, no_repeat_ngram=2)
    runs = [sample.text[place : place + 2] for place in range(len(sample.text) - 1)]
    assert len(set(runs)) == len(runs)
    assert sample.ended == "stuck"
    stopped = found(prompt="a", beam=5, num_samples=5, length=10, stop=("b",))
    assert all("b" not in sample.text for sample in stopped)
    assert "stop" in {sample.ended for sample in stopped}


def test_alternatives_stand_beside_each_token_of_a_beam():
    (sample,) = found(prompt="a", beam=3, length=5, show_alternatives=2)
    assert [len(alternatives) for alternatives in sample.alternatives] == [2] * 5


def test_a_text_is_found_once_however_many_ways_there_are_to_write_it():
    samples = found(prompt="a", beam=8, num_samples=8, length=6, stop=("b", "c"))
    assert len({sample.text for sample in samples}) == len(samples)


def test_the_best_of_each_group_come_first_by_their_score():
    samples = found(prompt="a", beam=8, num_samples=8, length=8, beam_groups=4)
    scores = [sample.log_prob_nats for sample in samples]
    assert scores[:4] == sorted(scores[:4], reverse=True)
    assert scores[4:] == sorted(scores[4:], reverse=True)


def test_with_a_bias_that_can_raise_scores_no_text_is_taken_too_early():
    early = found(LINES, beam=3, length=12)[0]
    late = found(LINES, beam=3, length=12, logit_bias=("a=11",))[0]
    assert late.ids == [1] * 12
    assert len(early.ids) < 12


def test_what_is_stuck_comes_after_what_is_complete():
    samples = found(prompt="a", beam=4, num_samples=2, length=30, match="a!|bcabcabc")
    assert [(sample.text, sample.ended) for sample in samples] == [("bcabcabc", "match"), ("a", "stuck")]


def test_an_interrupt_at_any_moment_leaves_the_best_texts_so_far(monkeypatch):
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, LETTERS, LETTERS.encode("a"))
    branch = Stream.branch
    for moment in range(2, 40):
        search = BeamSearch(stepper, LETTERS, start, SampleOptions(beam=4, num_samples=2, length=30))
        calls = iter(range(moment))

        def interrupted(stream, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return branch(stream)

        monkeypatch.setattr(Stream, "branch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.run()
        monkeypatch.setattr(Stream, "branch", branch)
        found_so_far = search.end("interrupted")
        assert found_so_far
        assert {sample.ended for sample in found_so_far} == {"interrupted"}
        assert len(found_so_far[0].text) >= moment // 4 - 1


@pytest.mark.parametrize("num_sorted", [1, 3, 100])
def test_continuations_come_by_falling_score_and_equal_ones_in_their_order(num_sorted):
    scores = np.random.default_rng(4).integers(-6, 0, (4, 5)).astype(float)
    scores[0, 2] = scores[3] = -np.inf
    every = [(row, id) for row, id in itertools.product(range(4), range(5)) if scores[row, id] > -np.inf]
    assert list(best_continuations(scores, num_sorted)) == sorted(every, key=lambda pair: -scores[pair])


def test_nothing_continues_a_beam_in_which_nothing_may_follow():
    assert list(best_continuations(np.full((2, 3), -np.inf), 4)) == []
