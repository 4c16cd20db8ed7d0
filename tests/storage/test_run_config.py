"""The configuration of a run: what is written is read again, and what older versions wrote is brought up to date.

`formats/` holds a `config.json` as the first versions of charnn with formats 1 and 2 wrote it.
"""

import copy
import json
from dataclasses import asdict, fields
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn import __version__
from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions
from charnn.errors import ModelError
from charnn.files import json_bytes
from charnn.options import declared_options
from charnn.storage.model_directory import read_config
from charnn.storage.run_config import ParentFacts, PlanFacts, Results, RunConfig, Versions
from charnn.text.facts import SplitSize, TextFile
from tests.conftest import REPOSITORY

FORMATS = REPOSITORY / "tests" / "storage" / "formats"
GROUPS = {"text": TextOptions, "model": ModelOptions, "training": TrainingOptions}


def stored(version):
    return json.loads((FORMATS / f"config-{version}.json").read_text(encoding="utf-8"))


def values_of(hint):
    """Return what a field of this type may hold."""
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(values_of, get_args(hint)))
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is list:
        return st.lists(values_of(*get_args(hint)), max_size=3)
    if get_origin(hint) is tuple:
        return st.just([2, 1])  # of an architecture with n-grams of orders 2 and 3
    return {
        NoneType: st.none(),
        bool: st.booleans(),
        int: st.integers(1, 2**40),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(max_size=8),
    }[hint]


@st.composite
def objects_like(draw, example):
    """Return a dataclass as a JSON object, a few of its fields having other values."""
    hints = get_type_hints(type(example))
    names = draw(st.lists(st.sampled_from([each.name for each in fields(example)]), max_size=3, unique=True))
    return asdict(example) | {name: draw(values_of(hints[name])) for name in names}


PLAN = PlanFacts(
    device="cpu", precision="fp32", evaluation_interval=0.05, max_valid_tokens=2000, evaluation_seconds=0.1
)

PARENT = ParentFacts(path="/runs/book", generation=120, sha256="ab", vocab_size=65, unit="stream")


@st.composite
def configs(draw):
    """Return what `config.json` may say in its present format."""
    asked = {name: draw(objects_like(group())) for name, group in GROUPS.items()}
    shape, training = draw(objects_like(Architecture("gru", 65, 8, 16, 1))), draw(objects_like(TrainingOptions()))
    for name, (_, option) in declared_options(ModelOptions).items():
        if name in shape and option.at_most is not None:
            shape[name] = min(shape[name], option.at_most)
    if shape["ngram_table_sizes"] is not None:
        shape["embedding_order"] = 3
    if shape["ngram_vocab_size"] is None:
        del shape["ngram_vocab_size"]
    has_words = shape["vocab_size"] < 100 and draw(st.booleans())
    shape["word_rows"], shape["word_codes"] = (31, [*range(shape["vocab_size"])]) if has_words else (0, None)
    if not shape["word_rows"]:
        del shape["word_rows"], shape["word_codes"]
    if not shape["num_labels"]:
        del shape["num_labels"]
    results = draw(objects_like(Results()))
    for each in fields(Results):  # what only models with labels have
        if each.name.startswith("label_") and results[each.name] == each.default:
            del results[each.name]
    parent = draw(st.none() | objects_like(PARENT))
    files = draw(st.lists(objects_like(TextFile("book.txt", 5, "ab")), max_size=2))
    for file in files:
        if file["of_bytes"] is None:
            del file["of_bytes"]
    model = asked["model"] | {name: shape[name] for name in asked["model"] if name in shape}
    return {
        "format_version": 3,
        "generation": draw(st.integers(0, 10**6)),
        **{f"{name}_version": value for name, value in draw(objects_like(Versions())).items()},
        "seed": training["seed"],
        "architecture": shape,
        "options": {"text": asked["text"], "model": model, "training": training},
        "options_given": asked,
        "plan": draw(objects_like(PLAN)),
        "tokenizer_sha256": draw(st.text(max_size=8)),
        "corpus": {
            "files": files,
            "train": draw(objects_like(SplitSize())),
            "valid": draw(objects_like(SplitSize())),
        },
        "mixture_weights": draw(st.none() | st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), max_size=3)),
        "results": results,
        "recipe": draw(st.none() | st.text(max_size=8)),
        **({} if parent is None else {"parent": parent}),
    }


def without_header(content):
    return {key: value for key, value in content.items() if key not in ("format_version", "generation")}


@settings(max_examples=40, deadline=None)
@given(configs())
def test_what_is_read_is_written_again(content):
    config = RunConfig.from_json(content, "config.json")
    assert json_bytes(config.to_json()) == json_bytes(without_header(content))
    assert config.later_options == frozenset()


def test_a_run_writes_the_bytes_that_it_reads(run):
    content = (run / "config.json").read_bytes()
    header = {key: json.loads(content)[key] for key in ("format_version", "generation")}
    assert json_bytes({**header, **read_config(run).to_json()}) == content


def test_sizes_and_seed_are_written_where_the_format_has_them(run):
    """They are stored once: the sizes in the architecture, the seed among the options of training."""
    config = read_config(run)
    assert config.asked.model.embedding_order is None
    content = config.to_json()
    assert content["options"]["model"]["embedding_order"] == config.architecture.embedding_order == 3
    assert content["seed"] == content["options"]["training"]["seed"] == config.seed


def test_the_first_format_is_brought_up_to_date():
    """It planned a number of evaluations, and did not note which options had been left open."""
    config = RunConfig.from_json(stored(1), "config.json")
    assert config.architecture == Architecture("lstm", 65, 8, 16, 1)
    assert config.architecture.embedding_order == 1
    assert config.plan.evaluation_interval == 1  # one evaluation was planned
    assert config.plan.ngram_order == 0
    assert config.plan.expected_epochs is None
    assert config.asked.training.learning_rate == config.training.learning_rate == 0.008
    assert config.asked.model.direction == "forward"
    assert config.training.ngram_dropout == 0
    assert config.training.dropout_kind == "locked"
    assert config.training.teacher_forcing == 1
    assert config.results == Results(
        valid_loss_nats=3.8321554107666014,
        valid_num_tokens=2000,
        best_step=20,
        steps=20,
        seconds=20.81,
        stopped="budget",
    )
    assert config.mixture_weights is None
    assert config.recipe is None
    assert {"embedding_order", "ngram_order", "carry_length", "threads", "spell"} < config.later_options
    assert "hidden_size" not in config.later_options


def test_evaluations_are_as_far_apart_as_their_number_says():
    content = stored(1)
    content["plan"]["num_evaluations"] = 8
    assert RunConfig.from_json(content, "config.json").plan.evaluation_interval == 1 / 8


def test_the_second_format_is_brought_up_to_date():
    config = RunConfig.from_json(stored(2), "config.json")
    assert config.architecture == Architecture("lstm", 65, 8, 16, 1, embedding_order=2)
    assert config.asked.model.num_layers is None
    assert config.asked.training.dropout is None
    assert config.training.dropout == config.training.ngram_dropout == 0
    assert config.plan.expected_epochs == 0.009995939149720426
    assert len(config.mixture_weights) == config.results.ngram_order == 7
    assert config.mixture_weights[0] == [1, 0, 0, 0.0006118436058025777, 1 - 0.0006118436058025777]
    assert "num_threads" not in config.to_json()["plan"]


def test_an_early_file_of_the_present_format_is_read(run):
    """Threads were planned then, the option of theirs came later, and so did recipes."""
    content = json.loads((run / "config.json").read_text(encoding="utf-8"))
    content["plan"]["num_threads"] = 2
    del content["recipe"]
    for part in ("options", "options_given"):
        del content[part]["training"]["threads"]
    config = RunConfig.from_json(content, "config.json")
    assert config.later_options == {"threads"}
    assert config.to_json() == read_config(run).to_json()


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_brought_up_to_date_is_read_as_the_present_format(version):
    config = RunConfig.from_json(stored(version), "config.json")
    again = RunConfig.from_json(json.loads(json_bytes({"format_version": 3, "generation": 0, **config.to_json()})), "")
    assert again.later_options == frozenset()
    assert again.to_json() == config.to_json()
    assert (again.asked, again.training, again.plan) == (config.asked, config.training, config.plan)


def inside(content, *keys):
    for key in keys:
        content = content[key]
    return content


UNKNOWN = [
    (),
    ("plan",),
    ("results",),
    ("corpus",),
    ("corpus", "train"),
    ("options",),
    ("options", "training"),
    ("options_given", "text"),
]


@pytest.mark.parametrize("keys", UNKNOWN, ids=".".join)
def test_an_unknown_key_names_the_version_that_wrote_it(run, keys):
    """It would be lost when the run is resumed and the file written again."""
    content = json.loads((run / "config.json").read_text(encoding="utf-8"))
    content["charnn_version"] = "9.1"
    inside(content, *keys)["future"] = {}
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError) as error:
        read_config(run)
    assert str(error.value) == (
        f"{run / 'config.json'}: found {'.'.join((*keys, 'future'))}, which format version 3 does not have in charnn "
        f"{__version__}; it was written by charnn 9.1: install a newer charnn"
    )


@pytest.mark.parametrize("keys", [keys for keys in UNKNOWN if keys != ("options",)], ids=".".join)
def test_what_older_formats_had_beside_is_passed_over(keys):
    content = stored(2)
    inside(content, *keys)["retired"] = 1
    assert RunConfig.from_json(content, "") == RunConfig.from_json(stored(2), "")


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("architecture", "hidden_size"), 0, "unknown hidden size 0"),
        (("architecture", "skip"), -1, "unknown skip -1"),
        (("architecture", "ngram_table_sizes"), [900, 4001], "unknown ngram table sizes [900, 4001]"),
        (("architecture", "ngram_table_sizes"), [], "unknown ngram table sizes []"),
        (("architecture", "ngram_table_sizes"), [0], "unknown ngram table sizes [0]"),
        (("architecture", "ngram_table_sizes"), [16_382], "unknown ngram table sizes [16382]"),
        (("architecture", "ngram_table_sizes"), [True], "unknown ngram table sizes [True]"),
        (("architecture", "ngram_table_sizes"), 900, "unknown ngram table sizes 900"),
        (("architecture", "num_layers"), True, "unknown num layers True"),
        (("architecture", "future"), 1, "unexpected keyword argument 'future'"),
        (("options", "training", "optimizer"), "adam", "unknown optimizer 'adam'"),
        (("options_given", "text", "spell"), 1, "unknown spell 1"),
        (("plan", "device"), None, "unknown device None"),
        (("plan",), {"device": "cpu"}, "'precision'"),
        (("results", "steps"), 1.5, "unknown steps 1.5"),
        (("results",), [], "[] is not a JSON object"),
        (("corpus", "train", "num_tokens"), "many", "unknown num tokens 'many'"),
        (("corpus", "files"), [{"name": "a"}], "num_bytes"),
        (("mixture_weights",), [0.5, "x"], "unknown mixture weights [0.5, 'x']"),
        (("tokenizer_sha256",), None, "unknown tokenizer sha256 None"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(keys, value, named):
    content = stored(2)
    inside(content, *keys[:-1])[keys[-1]] = value
    with pytest.raises(ModelError) as error:
        RunConfig.from_json(content, "m/config.json")
    assert str(error.value).startswith("m/config.json: does not describe a model that charnn knows (")
    assert str(error.value).endswith("); restore the file")
    assert named in str(error.value)


@pytest.mark.parametrize("part", ["architecture", "options", "plan", "corpus", "results"])
def test_a_part_that_is_missing_is_named(part):
    content = stored(2)
    del content[part]
    with pytest.raises(ModelError, match=f"does not describe a model that charnn knows \\('{part}'\\)"):
        RunConfig.from_json(content, "config.json")


def test_reading_leaves_what_it_was_given_as_it_was():
    content = stored(1)
    before = copy.deepcopy(content)
    RunConfig.from_json(content, "config.json").results.steps = 99
    assert content == before


def test_options_are_not_refused_by_rules_that_came_later():
    """A text was once validated on a file and had a fraction to hold out beside it, which is refused now."""
    content = stored(2)
    content["options_given"]["text"] |= {"valid": "held-out.txt", "valid_fraction": 0.2}
    assert RunConfig.from_json(content, "config.json").asked.text.valid_fraction == 0.2


def test_a_run_of_the_first_format_goes_on(charnn, run):
    """What that format did not have is missing; the weights of this run embed n-grams, so their order stays."""
    content, old = json.loads((run / "config.json").read_text(encoding="utf-8")), stored(1)
    content["plan"] = {name: content["plan"][name] for name in content["plan"] if name in old["plan"]}
    content["plan"]["num_evaluations"] = 4
    content["results"] = {name: content["results"][name] for name in old["results"]}
    for name, group in content["options"].items():
        content["options"][name] = {key: group[key] for key in old["options"][name]}
    del content["options_given"], content["mixture_weights"], content["recipe"]
    content["format_version"] = 1
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    refused = charnn("train", "--resume", "-o", run, "--steps", 130, "--carry", 64)
    assert "--carry: found 64, but the run to resume was started with no such option; leave it out" in refused.err
    resumed = charnn("train", "--resume", "-o", run, "--steps", 130)
    assert resumed.status == 0, resumed.err
    config = read_config(run)
    assert config.results.steps == 130
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["format_version"] == 3
    assert json.loads(charnn("info", run, "--json").out)["steps"] == 130
