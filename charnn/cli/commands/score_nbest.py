"""`charnn score --nbest`: rescoring n-best lists."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output.lines import Lines
from charnn.config import ScoreOptions
from charnn.interrupts import terminated_like_interrupted

if TYPE_CHECKING:
    from charnn.scoring.nbest import Hypothesis
    from charnn.storage.model_directory import Model


def rescore(models: "Sequence[Model]", file: str, options: ScoreOptions, output: str | None) -> None:
    """Write an n-best list with the model's log probabilities, or the best hypothesis of each ID."""
    lines_of_file = charnn.api.read_units([file], None, unit=options.unit, encoding=options.encoding)
    begun = charnn.api.begun(charnn.api.read_hypotheses(charnn.api.display_name(file), lines_of_file))
    if begun is None:
        raise charnn.api.empty_text_error(
            [file], "write one hypothesis per line: ID, score and text, separated by tabs"
        )
    hypotheses, same = itertools.tee(begun)
    scorer = charnn.api.build_scorer(models, options)
    best = charnn.api.Best()
    with Lines(output) as lines, terminated_like_interrupted():
        for hypothesis, score in zip(hypotheses, scorer.scores((each.text for each in same), options), strict=True):
            log_prob = charnn.api.in_base(score.log_prob_nats, options.base)
            if options.lm_scale is None:
                lines.write(_line(hypothesis, log_prob, options))
                continue
            total = charnn.api.combined(
                hypothesis, log_prob, lm_scale=options.lm_scale, word_penalty=options.word_penalty
            )
            best.take(hypothesis.id, total, hypothesis.text)
        for line in _best_lines(best.of_each, options):
            lines.write(line)


def _line(hypothesis: "Hypothesis", log_prob: float, options: ScoreOptions) -> str:
    if options.format == "jsonl":
        return charnn.api.to_json(
            {
                "id": hypothesis.id,
                "score": float(hypothesis.given),
                "text": hypothesis.text,
                "log_prob": log_prob,
                "log_base": options.base,
            }
        )
    return f"{hypothesis.id}\t{hypothesis.given}\t{hypothesis.text}\t{log_prob:.10g}"


def _best_lines(best: dict[str, tuple[float, str]], options: ScoreOptions) -> Iterator[str]:
    for id, (total, text) in best.items():
        if options.format == "jsonl":
            yield charnn.api.to_json({"id": id, "score": total, "text": text})
        else:
            yield f"{id}\t{total:.10g}\t{text}"
