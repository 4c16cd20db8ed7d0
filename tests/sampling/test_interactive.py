import numpy as np
import pytest

from charnn.config import SampleOptions, TextOptions
from charnn.errors import OptionError, UnknownTokenError
from charnn.inference.engine import log_softmax
from charnn.inference.prompt import prefill, read_context
from charnn.inference.stepper import stepper_for
from charnn.sampling.interactive import InteractiveWriter
from charnn.sampling.streams import SampleRequest
from tests.conftest import trained_tokenizer
from tests.sampling.test_sampler import LETTERS, LINES, engine_for, written


def writer_for(tokenizer=LETTERS, prompt="ab", **options):
    engine = engine_for(tokenizer)
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, tokenizer, tokenizer.encode(prompt))
    return InteractiveWriter(stepper, tokenizer, SampleRequest(start, 1), SampleOptions(**options))


def expected_choices(text, count):
    logits, _ = read_context(engine_for(LETTERS), LETTERS, LETTERS.encode(text))
    log_probs = log_softmax(logits)[0]
    order = [id for id in np.argsort(-log_probs).tolist() if id != 0]
    return [(id, pytest.approx(log_probs[id], abs=1e-5)) for id in order[:count]]


def test_the_choices_are_those_of_the_model_after_the_text_so_far():
    writer = writer_for()
    assert writer.alternatives(3) == expected_choices("ab", 3)
    writer.take(3)
    assert writer.text == "c"
    assert writer.alternatives(3) == expected_choices("abc", 3)
    writer.insert("ba")
    assert writer.text == "cba"
    assert writer.alternatives(9) == expected_choices("abcba", 4)


def test_turns_are_taken_back_one_by_one():
    writer = writer_for()
    writer.take(1)
    writer.run(7)
    writer.insert("bb")
    before = writer.text
    assert writer.undo() == 2
    assert writer.text == before[:8]
    assert writer.alternatives(4) == expected_choices("ab" + before[:8], 4)
    assert writer.undo(2) == 8
    assert (writer.text, writer.undo()) == ("", 0)


def test_a_turn_is_tried_again_with_as_many_tokens_and_other_draws():
    writer = writer_for()
    assert not writer.again()
    writer.take(1)
    writer.run(30)
    before = writer.text
    assert writer.again()
    assert len(writer.text) == 31
    assert writer.text != before
    assert writer.text[0] == before[0]


def test_another_temperature_counts_from_then_on():
    writer = writer_for(temperature=1.0, final_temperature=2.0)
    writer.set_temperature(0)
    writer.run(12)
    assert writer.text == written(prompt="ab", greedy=True, length=12)[0].text
    with pytest.raises(OptionError):
        writer.set_temperature(-1)
    assert writer.temperature == 0


def test_a_text_that_has_ended_takes_nothing_more_and_can_be_taken_back():
    writer = writer_for(LINES)
    end = LINES.vocabulary.boundary_id
    writer.take(1)
    writer.take(end)
    assert writer.ended == "unit"
    writer.run(5)
    assert writer.text == "a"
    assert writer.undo() == 0
    assert writer.ended is None
    assert writer.text == "a"


def test_rules_hold_and_what_they_rule_out_is_no_choice():
    writer = writer_for(ban="a", match="(bc)+")
    assert [id for id, _ in writer.alternatives(9)] == [2]
    writer.run(6)
    assert writer.text == "bcbcbc"
    stuck = writer_for(match="b")
    stuck.run(5)
    assert (stuck.text, stuck.ended) == ("b", "match")
    stuck.undo()
    assert stuck.ended is None


WORDS = trained_tokenizer(TextOptions(tokenizer="word", min_count=1), "The fo fox ran . Then waits\n")


def words_after(prompt, **options):
    ids = WORDS.encode(prompt.removesuffix(" "))
    engine = engine_for(WORDS)
    stepper = stepper_for(engine, engine.initial_state())
    request = SampleRequest(prefill(stepper, WORDS, ids), 1, prompt)
    return InteractiveWriter(stepper, WORDS, request, SampleOptions(**options))


def test_a_text_of_ones_own_completes_the_last_word_of_the_prompt():
    writer = words_after("The fo")
    writer.insert("x ran")
    assert writer.text == "x ran"
    writer.insert(".")
    assert (writer.text, WORDS.vocabulary.unknown_id in writer._place().all_ids) == ("x ran.", False)
    assert writer._place().all_ids == WORDS.encode("The fox ran.").tolist()
    assert writer.undo(2) == 3
    assert (writer.text, writer._place().all_ids) == ("", WORDS.encode("The fo").tolist())


def test_a_space_at_the_end_of_the_prompt_stands_before_it():
    writer = words_after("The fo ")
    writer.insert("fox")
    assert writer.text == " fox"
    assert writer._place().all_ids == WORDS.encode("The fo fox").tolist()


def test_what_completes_a_word_counts_for_stops_and_patterns():
    writer = words_after("The fo", stop=("x ra",))
    writer.insert("x ran")
    assert (writer.text, writer.ended) == ("", "stop")
    writer = words_after("The fo", match="x (ran )*waits")
    writer.insert("x")
    assert {WORDS.vocabulary.tokens[id] for id, _ in writer.alternatives(9)} == {"ran", "waits", " "}


def test_unknown_words_of_the_prompt_do_not_change_that():
    for on_unknown, unknown in (("skip", []), ("unk", [0])):
        ids = [*unknown, *WORDS.encode("fo").tolist()]
        engine = engine_for(WORDS)
        stepper = stepper_for(engine, engine.initial_state())
        start = prefill(stepper, WORDS, np.array(ids))
        request = SampleRequest(start, 1, "zebra fo")
        writer = InteractiveWriter(stepper, WORDS, request, SampleOptions(on_unknown=on_unknown))
        writer.insert("x")
        writer.insert(" ran")
        assert writer._place().all_ids == [*unknown, *WORDS.encode("fox ran").tolist()]
        assert writer.text == "x ran"


def test_a_text_of_ones_own_must_be_known():
    with pytest.raises(UnknownTokenError, match=r"text: character 'z' \(U\+007A\) at position 2"):
        writer_for().insert("az")
