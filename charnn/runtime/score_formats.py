"""Scores as records and lines that other programs read."""

import math
from collections.abc import Iterator
from typing import Any

from charnn.runtime.scorer import Score

LOG_OF_BASE = {"e": 1.0, "2": math.log(2), "10": math.log(10)}
TSV_COLUMNS = (
    "line",
    "log_prob",
    "log_base",
    "num_tokens",
    "num_unknown",
    "perplexity",
    "perplexity_excluding_unknown",
    "text",
)
TSV_TOKEN_COLUMNS = ("line", "position", "token", "id", "log_prob", "log_base", "unknown")


def in_base(nats: float, base: str) -> float:
    """Return a natural logarithm in base e, 2 or 10."""
    return nats / LOG_OF_BASE[base]


def record(score: Score, base: str, *, per_token: bool) -> dict[str, Any]:
    """Return a unit's score as one JSON record."""
    fields: dict[str, Any] = {
        "line": score.number,
        "log_prob": in_base(score.log_prob_nats, base),
        "log_base": base,
        "num_tokens": score.num_tokens,
        "num_unknown": score.num_unknown,
        "num_chars": score.num_chars,
        "num_bytes": score.num_bytes,
    }
    if per_token:
        fields["tokens"] = [
            {
                "token": token.token,
                "id": token.id,
                "log_prob": None if token.log_prob_nats is None else in_base(token.log_prob_nats, base),
                "unknown": token.is_unknown,
            }
            for token in score.tokens
        ]
    return fields


def summary(total: Score) -> dict[str, Any]:
    """Return the totals over a text: nats, counts, both perplexities, bits per token, character and byte."""
    return {
        "nats": total.log_prob_nats,
        "num_tokens": total.num_tokens,
        "num_chars": total.num_chars,
        "num_bytes": total.num_bytes,
        "num_unknown": total.num_unknown,
        "perplexity": total.perplexity,
        "perplexity_excluding_unknown": total.perplexity_excluding_unknown,
        "nats_per_token": -total.log_prob_nats / total.num_tokens if total.num_tokens else math.nan,
        "bits_per_token": total.bits_per(total.num_tokens),
        "bits_per_char": total.bits_per(total.num_chars),
        "bits_per_byte": total.bits_per(total.num_bytes),
    }


def tsv_lines(score: Score, base: str, *, per_token: bool) -> Iterator[str]:
    """Yield a unit's lines of tab-separated values: one, or one a token."""
    if not per_token:
        yield _tsv(
            score.number,
            in_base(score.log_prob_nats, base),
            base,
            score.num_tokens,
            score.num_unknown,
            score.perplexity,
            score.perplexity_excluding_unknown,
            score.text,
        )
        return
    for position, token in enumerate(score.tokens, start=1):
        value = "" if token.log_prob_nats is None else in_base(token.log_prob_nats, base)
        yield _tsv(score.number, position, token.token, token.id, value, base, int(token.is_unknown))


def _tsv(*values: object) -> str:
    cells = (f"{value:.10g}" if isinstance(value, float) else str(value) for value in values)
    return "\t".join(cell.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n") for cell in cells)
