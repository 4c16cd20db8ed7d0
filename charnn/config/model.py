"""Network options, and the resolved architecture."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_unused

CellName = Literal["lstm", "gru", "rnn", "leaky", "mogrifier", "mlstm", "depth-lstm", "mingru", "minlstm"]
REGISTERED_CELLS: set[str] = set()
"""Names of cells registered from outside the package."""
Nonlinearity = Literal["tanh", "relu"]
Inputs = Literal["embedding", "one-hot"]
InitialState = Literal["zero", "learned"]
InitialMatrix = Literal["orthogonal", "xavier", "uniform", "identity"]
Direction = Literal["forward", "backward", "both"]
AttentionKind = Literal["none", "single"]

MODEL, INITIALIZATION = "Model", "Initialization"


@dataclass(frozen=True, kw_only=True)
class InitializationOptions(Checked):
    """Initialization of the weights."""

    init_input: Annotated[
        Literal["orthogonal", "xavier", "uniform"],
        Option("Initialization of input-to-hidden weights, per gate.", panel=INITIALIZATION),
    ] = "xavier"
    init_recurrent: Annotated[
        InitialMatrix, Option("Initialization of hidden-to-hidden weights, per gate.", panel=INITIALIZATION)
    ] = "orthogonal"
    init_range: Annotated[
        float | None,
        Option(
            "Bound of the uniform initialization, also for the embeddings and the output layer.",
            above=0,
            at_most=10,
            automatic="1 / square root of --hidden-size",
            panel=INITIALIZATION,
        ),
    ] = None
    forget_bias: Annotated[
        float | None,
        Option(
            "Initial bias of the LSTM's forget gate or the GRU's update gate; larger values retain more of the state.",
            at_least=-20,
            at_most=20,
            automatic="1 (LSTMs), 3 (mlstm), 0 (GRUs)",
            panel=INITIALIZATION,
        ),
    ] = None
    leak: Annotated[
        float | None,
        Option(
            "Fraction of the previous hidden state that is retained: 1 minus the leaking rate (leaky).",
            at_least=0.001,
            at_most=0.999,
            automatic="learned, one per unit",
            panel=MODEL,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions(InitializationOptions):
    """The architecture of the network, and its initialization.

    Example:
        >>> from charnn.config import ModelOptions
        >>> ModelOptions(cell="gru", num_layers=2).tie_weights
        False
    """

    cell: Annotated[CellName, Option("The recurrent cell.", others=REGISTERED_CELLS, panel=MODEL, common=True)] = "lstm"
    hidden_size: Annotated[
        int | None,
        Option(
            "Number of units in each recurrent layer.",
            at_least=1,
            automatic="by budget, corpus size and speed",
            panel=MODEL,
            common=True,
        ),
    ] = None
    num_layers: Annotated[
        int | None,
        Option(
            "Number of recurrent layers.",
            at_least=1,
            at_most=1000,
            automatic="1; 2 on a GPU, for depth-lstm or with --residual",
            panel=MODEL,
            common=True,
        ),
    ] = None
    embedding_size: Annotated[
        int | None,
        Option("Size of the token embeddings.", at_least=1, automatic="by vocabulary size", panel=MODEL),
    ] = None
    embedding_order: Annotated[
        int | None,
        Option(
            "Add embeddings of n-grams up to this order to each token embedding; 1 adds none.",
            at_least=1,
            at_most=8,
            automatic="3 (char, byte), 1 (word, subword)",
            panel=MODEL,
        ),
    ] = None
    inputs: Annotated[Inputs, Option("Input of the first layer: a learned embedding, or one-hot.", panel=MODEL)] = (
        "embedding"
    )
    tie_weights: Annotated[
        bool,
        Option(
            "Tie the weights of embedding and output layer; the last recurrent layer then has the embedding size.",
            panel=MODEL,
        ),
    ] = False
    residual: Annotated[bool, Option("Residual connections from the second layer on.", panel=MODEL)] = False
    skip: Annotated[
        int,
        Option(
            "Recurrent skip connection of each layer over this many time steps; 0 for none.",
            at_least=0,
            at_most=256,
            panel=MODEL,
        ),
    ] = 0
    nonlinearity: Annotated[Nonlinearity, Option("Activation function (rnn, leaky).", panel=MODEL)] = "tanh"
    mogrifier_rounds: Annotated[
        int | None,
        Option(
            "Rounds of mutual gating of input and hidden state per step (mogrifier).",
            at_least=1,
            at_most=100,
            automatic="5",
            panel=MODEL,
        ),
    ] = None
    mogrifier_rank: Annotated[
        int | None,
        Option("Rank of the mogrifier matrices; 0 for full rank.", at_least=0, automatic="0", panel=MODEL),
    ] = None
    initial_state: Annotated[InitialState, Option("Initial hidden state.", panel=MODEL)] = "zero"
    attention: Annotated[
        AttentionKind,
        Option("Attention of the top layer over its own past: none, or one head (single).", panel=MODEL),
    ] = "none"
    attention_window: Annotated[
        int | None,
        Option(
            "Number of positions that are attended to, the current one included.",
            at_least=2,
            at_most=65536,
            automatic="256",
            panel=MODEL,
        ),
    ] = None
    direction: Annotated[
        Direction,
        Option(
            "Read left to right (forward), right to left (backward), or train one model for each (both).", panel=MODEL
        ),
    ] = "forward"

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect for this cell."""
        super().__post_init__()
        cell = self.cell
        refuse_unused("--leak", self.leak is not None and cell != "leaky", "--cell leaky")
        refuse_unused("--forget-bias", self.forget_bias is not None and cell in ("rnn", "leaky"), "a --cell with gates")
        refuse_unused(
            "--nonlinearity", self.nonlinearity != "tanh" and cell not in ("rnn", "leaky"), "--cell rnn or leaky"
        )
        mogrifies = self.mogrifier_rounds is not None or self.mogrifier_rank is not None
        refuse_unused("--mogrifier-rounds or --mogrifier-rank", mogrifies and cell != "mogrifier", "--cell mogrifier")
        uniform = "uniform" in (self.init_input, self.init_recurrent)
        refuse_unused(
            "--init-range", self.init_range is not None and not uniform, "--init-input or --init-recurrent uniform"
        )
        no_recurrence = cell in ("mingru", "minlstm")
        refuse_unused("--init-recurrent", self.init_recurrent != "orthogonal" and no_recurrence, "a recurrent matrix")
        if self.skip == 1:
            raise OptionError("--skip: found 1, which is the ordinary recurrence; use 2 or more, or 0 for none")
        if self.skip and cell in ("mingru", "minlstm", "mogrifier"):
            raise OptionError(f"--skip: found with --cell {cell}, which does not support it; choose another cell")
        one_hot = self.inputs == "one-hot"
        refuse_unused("--embedding-size", one_hot and self.embedding_size is not None, "--inputs embedding")
        refuse_unused("--embedding-order", one_hot and (self.embedding_order or 1) > 1, "--inputs embedding")
        refuse_unused("--tie-weights", one_hot and self.tie_weights, "--inputs embedding")
        refuse_unused("--residual", self.residual and self.num_layers == 1, "--num-layers 2 or more")
        has_window = self.attention_window is not None
        refuse_unused("--attention-window", has_window and self.attention == "none", "--attention single")


@dataclass(frozen=True)
class Architecture:
    """The resolved architecture of a network: all that is needed to rebuild it from its weights.

    Args:
        ngram_table_sizes: rows of the embedding table of each n-gram order, from 2 on; if None, as many as the vocabulary
            requires.
        ngram_vocab_size: vocabulary size by which n-grams are numbered, where the vocabulary was extended later, so that old
            n-grams keep their rows; None for the size of the vocabulary.
        attention_window: positions that are attended to, the current one included; 0 without attention.
        attention_size: of queries, keys and values.
        num_labels: vectors that are added to the embedding of each token of a unit with a label.
        word_rows: rows of the embedding table of the word so far, 0 without one.
        word_codes: with it, the code of each token (see `charnn.cells.word_prefix.codes_of`).

    Example:
        >>> from charnn.config import Architecture
        >>> Architecture("lstm", vocab_size=9, embedding_size=4, hidden_size=8, num_layers=2).layer_sizes(0)
        (4, 8)
    """

    cell: CellName
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    tie_weights: bool = False
    embedding_order: int = 1
    inputs: Inputs = "embedding"
    residual: bool = False
    skip: int = 0
    nonlinearity: Nonlinearity = "tanh"
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0
    initial_state: InitialState = "zero"
    direction: Literal["forward", "backward"] = "forward"
    ngram_table_sizes: tuple[int, ...] | None = None
    ngram_vocab_size: int | None = None
    attention_window: int = 0
    attention_size: int = 0
    num_labels: int = 0
    word_rows: int = 0
    word_codes: tuple[int, ...] | None = None

    def layer_sizes(self, layer: int) -> tuple[int, int]:
        """Return the input size and the hidden size of a recurrent layer."""
        first = self.vocab_size if self.inputs == "one-hot" else self.embedding_size
        return (self.hidden_size if layer else first), (
            self.output_size if layer == self.num_layers - 1 else self.hidden_size
        )

    @property
    def numbered_vocab_size(self) -> int:
        """The vocabulary size by which n-grams are numbered (see `charnn.cells.ngram_embedding.ngram_row`)."""
        return self.ngram_vocab_size or self.vocab_size

    @property
    def history_size(self) -> int:
        """Numbers of the state that say what was read, for the tables of n-grams and of the word so far."""
        return self.embedding_order - 1 + bool(self.word_rows)

    @property
    def output_size(self) -> int:
        """Units of the last recurrent layer, which is the input size of the output layer."""
        return self.embedding_size if self.tie_weights else self.hidden_size
