import pytest

from charnn.config import ModelOptions, SampleOptions, TextOptions, TrainingOptions
from charnn.config.compatibility import check_compatibility, merge_recipe
from charnn.errors import OptionError
from charnn.options import Option, as_json, flags_of, pick


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainingOptions(dropout=1.0), "--dropout: found 1, but it must be at least 0 and below 1"),
        (lambda: TrainingOptions(minutes=0), "--minutes: found 0, but it must be above 0"),
        (lambda: SampleOptions(top_p=1.5), "--top-p: found 1.5, but it must be above 0 and at most 1"),
        (lambda: TrainingOptions(bptt_length=0), "--bptt: found 0, but it must be at least 1"),
        (lambda: TextOptions(unit="page"), "--unit: found 'page', but it must be one of stream, line, document, tune"),  # type: ignore[arg-type]
        (lambda: SampleOptions(length=-2), "--length: found -2, but it must be at least -1"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bounds(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretokenized": True}, "--pretokenized: has no effect without --tokenizer word"),
        ({"subword_model": "bpe"}, "--subword-model: has no effect without --tokenizer subword"),
        (
            {"tokenizer": "byte", "vocab_size": 9},
            "--vocab-size: has no effect without --tokenizer char, word, subword or bins",
        ),
        ({"tokenizer": "subword", "min_count": 9}, "--min-count: has no effect without --tokenizer char or word"),
        (
            {"tokenizer": "byte", "encoding": "cp1252"},
            "--encoding: has no effect without --tokenizer char, word, subword or bins",
        ),
        ({"tokenizer": "bins", "unit": "tune"}, "--unit tune: cannot be combined with --tokenizer bins"),
        (
            {"tokenizer": "bins", "fasta_case": "keep"},
            "--fasta-case: has no effect without --tokenizer char or subword",
        ),
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


def test_what_a_user_gives_leaves_a_recipes_idle_options_out():
    recipe = {"cell": "mogrifier", "mogrifier_rank": 4, "mogrifier_rounds": 5, "carry_length": 0, "dropout": 0.3}
    assert merge_recipe(recipe, {}) == (recipe, [])
    assert merge_recipe(recipe, {"cell": "lstm"}) == (
        {"cell": "lstm", "carry_length": 0, "dropout": 0.3},
        ["--mogrifier-rank", "--mogrifier-rounds"],
    )
    assert merge_recipe(recipe, {"unit": "line"})[1] == ["--carry"]
    with pytest.raises(OptionError, match="--mogrifier-rounds or --mogrifier-rank: has no effect without"):
        merge_recipe(recipe, {"cell": "lstm", "mogrifier_rank": 3})
    sgd = {"optimizer": "sgd", "learning_rate": 20.0, "schedule": "exponential", "hold": 0.3}
    assert merge_recipe(sgd, {"optimizer": "adamw"}) == (
        {"optimizer": "adamw"},
        ["--learning-rate", "--schedule", "--hold"],
    )
    assert merge_recipe(sgd, {"schedule": "constant"})[1] == ["--hold"]
    assert merge_recipe(sgd, {"optimizer": "sgd"})[1] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (({"unit": "line"}, {}, {"carry_length": 0}), "--carry: has no effect without --unit stream"),
        (
            ({}, {"cell": "mingru"}, {"weight_drop": 0.5}),
            "--weight-drop: has no effect without a cell that has recurrent matrices",
        ),
        (
            ({}, {"cell": "minlstm"}, {"dropout_kind": "variational"}),
            "--dropout-kind variational: has no effect without a cell",
        ),
        (
            ({}, {"num_layers": 1}, {"hidden_dropout": 0.5}),
            "--hidden-dropout: has no effect without --num-layers 2 or more",
        ),
    ],
)
def test_options_that_those_of_another_group_make_idle_are_refused(options, message):
    groups = (TextOptions, ModelOptions, TrainingOptions)
    with pytest.raises(OptionError, match=message):
        check_compatibility(*(group(**given) for group, given in zip(groups, options, strict=True)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelOptions(leak=0.5), "--leak: has no effect without --cell leaky"),
        (lambda: ModelOptions(cell="rnn", forget_bias=2), "--forget-bias: has no effect without a --cell with gates"),
        (lambda: ModelOptions(forget_bias=float("nan")), "--forget-bias: found nan, but it must be at least -20"),
        (lambda: ModelOptions(nonlinearity="relu"), "--nonlinearity: has no effect without --cell rnn or leaky"),
        (lambda: ModelOptions(cell="mingru", skip=4), "--skip: found with --cell mingru, which does not support it"),
        (lambda: ModelOptions(skip=1), "--skip: found 1, which is the ordinary recurrence"),
        (
            lambda: ModelOptions(inputs="one-hot", tie_weights=True),
            "--tie-weights: has no effect without --inputs embedding",
        ),
        (lambda: ModelOptions(residual=True, num_layers=1), "--residual: has no effect without --num-layers 2 or more"),
        (
            lambda: ModelOptions(init_range=0.1),
            "--init-range: has no effect without --init-input or --init-recurrent uniform",
        ),
        (
            lambda: TrainingOptions(hold=0.5, schedule="constant"),
            "--hold: has no effect without --schedule linear, cosine",
        ),
        (
            lambda: TrainingOptions(final_rate=0.5, schedule="plateau"),
            "--final-rate: has no effect without a --schedule with decay",
        ),
        (
            lambda: TrainingOptions(hold=0.1, warmup=0.2),
            "--hold: found 0.1, but it must be at least --warmup 0.2, or 0",
        ),
        (
            lambda: TrainingOptions(sampling_passes=2),
            "--sampling-passes: has no effect without --teacher-forcing below 1",
        ),
        (
            lambda: TrainingOptions(teacher_forcing=0.5, bptt_length=1),
            "--teacher-forcing: has no effect without --bptt 2 or more",
        ),
        (
            lambda: TrainingOptions(teacher_forcing=0, teacher_forcing_schedule="exponential"),
            "--teacher-forcing: found 0, which exponential decay never reaches",
        ),
    ],
)
def test_a_technique_without_what_it_needs_is_refused(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert message in str(error.value)
