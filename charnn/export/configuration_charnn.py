"""The configuration of a language model trained by charnn, for Hugging Face transformers."""

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

CELLS = ("lstm", "gru", "rnn", "leaky", "mogrifier", "mlstm", "depth-lstm", "mingru", "minlstm")


class CharnnConfig(PretrainedConfig):
    """The architecture of a model.

    Args:
        cell: lstm, gru, rnn, leaky, mogrifier, mlstm, depth-lstm, mingru or minlstm.
        vocab_size: the tokens of the network and those that only the tokenizer has, which have the last ids.
        num_network_tokens: the former alone.
        boundary_id: the token before and after each text, which the others are read as.
        embedding_size, hidden_size, num_layers: sizes of the network.
        tie_weights: whether the output layer is the transposed embedding.
        ngram_table_rows: rows of the tables of 2-grams, 3-grams and so on whose vectors are added to each embedding.
        ngram_vocab_size: vocabulary size by which n-grams are numbered; None for the tokens of the network.
        word_table_rows: rows of the table of the word so far, 0 without one.
        word_codes: with it, the code of each token of the network: above 0 for one that continues a word, else below.
        inputs: embedding or one-hot.
        residual: whether layers from the second on add their input to their output.
        skip: distance of an additional recurrent connection, 0 for none.
        nonlinearity: tanh or relu (rnn, leaky).
        mogrifier_rounds, mogrifier_rank: rounds of gating, and the rank of their matrices, 0 for full rank (mogrifier).
        initial_state: zero or learned.
        attention_window: positions that the top layer attends to, the current one included; 0 without attention.
        attention_size: of queries, keys and values.
    """

    model_type = "charnn"
    attribute_map = {"num_hidden_layers": "num_layers"}  # noqa: RUF012

    def __init__(
        self,
        cell: str = "lstm",
        vocab_size: int = 4,
        num_network_tokens: int = 1,
        boundary_id: int = 0,
        embedding_size: int = 1,
        hidden_size: int = 1,
        num_layers: int = 1,
        tie_weights: bool = False,
        ngram_table_rows: Sequence[int] = (),
        ngram_vocab_size: int | None = None,
        word_table_rows: int = 0,
        word_codes: Sequence[int] = (),
        inputs: str = "embedding",
        residual: bool = False,
        skip: int = 0,
        nonlinearity: str = "tanh",
        mogrifier_rounds: int = 0,
        mogrifier_rank: int = 0,
        initial_state: str = "zero",
        attention_window: int = 0,
        attention_size: int = 0,
        **kwargs: Any,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"cell: found {cell!r}, but this file knows only {', '.join(CELLS)}")
        self.cell = cell
        self.vocab_size = vocab_size
        self.num_network_tokens = num_network_tokens
        self.boundary_id = boundary_id
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.tie_weights = tie_weights
        self.ngram_table_rows = list(ngram_table_rows)
        self.ngram_vocab_size = ngram_vocab_size
        self.word_table_rows = word_table_rows
        self.word_codes = list(word_codes)
        self.inputs = inputs
        self.residual = residual
        self.skip = skip
        self.nonlinearity = nonlinearity
        self.mogrifier_rounds = mogrifier_rounds
        self.mogrifier_rank = mogrifier_rank
        self.initial_state = initial_state
        self.attention_window = attention_window
        self.attention_size = attention_size
        kwargs["tie_word_embeddings"] = False  # the output layer of tied weights is no module of its own
        super().__init__(**kwargs)

    def layer_sizes(self, layer: int) -> tuple[int, int]:
        """Return the input size and the hidden size of a recurrent layer."""
        first = self.num_network_tokens if self.inputs == "one-hot" else self.embedding_size
        is_last = layer == self.num_layers - 1
        return (
            self.hidden_size if layer else first,
            self.embedding_size if self.tie_weights and is_last else self.hidden_size,
        )
