"""Options of dropout and of other regularization."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.options import Checked, Option

DropoutKind = Literal["naive", "locked", "variational"]

REGULARIZATION = "Regularization"
ATTENTION_DROPOUT = 0.5
"""On Tiny Shakespeare (1 x 256, 1,500 steps, one seed), the validation loss was 1.387 nats per character with it, 1.390 if only
what is attended to was dropped, 1.398 without either, and 1.390 without attention."""


@dataclass(frozen=True, kw_only=True)
class RegularizationOptions(Checked):
    """Regularization of the network."""

    dropout: Annotated[
        float | None,
        Option(
            "Dropout on the input of the first layer, between layers, and on the output of the last layer.",
            at_least=0,
            below=1,
            automatic="by the epochs that the budget allows",
            panel=REGULARIZATION,
            common=True,
        ),
    ] = None
    dropout_kind: Annotated[
        DropoutKind,
        Option(
            "One mask per time step (naive), one for all steps (locked), or also on the recurrent connections (variational).",
            panel=REGULARIZATION,
        ),
    ] = "locked"
    input_dropout: Annotated[
        float | None,
        Option(
            "Dropout on the input of the first layer.", at_least=0, below=1, automatic="--dropout", panel=REGULARIZATION
        ),
    ] = None
    hidden_dropout: Annotated[
        float | None,
        Option(
            "Dropout between layers; with variational dropout, on the recurrent connections too.",
            at_least=0,
            below=1,
            automatic="--dropout",
            panel=REGULARIZATION,
        ),
    ] = None
    output_dropout: Annotated[
        float | None,
        Option(
            "Dropout on the output of the last layer.", at_least=0, below=1, automatic="--dropout", panel=REGULARIZATION
        ),
    ] = None
    embedding_dropout: Annotated[
        float,
        Option(
            "Embedding dropout: probability of dropping a token's embedding at all its positions in a batch.",
            at_least=0,
            below=1,
            panel=REGULARIZATION,
        ),
    ] = 0.0
    attention_dropout: Annotated[
        float,
        Option(
            "Dropout of attention: probability that a position is left out of its memory, or attends to nothing.",
            at_least=0,
            below=1,
            panel=REGULARIZATION,
        ),
    ] = ATTENTION_DROPOUT
    ngram_dropout: Annotated[
        float | None,
        Option(
            "Fraction of positions at which the embeddings of n-grams and of the word so far are dropped in training.",
            at_least=0,
            below=1,
            automatic="by the epochs that the budget allows",
            panel=REGULARIZATION,
        ),
    ] = None
    weight_drop: Annotated[
        float,
        Option(
            "DropConnect on the recurrent matrices, sampled once per update.", at_least=0, below=1, panel=REGULARIZATION
        ),
    ] = 0.0
    activation_penalty: Annotated[
        float,
        Option(
            "Activation regularization: weight of the mean square of the last layer's output, after dropout.",
            flags=("--ar",),
            at_least=0,
            panel=REGULARIZATION,
        ),
    ] = 0.0
    temporal_penalty: Annotated[
        float,
        Option(
            "Temporal activation regularization: weight of the mean square of its change over time, before dropout.",
            flags=("--tar",),
            at_least=0,
            panel=REGULARIZATION,
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Option(
            "Label smoothing: probability mass that is spread uniformly over all tokens.",
            at_least=0,
            below=1,
            panel=REGULARIZATION,
        ),
    ] = 0.0
    token_noise: Annotated[
        float,
        Option(
            "Fraction of input tokens that are replaced by random tokens of the text.",
            at_least=0,
            below=1,
            panel=REGULARIZATION,
        ),
    ] = 0.0
