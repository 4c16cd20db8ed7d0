"""The options of commands as typed keyword arguments, generated from the dataclasses of this package.

Written by `python -m tests.config.write_arguments`; a test checks that it is up to date.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict


class SampleArguments(TypedDict, total=False):
    """Options of `charnn sample`."""

    temperature: float
    final_temperature: float | None
    greedy: bool
    top_k: int | None
    typical_p: float | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    mix_ngram: bool
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_window: int
    no_repeat_ngram: int
    logit_bias: Sequence[str]
    allow: str | None
    ban: str | None
    allow_token: Sequence[str]
    ban_token: Sequence[str]
    match: str | None
    beam: int | None
    length_penalty: float
    beam_groups: int
    diversity: float
    length: int | None
    stop: Sequence[str]
    until: Literal["sentence", "line", "unit"] | None
    on_unknown: Literal["error", "skip", "unk"]
    adapt: bool
    label: str | None
    label_strength: float
    weights: Literal["fp32", "bf16", "int8"]
    device: Literal["cpu", "cuda"]


class ScoreArguments(TypedDict, total=False):
    """Options of `charnn score`."""

    unit: Literal["stream", "line", "document", "tune", "file"]
    state: Literal["reset", "carry"]
    bos: bool
    eos: bool
    encoding: str
    label: str | None
    mix_ngram: bool
    direction: Literal["forward", "backward", "both"] | None
    temperature: float | str
    device: Literal["cpu", "cuda"]
    exclude_unk: bool
    unk_penalty: float | None
    spell: bool
    adapt: bool
    dynamic: bool | None
    dynamic_stretch: int | None
    dynamic_rate: float | None
    dynamic_decay: float | None
    cache: bool
    cache_size: int | None
    cache_weight: float | None
    cache_sharpness: float | None
    per_token: bool
    alternatives: int
    spaces: Literal["before", "after"]


class TrainArguments(TypedDict, total=False):
    """Options of `charnn train`."""

    tokenizer: Literal["char", "byte", "word", "subword", "bins"]
    vocab_size: int | None
    min_count: int | None
    pretokenized: bool
    subword_model: Literal["unigram", "bpe"]
    spell: bool
    unit: Literal["stream", "line", "document", "tune"]
    encoding: str
    column: str | None
    fasta_case: Literal["upper", "keep"]
    ambiguous: Literal["collapse", "keep", "skip"]
    reverse_complement: bool
    label_from: str | None
    valid: str | None
    valid_fraction: float
    init_input: Literal["orthogonal", "xavier", "uniform"]
    init_recurrent: Literal["orthogonal", "xavier", "uniform", "identity"]
    init_range: float | None
    forget_bias: float | None
    leak: float | None
    cell: str
    hidden_size: int | None
    num_layers: int | None
    embedding_size: int | None
    embedding_order: int | None
    inputs: Literal["embedding", "one-hot"]
    tie_weights: bool
    residual: bool
    skip: int
    nonlinearity: Literal["tanh", "relu"]
    mogrifier_rounds: int | None
    mogrifier_rank: int | None
    initial_state: Literal["zero", "learned"]
    attention: Literal["none", "single"]
    attention_window: int | None
    direction: Literal["forward", "backward", "both"]
    minutes: float | None
    steps: int | None
    epochs: float | None
    patience: int
    optimizer: Literal["muon", "adamw", "sgd", "nt-asgd"]
    learning_rate: float | None
    weight_decay: float | None
    schedule: Literal["linear", "cosine", "one-cycle", "exponential", "plateau", "constant"] | None
    warmup: float | None
    hold: float
    final_rate: float | None
    clip_norm: float
    clip_value: float
    dropout: float | None
    dropout_kind: Literal["naive", "locked", "variational"]
    input_dropout: float | None
    hidden_dropout: float | None
    output_dropout: float | None
    embedding_dropout: float
    attention_dropout: float
    ngram_dropout: float | None
    weight_drop: float
    activation_penalty: float
    temporal_penalty: float
    label_smoothing: float
    token_noise: float
    teacher_forcing: float
    teacher_forcing_schedule: Literal["linear", "exponential", "inverse-sigmoid"]
    sampling_passes: int
    log: Literal["tensorboard"] | None
    init_from: str | None
    extend_vocab: bool
    freeze: str | None
    threads: int | None
    fast_reduce: bool
    batch_size: int | None
    bptt_length: int
    bptt_jitter: bool
    carry_length: int | None
    ngram_order: int | None
    save_every: float
    slim: bool
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: Literal["auto", "yes", "no"]


class InspectArguments(TypedDict, total=False):
    """Options of `charnn inspect`."""

    text: Sequence[str]
    file: str | None
    encoding: str
    pattern: Sequence[str]
    tokens: int
    seed: int


class ReportArguments(TypedDict, total=False):
    """Options of `charnn report`."""

    file: str | None
    encoding: str
    passage: int
    seed: int
