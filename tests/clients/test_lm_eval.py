"""The server, by the command line of the LM Evaluation Harness, on minimal pairs in a file of the test's."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("lm_eval", reason="needs the extra clients: pip install -e '.[clients]'")

import charnn
from tests.conftest import REPOSITORY

NUM_PAIRS = 200
TASK = """\
task: agreement
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: ""
target_delimiter: ""
doc_to_choice: "{{{{[good, bad]}}}}"
doc_to_target: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def pairs():
    """Pairs from all over the file, which is sorted by distance."""
    lines = (REPOSITORY / "corpora" / "agreement-pairs.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1 :: len(lines) // NUM_PAIRS][:NUM_PAIRS]]
    assert len(rows) == NUM_PAIRS
    return [(good, bad) for good, bad, *_ in rows]


@pytest.fixture(scope="module")
def evaluated(served, pairs, tmp_path_factory):
    """Return the results of lm_eval, and its samples in the order of the pairs."""
    directory = tmp_path_factory.mktemp("lm_eval")
    data = directory / "pairs.jsonl"
    data.write_text("".join(json.dumps({"good": good, "bad": bad}) + "\n" for good, bad in pairs), encoding="utf-8")
    (directory / "agreement.yaml").write_text(TASK.format(data=json.dumps(str(data))), encoding="utf-8")
    model = f"model=agreement,base_url={served.address}/v1/completions,num_concurrent=1"
    options = ["--model", "local-completions", "--model_args", model, "--batch_size", "50"]
    options += ["--tasks", "agreement", "--include_path", str(directory), "--output_path", str(directory / "results")]
    home = {"HF_HOME": str(directory / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-m", "lm_eval", "run", *options, "--log_samples"]
    done = subprocess.run(
        command, env={**os.environ, **home}, cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = directory.glob("results/**/results_*.json")
    (samples,) = directory.glob("results/**/samples_agreement_*.jsonl")
    records = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return json.loads(results.read_text(encoding="utf-8")), sorted(records, key=lambda record: record["doc_id"])


def test_log_likelihoods_are_those_of_score(evaluated, served, pairs):
    model = charnn.load(served.models["agreement"])
    samples = evaluated[1]
    assert len(samples) == NUM_PAIRS
    for number in (0, 1):
        found = [float(sample["resps"][number][0][0]) for sample in samples]
        scores = model.score([pair[number] for pair in pairs], eos=False)
        assert found == pytest.approx([score.log_prob_nats for score in scores], abs=1e-5)


def test_accuracy_is_that_of_score_with_pairs(evaluated, served, pairs, charnn, tmp_path):
    rows = "".join(f"{good}\t{bad}\n" for good, bad in pairs)
    (tmp_path / "pairs.tsv").write_text(f"good\tbad\n{rows}", encoding="utf-8")
    own = charnn("score", "-m", served.models["agreement"], "--pairs", "pairs.tsv", "--no-eos", "--format", "jsonl")
    assert own.status == 0, own.err
    expected = json.loads(own.out.splitlines()[0])
    assert (expected["category"], expected["pairs"], expected["ties"]) == ("all", NUM_PAIRS, 0)
    accuracy = evaluated[0]["results"]["agreement"]["acc,none"]
    assert accuracy == pytest.approx(expected["accuracy"])
    assert 0 < accuracy < 1
