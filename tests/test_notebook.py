"""What a notebook shows: executed in a kernel, as a user's is."""

import os

import nbformat
import pytest
from nbclient import NotebookClient

from charnn import notebook
from tests.conftest import FABLES, REPOSITORY

CELLS = (
    "import charnn\n"
    "small = dict(hidden_size=8, embedding_size=4, batch_size=4, bptt_length=16, precision='fp32')\n"
    "model = charnn.train('book.txt', steps=30, output='runs/book', **small)\n"
    "model",
    "model.score('The fox slept.')",
    "import pandas\npandas.DataFrame(word.to_dict() for word in model.score_words('The fox slept.'))",
)


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_shows_progress_a_card_and_surprisal(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text(FABLES.read_text(encoding="utf-8")[:8000], encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(made, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    training, score, words = (cell["outputs"] for cell in made["cells"])
    bar, card = ("".join(output["data"].get("text/html", "")) for output in training if "data" in output)
    assert "<progress max" in bar
    assert "100 %" in bar
    assert "1 x 8 lstm" in card
    assert 'title="' in score[0]["data"]["text/html"]
    assert "surprisal_bits" in words[0]["data"]["text/html"]


def test_outside_a_notebook_there_is_no_bar(capsys):
    notebook.ProgressBar().show(0.5, 1.0)
    assert capsys.readouterr().out == ""
