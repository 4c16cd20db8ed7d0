"""Every option, declared once.

The command line is made from these dataclasses, `config.json` is written from them, and the README's option tables
are checked against them.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_idle

TokenizerKind = Literal["char", "byte", "word", "subword"]
Unit = Literal["stream", "line", "document"]
CellName = Literal["lstm", "gru", "rnn"]
OnUnknown = Literal["error", "skip", "unk"]


TEXT, MODEL, TRAINING, BUDGET = "Text and tokens", "Model", "Training", "Budget"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Checked):
    """How a text becomes tokens, and what is held out of it."""

    tokenizer: Annotated[TokenizerKind, Option("What a token is.", panel=TEXT)] = "char"
    vocab_size: Annotated[
        int | None,
        Option(
            "Keep this many of the most frequent tokens; the rest become <unk>.",
            at_least=3,
            automatic="all (char), 20000 (word), by corpus size (subword)",
            panel=TEXT,
        ),
    ] = None
    min_count: Annotated[
        int | None,
        Option("Tokens rarer than this become <unk>.", at_least=1, automatic="1, for words 2", panel=TEXT),
    ] = None
    pretokenized: Annotated[
        bool,
        Option("Words are what white space separates, and <unk> in the text is the unknown token.", panel=TEXT),
    ] = False
    subword_model: Annotated[
        Literal["unigram", "bpe"], Option("The kind of SentencePiece model for subwords.", panel=TEXT)
    ] = "unigram"
    unit: Annotated[
        Unit,
        Option(
            "What is independent: one running text, each line, or each blank-line-separated document.",
            panel=TEXT,
        ),
    ] = "stream"
    encoding: Annotated[str, Option("The encoding of the text files.", panel=TEXT)] = "utf-8"
    valid: Annotated[
        str | None,
        Option("Validate on this file and train on all of TEXT.", automatic="the end of the text", panel=TEXT),
    ] = None
    valid_fraction: Annotated[
        float,
        Option(
            "The share held out: the end of a stream, or whole units drawn by the seed.",
            at_least=0,
            below=1,
            panel=TEXT,
        ),
    ] = 0.1

    def __post_init__(self) -> None:
        """Check bounds, and that no option is given that this tokenizer has no use for."""
        super().__post_init__()
        kind = self.tokenizer
        refuse_idle("--pretokenized", self.pretokenized and kind != "word", "--tokenizer word")
        refuse_idle("--subword-model", self.subword_model != "unigram" and kind != "subword", "--tokenizer subword")
        refuse_idle("--vocab-size", self.vocab_size is not None and kind == "byte", "another --tokenizer than byte")
        refuse_idle(
            "--min-count", self.min_count is not None and kind in ("byte", "subword"), "--tokenizer char or word"
        )
        refuse_idle(
            "--valid-fraction", self.valid is not None and self.valid_fraction != 0.1, "the end of TEXT as validation"
        )
        refuse_idle("--encoding", self.encoding != "utf-8" and kind == "byte", "another --tokenizer than byte")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Checked):
    """The shape of the network."""

    cell: Annotated[CellName, Option("The recurrent cell.", panel=MODEL)] = "lstm"
    hidden_size: Annotated[
        int | None,
        Option("Units in each recurrent layer.", at_least=1, automatic="by budget, corpus size and speed", panel=MODEL),
    ] = None
    num_layers: Annotated[
        int | None, Option("Recurrent layers.", at_least=1, automatic="1, on a GPU 2", panel=MODEL)
    ] = None
    embedding_size: Annotated[
        int | None,
        Option("Size of a token's vector.", at_least=1, automatic="by vocabulary size", panel=MODEL),
    ] = None
    embedding_order: Annotated[
        int | None,
        Option(
            "Add vectors of the last 2, 3, ... tokens, up to this many, to a token's own; 1 adds none.",
            at_least=1,
            at_most=8,
            automatic="3 (char, byte), 1 (word, subword)",
            panel=MODEL,
        ),
    ] = None
    tie_weights: Annotated[
        bool,
        Option("Use the embedding's weights in the output layer too (the sizes must agree).", panel=MODEL),
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Checked):
    """How the network learns, and for how long."""

    minutes: Annotated[
        float | None,
        Option(
            "Stop after this many minutes, reading the text included.",
            flags=("--minutes",),
            above=0,
            automatic="5, unless --steps or --epochs is given",
            panel=BUDGET,
        ),
    ] = None
    steps: Annotated[
        int | None, Option("Stop after this many steps.", at_least=1, automatic="no limit", panel=BUDGET)
    ] = None
    epochs: Annotated[
        float | None,
        Option("Stop after this many passes over the text.", above=0, automatic="no limit", panel=BUDGET),
    ] = None
    patience: Annotated[
        int,
        Option(
            "Stop early after this many evaluations without improvement; 0 never stops early.",
            at_least=0,
            panel=BUDGET,
        ),
    ] = 12
    optimizer: Annotated[
        Literal["muon", "adamw", "sgd"],
        Option(
            "Muon (for the recurrent layers' matrices, AdamW for the rest), AdamW, or plain SGD.",
            panel=TRAINING,
        ),
    ] = "muon"
    learning_rate: Annotated[
        float | None,
        Option(
            "The peak learning rate.",
            above=0,
            automatic="muon 0.02, in a short run 0.03, adamw 0.004, sgd 1",
            panel=TRAINING,
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Option(
            "Decoupled weight decay of the matrices, a move of theirs and unit of learning rate.",
            at_least=0,
            automatic="muon 0.2, adamw 0.01, sgd 0",
            panel=TRAINING,
        ),
    ] = None
    warmup: Annotated[
        float,
        Option(
            "The share of the budget in which the rate rises to its peak.",
            at_least=0,
            below=1,
            panel=TRAINING,
        ),
    ] = 0.02
    batch_size: Annotated[
        int | None,
        Option(
            "Streams of text trained side by side.",
            at_least=1,
            automatic="32, for a wide network 64, fewer for a small text",
            panel=TRAINING,
        ),
    ] = None
    bptt_length: Annotated[
        int,
        Option("Tokens through which the gradient flows back.", flags=("--bptt",), at_least=1, panel=TRAINING),
    ] = 128
    carry_length: Annotated[
        int | None,
        Option(
            "Tokens that a stream of text is read on, its state carried, before it goes on elsewhere; 0 reads to the end.",
            flags=("--carry",),
            at_least=0,
            automatic="about 512",
            panel=TRAINING,
        ),
    ] = None
    dropout: Annotated[
        float | None,
        Option(
            "Locked dropout on the embeddings and each layer's output.",
            at_least=0,
            below=1,
            automatic="by the passes that the budget allows",
            panel=TRAINING,
        ),
    ] = None
    ngram_dropout: Annotated[
        float | None,
        Option(
            "The share of places at which the vectors of 2, 3, ... tokens are left out in training.",
            at_least=0,
            below=1,
            automatic="by the passes that the budget allows",
            panel=TRAINING,
        ),
    ] = None
    clip_norm: Annotated[
        float,
        Option(
            "Scale the gradient down to this norm where it is longer; 0 never clips.",
            at_least=0,
            panel=TRAINING,
        ),
    ] = 1.0
    ngram_order: Annotated[
        int | None,
        Option(
            "Order of the n-gram model counted beside the network; 0 counts none.",
            at_least=0,
            at_most=16,
            automatic="7 (char, byte), 4 (word, subword), lower where the n-grams are too many",
            panel=MODEL,
        ),
    ] = None
    save_every: Annotated[
        float,
        Option(
            "Seconds between checkpoints; longer where saving would take over a twentieth of the time.",
            above=0,
            panel=TRAINING,
        ),
    ] = 15.0
    seed: Annotated[
        int, Option("Decides everything that is drawn at random.", at_least=0, below=2**31, panel=TRAINING)
    ] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Option("Where to train.", panel=TRAINING)] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Option(
            "Arithmetic of a training step; auto times both where the processor has bf16 units.",
            panel=TRAINING,
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Checked):
    """How new text is drawn from a model."""

    length: Annotated[
        int, Option("Tokens to write, not counting the prompt.", flags=("-n", "--length"), at_least=1)
    ] = 500
    temperature: Annotated[
        float,
        Option(
            "Below 1 the likely becomes likelier, above 1 less so; 0 is --greedy.",
            flags=("-t", "--temperature"),
            at_least=0,
        ),
    ] = 1.0
    greedy: Annotated[bool, Option("Always take the likeliest token.")] = False
    top_k: Annotated[int | None, Option("Draw from the k likeliest tokens only.", at_least=1, automatic="all")] = None
    top_p: Annotated[
        float | None,
        Option(
            "Draw from the fewest tokens whose probabilities reach p together.",
            above=0,
            at_most=1,
            automatic="all",
        ),
    ] = None
    mix_ngram: Annotated[
        bool, Option("Mix the network with the n-gram model that stands beside it.", flags=("--mix-ngram",))
    ] = False
    stop: Annotated[str | None, Option("End a sample before this text appears in it.", automatic="never")] = None
    num_samples: Annotated[int, Option("Samples to write; number i uses the seed + i.", at_least=1)] = 1
    seed: Annotated[
        int | None, Option("Repeat a sample exactly.", at_least=0, below=2**31, automatic="drawn, and said")
    ] = None
    encoding: Annotated[str, Option("The encoding of the prompt file.")] = "utf-8"
    echo: Annotated[bool, Option("Write the prompt before the text that follows it.")] = True
    on_unknown: Annotated[OnUnknown, Option("What to do about a prompt's tokens that the model does not know.")] = (
        "error"
    )
    format: Annotated[Literal["text", "jsonl"], Option("Plain text, or one JSON record a sample.")] = "text"

    def __post_init__(self) -> None:
        """Check bounds, and that nothing is asked of a draw that is none."""
        super().__post_init__()
        if self.stop == "":
            raise OptionError("--stop: found an empty text, but it must have at least one character; leave it out")
        filtered = self.top_k is not None or self.top_p is not None
        refuse_idle("--top-k or --top-p", filtered and (self.greedy or self.temperature == 0), "a draw by temperature")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Checked):
    """What is scored, and how the figures are given."""

    format: Annotated[Literal["table", "tsv", "jsonl"], Option("How to print the records.")] = "table"
    log_base: Annotated[Literal["e", "2", "10"], Option("Base of the logarithms.")] = "e"
    unit: Annotated[
        Unit,
        Option("What a record is: each line, each blank-line-separated document, or all of the text as one."),
    ] = "line"
    mix_ngram: Annotated[
        bool, Option("Mix the network with the n-gram model that stands beside it.", flags=("--mix-ngram",))
    ] = False
    per_token: Annotated[bool, Option("Give every token's log probability.")] = False
    bos: Annotated[bool, Option("Score the first token, with the boundary as its context.")] = True
    eos: Annotated[bool, Option("Score the boundary that closes a unit.")] = True
    encoding: Annotated[str, Option("The encoding of the text files.")] = "utf-8"

    def __post_init__(self) -> None:
        """Check bounds, and that a stream, which no boundary closes, is not asked to leave one out."""
        super().__post_init__()
        refuse_idle("--no-eos", not self.eos and self.unit == "stream", "--unit line or document")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """How the next token's distribution is shown."""

    mix_ngram: Annotated[
        bool, Option("Mix the network with the n-gram model that stands beside it.", flags=("--mix-ngram",))
    ] = False
    top: Annotated[int, Option("Show this many of the likeliest tokens; 0 shows all.", at_least=0)] = 10
    on_unknown: Annotated[OnUnknown, Option("What to do about the text's tokens that the model does not know.")] = (
        "error"
    )
    format: Annotated[Literal["table", "jsonl"], Option("A table with bars, or one JSON record a token.")] = "table"


@dataclass(frozen=True)
class Architecture:
    """The resolved shape of a network: all that is needed to rebuild it around its weights."""

    cell: CellName
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    tie_weights: bool = False
    embedding_order: int = 1
