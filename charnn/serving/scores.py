"""Scores of texts, as `charnn score --format jsonl --per-token` prints them."""

import charnn.api
from charnn.config import ScoreOptions
from charnn.files import JsonObject
from charnn.serving.bodies import Body, RequestError
from charnn.serving.fields import SCORE_FIELDS
from charnn.serving.models import ServedModel
from charnn.serving.workers import Check

MAX_TEXTS, MAX_CHARACTERS = 10_000, 1_000_000
MAX_ALTERNATIVES = 100


def score_content(body: Body, model: ServedModel, check: Check) -> JsonObject:
    """Return the records of the texts of a request; `check` is called between chunks. Raises CharnnError."""
    body.refuse_unknown(SCORE_FIELDS, {})
    if body.fields.get("text") is None:
        raise RequestError("text: is missing; send a string or a list of strings", param="text")
    texts = body.texts("text", at_most=MAX_TEXTS)
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise RequestError(f"text: found more than {MAX_CHARACTERS:,} characters; send less at a time", param="text")
    options = ScoreOptions(
        format="jsonl",
        per_token=True,
        log_base=body.choice("log_base", "e", ("e", "2", "10")),
        alternatives=body.integer("alternatives", 0, at_least=0, at_most=MAX_ALTERNATIVES),
        mix_ngram=body.flag("mix_ngram"),
        bos=body.flag("bos", default=True),
        eos=body.flag("eos", default=True),
    )
    scorer = model.scorer(options, check)
    output = charnn.api.format_of(options, model.name)
    records = [record for score in scorer.scores(texts, options, with_tokens=True) for record in output.lines(score)]
    return {"model": model.name, "records": records}
