"""Backward and bidirectional models."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from charnn.config import Architecture, ScoreOptions
from charnn.errors import StorageError
from charnn.inference.engine import Engine
from charnn.scoring.cloze import find_gap, score_cloze
from charnn.scoring.scorer import estimator_of, score_units
from charnn.storage.model_directory import read_model
from charnn.text.corpus import open_ids, reverse_encoded
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.training.run import create, networks, session
from charnn.training.run.request import make_request
from tests.conftest import ramp_weights
from tests.training.test_techniques import interrupted_after_ten_steps

TEXT = "the cats which ate were full\nthe cat which ate was full\n" * 60
SMALL = ("--hidden-size", 12, "--precision", "fp32", "--batch-size", 4, "--bptt", 16, "--steps", 24)
LETTERS = CharTokenizer(
    Vocabulary(("\n", "<unk>", "a", "b", "c"), (9, 1, 8, 4, 2), boundary_id=0, unknown_id=1), "line"
)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


@pytest.mark.parametrize(("unit", "expected"), [("stream", "cba\n\nba"), ("line", "ba\ncba\n")])
def test_an_encoded_text_is_reversed_and_its_units_stay_closed(tmp_path, unit, expected, monkeypatch):
    monkeypatch.setattr("charnn.text.corpus.REVERSED_BLOCK_TOKENS", 2)
    tokenizer = CharTokenizer(LETTERS.vocabulary, unit)
    given = "ab\n\nabc" if unit == "stream" else "abc\nab\n"
    tokenizer.encode(given).astype(np.uint8).tofile(tmp_path / "ids")
    reverse_encoded(tmp_path / "ids", tmp_path / "ids", tokenizer)
    decoder = tokenizer.decoder()
    assert "".join(decoder.push(int(id)) for id in open_ids(tmp_path / "ids", tokenizer)) + decoder.flush() == expected


def engines():
    shape = {"vocab_size": 5, "embedding_size": 3, "hidden_size": 4, "num_layers": 1}
    weights = ramp_weights(Architecture("gru", **shape))
    return [Engine(Architecture("gru", **shape, direction=direction), weights) for direction in ("forward", "backward")]


def scored(engine, text, **options):
    (score,) = score_units(estimator_of(engine, LETTERS), LETTERS, [text], ScoreOptions(per_token=True, **options))
    return score


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("bos", [True, False])
def test_a_backward_score_is_the_forward_one_of_the_reversed_text(bos, eos):
    forward, backward = engines()
    reversed_score, score = scored(forward, "cbaa", bos=bos, eos=eos), scored(backward, "aabc", bos=bos, eos=eos)
    assert score.log_prob_nats == pytest.approx(reversed_score.log_prob_nats)
    assert (score.num_tokens, score.num_chars) == (reversed_score.num_tokens, reversed_score.num_chars)
    assert [token.token for token in score.tokens] == ["a", "a", "b", "c", *(["\n"] if eos else [])]
    expected = [token.log_prob_nats for token in reversed_score.tokens]
    assert [token.log_prob_nats for token in score.tokens[:4]] == expected[:4][::-1]


def test_a_blank_is_judged_by_what_stands_on_either_side_of_it():
    forward, backward = engines()
    blank = find_gap(LETTERS, "ab____ca", "____", on_unknown="error")
    assert [blank.left.tolist(), blank.right.tolist()] == [[2, 3], [4, 2]]
    judged = score_cloze(forward, backward, LETTERS, blank)
    for id, letter in ((2, "a"), (3, "b"), (4, "c")):
        expected = scored(forward, "ab" + letter, eos=False).tokens[-1].log_prob_nats
        assert judged["forward"][id] == pytest.approx(expected, abs=1e-5)
        expected = scored(backward, letter + "ca", eos=False).tokens[0].log_prob_nats
        assert judged["backward"][id] == pytest.approx(expected, abs=1e-5)
    unigram = np.array([10, 2, 9, 5, 3]) / 29
    product = np.exp(judged["forward"] + judged["backward"]) / unigram
    np.testing.assert_allclose(np.exp(judged["both"]), product / product.sum())
    assert set(score_cloze(None, backward, LETTERS, blank)) == {"backward"}


def test_a_text_has_at_most_one_blank(charnn, run):
    refused = charnn("predict", "The ____ and the ____", "-m", run)
    assert (refused.status, refused.out) == (1, "")
    assert "found 2 gaps (____), but one is scored at a time" in refused.err
    unknown = charnn("predict", "The Ж ____", "-m", run)
    assert "character 'Ж' (U+0416) at position 5 is not in the model's vocabulary" in unknown.err


def test_a_backward_model_is_validated_on_what_it_scores(charnn, text):
    done = charnn("train", text, *SMALL, "--direction", "backward", "-o", "m")
    assert done.status == 0, done.err
    held_out = TEXT[-round(len(TEXT) * 0.1) :]
    score = json.loads(charnn("score", "-m", "m", "--unit", "stream", "--text", held_out, "--format", "jsonl").out)
    facts = json.loads(charnn("info", "m", "--json").out)
    assert facts["direction"] == "backward"
    assert -score["log_prob"] / score["num_tokens"] == pytest.approx(facts["valid_loss_nats"], abs=1e-5)
    refused = charnn("sample", "-m", "m")
    assert "reads from right to left" in refused.err
    before = charnn("predict", "full", "-m", "m", "--format", "jsonl")
    assert json.loads(before.out.splitlines()[0])["token"] == " "


def test_a_bidirectional_model_is_trained_in_one_directory_and_both_halves_score(charnn, text):
    done = charnn("train", text, *SMALL, "--direction", "both", "-o", "m", "--unit", "line")
    assert done.status == 0, done.err
    models = [read_model(Path(name)) for name in ("m", "m/backward")]
    assert [model.architecture.direction for model in models] == ["forward", "backward"]
    scores = {}
    for direction in ("forward", "backward", "both"):
        found = charnn(
            "score", "-m", "m", "--text", "the cat", "--direction", direction, "--format", "jsonl", "--per-token"
        )
        scores[direction] = json.loads(found.out)
    own = charnn("score", "-m", "m/backward", "--text", "the cat", "--format", "jsonl", "--per-token")
    assert json.loads(own.out) == scores["backward"]
    assert scores["both"]["log_prob"] == pytest.approx(
        (scores["forward"]["log_prob"] + scores["backward"]["log_prob"]) / 2
    )
    assert scores["both"]["tokens"][2]["log_prob"] == pytest.approx(
        (scores["forward"]["tokens"][2]["log_prob"] + scores["backward"]["tokens"][2]["log_prob"]) / 2
    )
    rows = charnn("predict", "the ____at which", "-m", "m", "--format", "jsonl", "--top", 0).out.splitlines()
    records = [json.loads(row) for row in rows]
    assert set(records[0]) == {"token", "id", "prob", "forward", "backward", "both"}
    for name in ("forward", "backward", "both"):
        assert 0.9 < math.fsum(record[name] for record in records) <= 1 + 1e-6  # all but <unk>
    table = charnn("predict", "the ____at which", "-m", "m", "--top", 2)
    assert "from both sides" in table.out
    assert charnn("sample", "-m", "m", "-n", 5).status == 0


def test_both_halves_divide_the_minutes(charnn, text):
    assert charnn("train", text, *SMALL, "--minutes", 3, "--direction", "both", "-o", "m").status == 0
    assert [read_model(Path(name)).config.training.minutes for name in ("m", "m/backward")] == [
        1.5,
        1.5,
    ]


def test_an_interrupted_bidirectional_run_is_resumed(charnn, text, monkeypatch):
    arguments = ("train", text, *SMALL, "--direction", "both")
    assert charnn(*arguments, "-o", "whole").status == 0
    real = session.run
    monkeypatch.setattr(session, "run", interrupted_after_ten_steps(real))
    assert charnn(*arguments, "-o", "parts").status == 130
    assert not Path("parts/backward").exists()
    stopping = interrupted_after_ten_steps(real)
    monkeypatch.setattr(
        session,
        "run",
        lambda made, **options: (stopping if made.directory.name == "backward" else real)(made, **options),
    )
    assert charnn("train", "--resume", "-o", "parts").status == 130  # the forward half is done, the other stopped
    monkeypatch.setattr(session, "run", real)
    assert charnn("train", "--resume", "-o", "parts").status == 0
    for name in ("model.safetensors", "backward/model.safetensors"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    spent = charnn("train", "--resume", "-o", "parts")
    assert "has spent its budget" in spent.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("score", "--text", "The", "--direction", "backward"),
            "is a forward model, not a backward one",
        ),
        (
            ("score", "--text", "The", "--direction", "both", "--no-bos"),
            "--no-bos: cannot be combined with --direction both",
        ),
        (("predict", "The", "--direction", "both"), "--direction both: found no gap (____) in TEXT"),
        (("predict", "The ____", "--mix-ngram"), "--mix-ngram: cannot be combined with a gap (____) in TEXT"),
    ],
)
def test_unavailable_directions_are_refused(charnn, run, arguments, message):
    refused = charnn(*arguments, "-m", run)
    assert refused.status in (1, 2)
    assert message in refused.err
    assert refused.err.count("\n") == 1


def test_the_backward_half_names_the_run_to_resume_and_is_never_bidirectional_itself(charnn, text, monkeypatch):
    real = session.run
    stopping = interrupted_after_ten_steps(real)
    monkeypatch.setattr(
        session,
        "run",
        lambda made, **options: (stopping if made.directory.name == "backward" else real)(made, **options),
    )
    stopped = charnn("train", text, *SMALL, "--direction", "both", "-o", "m")
    assert "resume with: charnn train --resume -o m\n" in stopped.err
    monkeypatch.setattr(session, "run", real)
    done = charnn("train", "--resume", "-o", "m/backward")
    assert done.status == 0, done.err
    assert 'charnn predict "text with ____ in it" -m m\n' in done.err
    assert not Path("m/backward/backward").exists()


def test_the_advised_minutes_suffice_to_extend_a_bidirectional_run(charnn, text):
    options = ("--hidden-size", 12, "--precision", "fp32", "--batch-size", 4, "--minutes", 0.1, "--direction", "both")
    assert charnn("train", text, *options, "-o", "m").status == 0
    spent = charnn("train", "--resume", "-o", "m")
    assert "has spent its budget" in spent.err
    advice = spent.err.split("e.g. --resume --minutes ")[1].strip()
    spent_minutes = read_model(Path("m/backward")).config.results.seconds / 60
    assert float(advice) / 2 > 1.5 * spent_minutes


def test_rollouts_of_a_backward_model_read_backward(charnn, text):
    assert charnn("train", text, *SMALL, "--direction", "backward", "-o", "m", "--steps", 100).status == 0
    shown = charnn("score", "-m", "m", text, "--unit", "stream", "--rollout", 20, "--format", "jsonl")
    record = json.loads(shown.out.splitlines()[-1])
    loss = json.loads(charnn("info", "m", "--json").out)["valid_loss_nats"]
    assert record["true"] == pytest.approx(loss, abs=0.1)
    assert record["judged_true"] < 0.5  # two sentences, counted from right to left


@pytest.mark.parametrize("mark", ["un____able", "____'s"])
def test_a_blank_is_a_whole_word(charnn, text, mark):
    assert charnn("train", text, *SMALL, "--tokenizer", "word", "-o", "m").status == 0
    refused = charnn("predict", f"the {mark} cat", "-m", "m")
    assert "joined to what stands beside it, but it stands for a whole word" in refused.err
    found = charnn("predict", "the ____ which ate were", "-m", "m", "--format", "jsonl", "--top", 0)
    assert {json.loads(line)["token"] for line in found.out.splitlines()} >= {"cat", "cats"}
    unknown = charnn("predict", "the ____ ate cañ", "-m", "m")
    assert "token 'cañ' at position 14 is not in the model's vocabulary" in unknown.err


def test_a_bidirectional_run_is_resumed_only_as_such_and_info_shows_both_halves(charnn, text):
    assert charnn("train", text, *SMALL, "--direction", "both", "-o", "m").status == 0
    refused = charnn("train", "--resume", "-o", "m", "--steps", 30, "--direction", "forward")
    assert "--direction: found forward, but the run to resume was started with both; leave it out" in refused.err
    facts = json.loads(charnn("info", "m", "--json").out)
    backward = json.loads(charnn("info", "m/backward", "--json").out)
    assert facts["backward_valid_loss_nats"] == backward["valid_loss_nats"]
    assert backward["backward_valid_loss_nats"] is None
    shutil.rmtree("m/backward")
    unfinished = charnn("score", "-m", "m", "--text", "the cat", "--direction", "both")
    assert (
        "is a bidirectional model without its backward half; train it with: charnn train --resume -o m"
        in unfinished.err
    )


def test_a_model_of_one_direction_says_what_it_does_not_see(charnn, run):
    shown = charnn("predict", "The ____ox", "-m", run)
    assert "a forward model ignores the text after the gap" in shown.err
    assert "tokens: " in shown.out
    assert "ignores" not in charnn("predict", "The ____", "-m", run).err


def test_any_mark_may_stand_for_a_blank(charnn, text):
    assert charnn("train", text, *SMALL, "--tokenizer", "word", "-o", "m").status == 0
    for mark in ("[MASK]", "***", "?"):
        found = charnn("predict", f"the {mark} which ate", "-m", "m", "--blank", mark, "--format", "jsonl", "--top", 1)
        assert found.status == 0, found.err


def test_a_full_disk_between_the_halves_keeps_the_first_and_says_how_to_resume(charnn, text, monkeypatch):
    def fail(source, target, tokenizer):
        raise StorageError(f"{target}: cannot be written: no space is left on the disk; free some")

    with monkeypatch.context() as patch:
        patch.setattr(create, "reverse_encoded", fail)
        refused = charnn("train", text, *SMALL, "--direction", "both", "-o", "m")
    assert refused.status == 1
    assert refused.err.endswith("the forward half is saved; resume with: charnn train --resume -o m\n")
    assert charnn("score", "-m", "m", "--text", "the cat").status == 0
    assert charnn("train", "--resume", "-o", "m").status == 0
    assert read_model(Path("m/backward")).architecture.direction == "backward"


def test_both_halves_train_for_the_same_time_after_the_set_up(monkeypatch):
    """The set-up of the forward half takes 20 s of the minute: 20 s are left for the steps of each half."""
    clock = [100.0]
    monkeypatch.setattr(networks.time, "monotonic", lambda: clock[0])
    begun = []

    def set_up(_directory, _texts, *, started, **_):
        clock[0] += 20
        begun.append(SimpleNamespace(trainer=SimpleNamespace(started=started)))
        return begun[-1]

    def set_up_backward(_directory, *, started):
        begun.append(SimpleNamespace(trainer=SimpleNamespace(started=started)))
        return begun[-1]

    monkeypatch.setattr(networks, "create_run", set_up)
    monkeypatch.setattr(networks, "create_backward_half", set_up_backward)
    request = make_request(Path("m"), ["text.txt"], {"direction": "both", "minutes": 1.0})
    left = []
    for half in networks.networks(request, started=100.0):
        left.append(request.training_options.minutes * 60 - (clock[0] - half.trainer.started))
        clock[0] += left[-1]
    assert left == [20.0, 20.0]
    assert clock[0] == 160.0


def test_what_a_killed_run_left_between_the_halves_is_removed(charnn, text):
    assert charnn("train", text, *SMALL, "-o", "m").status == 0
    for name in ("m/.backward.charnn-new", ".m.charnn-new", ".m.charnn-old"):
        Path(name).mkdir()
        Path(name, "train.bin").write_bytes(b"x")
    Path(".m.charnn-lock").touch()
    done = charnn("train", text, *SMALL, "-o", "m", "--overwrite", "--direction", "both")
    assert done.status == 0, done.err
    assert sorted(path.name for path in Path().iterdir()) == ["m", "text.txt"]
    assert not [path.name for path in Path("m").iterdir() if path.name.startswith(".")]
