"""A language model trained by charnn, for Hugging Face transformers.

The files named `*_charnn.py` need torch and transformers alone. They stand in each directory that `charnn export --to hf`
writes, where `trust_remote_code=True` finds them; with charnn installed, `import charnn.hf` registers their classes instead.

Shapes are part of the names: B texts, T tokens, E embedding, H hidden size, V vocabulary, P input of a step.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from .attention_charnn import CharnnAttention, Memory
from .configuration_charnn import CharnnConfig
from .layers_charnn import CharnnLayer, State

WORD_MULTIPLIER = 31_607
"""Factor of the row of the word so far in that of the next token."""
IMPOSSIBLE = -1e4
"""Logit of the tokens that only the tokenizer has: their probability is 0 in every precision."""


@dataclass
class CharnnOutput(ModelOutput):
    """The output of `CharnnForCausalLM`.

    Args:
        loss: mean cross-entropy in nats, where labels were given.
        logits: of the token after each (B, T, V).
        state: after the last token: the state of each layer, the memory of attention, if any, and the last tokens, if n-grams
            are embedded; each an array whose first axis is B.
        hidden_states: the embeddings, and each layer's outputs (B, T, E or H), those of the top layer with what they attend
            to, where they were asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: State | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class CharnnForCausalLM(PreTrainedModel, GenerationMixin):
    """A recurrent language model with the hidden state as its cache.

    Tokens whose `attention_mask` is 0 leave the state as it is, wherever they stand. Other caches are ignored.
    """

    config_class = CharnnConfig
    config: CharnnConfig
    main_input_name = "input_ids"
    _is_stateful = True
    _no_split_modules = ["CharnnLayer"]  # noqa: RUF012

    def __init__(self, config: CharnnConfig) -> None:
        super().__init__(config)
        size = config.embedding_size
        if config.inputs == "embedding":
            self.embedding = nn.Embedding(config.num_network_tokens, size)
        self.ngram_embeddings = nn.ModuleList(nn.Embedding(rows, size) for rows in config.ngram_table_rows)
        if config.word_table_rows:
            self.word_embedding = nn.Embedding(config.word_table_rows, size)
        self.layers = nn.ModuleList(CharnnLayer(config, index) for index in range(config.num_layers))
        if config.attention_window:
            self.attention = CharnnAttention(config)
        _, output_size = config.layer_sizes(config.num_layers - 1)
        if not config.tie_weights:
            self.output = nn.Linear(output_size, config.num_network_tokens, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(config.num_network_tokens))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        bound = self.config.hidden_size**-0.5
        for name, weight in module.named_parameters(recurse=False):
            if name == "norm_weight":
                nn.init.ones_(weight)
            else:
                nn.init.uniform_(weight, -bound, bound)

    def get_input_embeddings(self) -> nn.Module | None:
        """Return the embedding of single tokens, None with one-hot inputs."""
        return getattr(self, "embedding", None)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Refuse to add tokens: the vocabulary is that of the training text."""
        raise ValueError(
            f"the vocabulary of a charnn model is fixed at {self.config.vocab_size} tokens, those of its tokenizer; "
            "use them, or train another model on a text that has the others"
        )

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first token."""
        parts = [part for layer in cast(list[CharnnLayer], self.layers) for part in layer.initial_state(batch_size)]
        if self.config.attention_window:
            parts += self.attention.initial_state(batch_size)
        history_size = len(self.config.ngram_table_rows) + bool(self.config.word_table_rows)
        if history_size:
            parts.append(torch.zeros(batch_size, history_size, dtype=torch.long, device=self.output_bias.device))
        return tuple(parts)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: State | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CharnnOutput | tuple[Any, ...]:
        """Read T tokens of B texts.

        Args:
            input_ids: tokens (B, T); the first of a text is the beginning-of-sequence token, as the tokenizer has it.
            attention_mask: 0 for padding (B, T), or for the tokens before these, too (B, more than T).
            state: what an earlier call returned; by default, the initial state.
            labels: the same tokens (B, T), -100 where no loss is wanted; they are shifted here. Tokens that only the tokenizer
                has are left out of the loss.
            use_cache: whether to return the state; yes by default.
            logits_to_keep: compute the logits of that many last tokens only, or of those with these indices; 0 for all.
        """
        state = self.initial_state(len(input_ids)) if state is None else state
        is_read_BT = None
        if attention_mask is not None:
            is_read_BT = attention_mask[:, attention_mask.shape[1] - input_ids.shape[1] :].bool()
            is_read_BT = None if is_read_BT.all() else is_read_BT
        values_BTO, new_state, hidden = self._read(input_ids, state, is_read_BT)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        weight = self.embedding.weight if self.config.tie_weights else self.output.weight
        logits_BTV = functional.linear(values_BTO[:, kept], weight, self.output_bias)
        num_others = self.config.vocab_size - self.config.num_network_tokens
        logits_BTV = functional.pad(logits_BTV, (0, num_others), value=IMPOSSIBLE)
        loss = None
        if labels is not None:
            labels = labels.masked_fill(labels >= self.config.num_network_tokens, -100)
            loss = self.loss_function(logits_BTV, labels, vocab_size=self.config.vocab_size, **kwargs)
        output = CharnnOutput(
            loss,
            logits_BTV,
            new_state if use_cache is None or use_cache else None,
            hidden if output_hidden_states else None,
        )
        return output.to_tuple() if return_dict is False else output

    def _read(
        self, ids_BT: Tensor, state: State, is_read_BT: Tensor | None
    ) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """Return the outputs of the top layer (B, T, H), the state after the last token, and the outputs of each layer."""
        ids_BT = torch.where(ids_BT < self.config.num_network_tokens, ids_BT, self.config.boundary_id)
        vectors_BTE, history = self._embedded(ids_BT, state, is_read_BT)
        values_TBI = vectors_BTE.transpose(0, 1)
        is_read_TB = None if is_read_BT is None else is_read_BT.transpose(0, 1)
        hidden, new_state, first = [vectors_BTE], list[Tensor](), 0
        for layer in cast(list[CharnnLayer], self.layers):
            layer_state = state[first : first + layer.num_states]
            first += layer.num_states
            (outputs, *others), last = layer(values_TBI, layer_state, is_read_TB)
            if self.config.residual and layer.index:
                outputs = outputs + values_TBI[..., : outputs.shape[-1]]
            hidden.append(outputs.transpose(0, 1))
            values_TBI = torch.cat((outputs, *others), -1)
            new_state += last
        if self.config.attention_window:
            memory = cast(Memory, state[first : first + CharnnAttention.num_states])
            attended_BTH, memory = self.attention(hidden[-1], memory, is_read_BT)
            hidden[-1] = attended_BTH
            new_state += memory
        return hidden[-1], (*new_state, *history), tuple(hidden)

    def _embedded(self, ids_BT: Tensor, state: State, is_read_BT: Tensor | None) -> tuple[Tensor, State]:
        """Return the input of the first layer (B, T, E), and the last tokens and the word so far as the end of a state."""
        if self.config.inputs == "one-hot":
            return functional.one_hot(ids_BT, self.config.num_network_tokens).to(self.dtype), ()
        vectors_BTE = self.embedding(ids_BT)
        num_before = len(self.config.ngram_table_rows)
        if not num_before and not self.config.word_table_rows:
            return vectors_BTE, ()
        history_BM = state[-1]
        windows_BTN, history_BN = _windows(ids_BT + 1, history_BM[:, :num_before], is_read_BT)
        base = (self.config.ngram_vocab_size or self.config.num_network_tokens) + 1
        for order, table in enumerate(cast(list[nn.Embedding], self.ngram_embeddings), start=2):
            rows_BT = windows_BTN[..., -order]
            for position in range(order - 1, 0, -1):
                rows_BT = (rows_BT * base + windows_BTN[..., -position]) % table.num_embeddings
            vectors_BTE = vectors_BTE + table(rows_BT)
        if not self.config.word_table_rows:
            return vectors_BTE, (history_BN,)
        codes_BT = torch.tensor(self.config.word_codes, device=ids_BT.device)[ids_BT]
        words_BT, word_B = _words(codes_BT, history_BM[:, -1], self.config.word_table_rows, is_read_BT)
        return vectors_BTE + self.word_embedding(words_BT), (torch.cat((history_BN, word_B[:, None]), 1),)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        state: State | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return what `forward` takes in: only new tokens, once there is a state."""
        if next_sequence_length is None and state is not None and not is_first_iteration:
            next_sequence_length = 1
        ids = input_ids if next_sequence_length is None else input_ids[:, -next_sequence_length:]
        names = ("attention_mask", "use_cache", "logits_to_keep", "output_hidden_states")
        return {"input_ids": ids, "state": state, **{name: kwargs[name] for name in names if name in kwargs}}

    def _update_model_kwargs_for_generation(self, outputs: Any, model_kwargs: dict[str, Any], **kwargs: Any) -> Any:
        if outputs.get("state") is not None:
            model_kwargs["state"] = outputs["state"]
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, **kwargs)

    def _reorder_cache(self, state: State, beam_idx: Tensor) -> State:
        """Return the states of the selected beams."""
        return tuple(part.index_select(0, beam_idx.to(part.device)) for part in state)


def _windows(digits_BT: Tensor, history_BN: Tensor, is_read_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each token with the N read before it, the latest last (B, T, N + 1), and the last N.

    Args:
        digits_BT: tokens as id + 1.
        history_BN: those before, 0 for none.
    """
    num_before = history_BN.shape[1]
    if is_read_BT is None:
        digits = torch.cat((history_BN, digits_BT), 1)
        return digits.unfold(1, num_before + 1, 1), digits[:, digits.shape[1] - num_before :]
    windows = []
    for time in range(digits_BT.shape[1]):
        windows.append(torch.cat((history_BN, digits_BT[:, time, None]), 1))
        history_BN = torch.where(is_read_BT[:, time, None], windows[-1][:, 1:], history_BN)
    return torch.stack(windows, 1), history_BN


def _words(codes_BT: Tensor, word_B: Tensor, num_rows: int, is_read_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the row of the word so far at each token (B, T), and that after the last one (B,).

    Args:
        codes_BT: codes of the tokens.
        word_B: the row before them, 0 for none.
    """
    rows = []
    for time in range(codes_BT.shape[1]):
        code_B = codes_BT[:, time]
        is_letter_B = code_B > 0
        row_B = torch.where(is_letter_B, word_B * WORD_MULTIPLIER + code_B, -code_B) % num_rows
        rows.append(row_B)
        new_B = row_B * is_letter_B
        word_B = new_B if is_read_BT is None else torch.where(is_read_BT[:, time], new_B, word_B)
    return torch.stack(rows, 1), word_B
