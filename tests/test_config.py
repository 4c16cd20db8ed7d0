import pytest

from charnn.config import ModelOptions, SampleOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError
from charnn.options import Option, as_json, flags_of, pick


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainingOptions(dropout=1.0), "--dropout: found 1, but it must be at least 0 and below 1"),
        (lambda: TrainingOptions(minutes=0), "--minutes: found 0, but it must be above 0"),
        (lambda: SampleOptions(top_p=1.5), "--top-p: found 1.5, but it must be above 0 and at most 1"),
        (lambda: TrainingOptions(bptt_length=0), "--bptt: found 0, but it must be at least 1"),
        (lambda: TextOptions(unit="page"), "--unit: found 'page', but it must be one of stream, line, document"),  # type: ignore[arg-type]
        (lambda: SampleOptions(length=0), "--length: found 0, but it must be at least 1"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bounds(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretokenized": True}, "--pretokenized: found without --tokenizer word, where it would do nothing"),
        ({"subword_model": "bpe"}, "--subword-model: found without --tokenizer subword"),
        ({"tokenizer": "byte", "vocab_size": 9}, "--vocab-size: found without another --tokenizer than byte"),
        ({"tokenizer": "subword", "min_count": 9}, "--min-count: found without --tokenizer char or word"),
        ({"tokenizer": "byte", "encoding": "cp1252"}, "--encoding: found without another --tokenizer than byte"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options, message):
    with pytest.raises(OptionError) as error:
        TextOptions(**options)
    assert str(error.value).startswith(message)


def test_bounds_are_where_they_are_said_to_be():
    option = Option("", at_least=0, below=1)
    assert option.complaint(0) is None
    assert option.complaint(0.999) is None
    assert option.complaint(1) == option.complaint(-0.1) == "must be at least 0 and below 1"


def test_picking_takes_only_a_groups_own_fields():
    given = {"cell": "gru", "seed": 7, "hidden_size": 12}
    assert pick(ModelOptions, given) == ModelOptions(cell="gru", hidden_size=12)
    assert pick(TrainingOptions, given).seed == 7


def test_options_survive_json():
    options = TrainingOptions(steps=10, dropout=0.25)
    assert pick(TrainingOptions, as_json(options)) == options


def test_a_flag_is_the_fields_name_unless_it_says_otherwise():
    assert flags_of("hidden_size", Option("")) == ("--hidden-size",)
    assert flags_of("length", Option("", flags=("-n", "--length"))) == ("-n", "--length")
