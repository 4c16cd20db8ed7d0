import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.config import ScoreOptions
from charnn.scoring.regions import END, scored_regions
from charnn.scoring.scorer import estimator_of, score_units
from charnn.text.located import read_cells
from tests.scoring.test_infilling import engines_for
from tests.scoring.test_words import TOKENIZERS

CELL = st.text(alphabet="catsï'-. \t\u00a0", max_size=6)


def sentence_of(directory, cells):
    """Return the sentence that some cells make, as it is read from a table, with its regions; None if there is no text."""
    names = [f"r{number}" for number in range(len(cells))]
    quoted = (f'"{cell}"' for cell in cells)
    (directory / "t.csv").write_text(",".join(["i", *names]) + "\n1," + ",".join(quoted) + "\n", encoding="utf-8")
    if not any(cell.strip() for cell in cells):
        return None
    (group,) = read_cells([str(directory / "t.csv")], names, by_region=True, encoding="utf-8").groups
    (text,) = group.texts()
    return text, group.next_origin().regions


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("spaces", ["before", "after"])
@settings(max_examples=40)
@given(cells=st.lists(CELL, min_size=1, max_size=4))
def test_regions_share_out_all_of_a_sentence(tmp_path_factory, kind, spaces, cells):
    made = sentence_of(tmp_path_factory.getbasetemp(), cells)
    if made is None:
        return
    text, regions = made
    tokenizer = TOKENIZERS[kind]
    engine = engines_for(tokenizer, "forward")["forward"]
    options = ScoreOptions(column=("r",), by_region=True, spaces=spaces)
    (score,) = score_units(estimator_of(engine, tokenizer), tokenizer, [text], options)
    found = scored_regions(score, regions, options)
    nats = sum(region.log_prob_nats or 0.0 for region in found)
    assert nats == pytest.approx(score.log_prob_nats, abs=1e-6)
    assert sum(region.num_tokens for region in found) == score.num_tokens
    present = [cell.strip() for cell in cells if cell.strip()]
    assert [region.text for region in found if region.region != END] == present
    assert (found[-1].region == END) == (spaces == "before")
    starts = [token.start for token in score.tokens]
    ends = [*starts[1:], len(text)]
    for region in regions[1:]:  # no token is part of two regions, so none needs to be divided
        assert not any(
            start < region.start < end and text[start : region.start].strip()
            for start, end in zip(starts, ends, strict=True)
        )


def test_cells_are_joined_with_a_space_unless_there_is_white_space(tmp_path):
    text, regions = sentence_of(tmp_path, ["The cat", " sat", "", "on\t", "it", "."])
    assert text == "The cat sat on\tit ."
    assert [text[region.start : region.end] for region in regions] == ["The cat", "sat", "on", "it", "."]
    assert [region.column for region in regions] == ["r0", "r1", "r3", "r4", "r5"]
