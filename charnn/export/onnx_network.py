"""A network as an ONNX graph: T tokens of B streams in, their logits and the new state out.

LSTMs, GRUs and simple RNNs are ONNX's operators, whose equations are the same, with the gates in another order. Any other cell
is a loop (the operator Scan) over its own equations, those of `charnn.cells`; attention is one (Loop) over blocks of tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import GraphProto

from charnn.cells import CELL_NAMES, Cell, cell_of
from charnn.cells.attention import attention_weights, memory_shapes, mix, project
from charnn.cells.parameters import layer_weights
from charnn.cells.word_prefix import MULTIPLIER
from charnn.config import Architecture
from charnn.errors import CharnnError
from charnn.export.onnx_arrays import ANY_SIZE, FUNCTIONS, MAX_INT64, Graph, Initializers, TracedArray
from charnn.storage.tensor_file import Tensors

LAST_TOKENS, WORD = "last_tokens", "word"
MEMORY = ("attention.memory", "attention.is_filled", "attention.next_key")
"""The names of the memory (see `charnn.cells.attention.Attended`)."""
ATTENTION_BLOCK = 32
"""Positions whose scores are computed together."""
NEW = "new."
"""What the name of an output begins with, before that of the input whose value for the next call it is."""


class Operator(NamedTuple):
    """An operator of ONNX.

    Args:
        name: its name.
        gates: the position in charnn's gate order of each of its gates.
        attributes: what makes its equations those of the cell.
    """

    name: str
    gates: tuple[int, ...]
    attributes: Mapping[str, Any] = {}


OPERATORS = {
    "lstm": Operator("LSTM", (0, 3, 1, 2)),  # i f g o here, i o f g there
    "gru": Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # r z n here, z r n there
    "rnn": Operator("RNN", (0,)),
}


def network_graph(architecture: Architecture, weights: Tensors) -> GraphProto:
    """Return the graph of a network.

    Its inputs are `ids` (T, B), and the state: the vectors of `initial_state`, then the arrays of `zero_state`, with an axis B
    in front. Its outputs are `logits` (T, B, V) of the token after each, and the new state, in the same order, with `new.`
    before each name.

    Raises:
        CharnnError: for a registered cell whose equations ONNX cannot express.
    """
    graph = Graph(Initializers(weights))
    ids_TB = graph.input("ids", (ANY_SIZE, ANY_SIZE), np.int64)
    states = {
        name: graph.input(name, (ANY_SIZE, len(vector)), vector.dtype)
        for name, vector in initial_state(architecture, weights).items()
    }
    states |= {name: graph.input(name, (ANY_SIZE, *shape)) for name, shape in zero_state(architecture).items()}
    values_TBI, new_states = _embedded(graph, architecture, weights, ids_TB, states)
    for layer in range(architecture.num_layers):
        names = state_names(architecture, layer)
        below_TBI = values_TBI
        values_TBI, last = _layer(architecture, layer, weights, below_TBI, [states[name] for name in names])
        new_states |= dict(zip(names, last, strict=True))
    if architecture.attention_window:
        values_TBI, memory = _attended(weights, values_TBI, [states[name] for name in MEMORY])
        new_states |= dict(zip(MEMORY, memory, strict=True))
    outputs = [graph.renamed(_logits(graph, architecture, weights, values_TBI), "logits")]
    outputs += [graph.renamed(new_states[name], NEW + name) for name in states]
    return graph.proto("charnn", outputs, list(graph.initializers.tensors.values()))


def initial_state(architecture: Architecture, weights: Tensors) -> dict[str, npt.NDArray[Any]]:
    """Return the initial state of one stream: the state of each layer from the lowest on, then the last tokens.

    Returns:
        Vectors by name: `state.LAYER.PART` (H,); with n-gram embeddings also `last_tokens` (N,), each as id + 1, 0 for none;
        with an embedding of the word so far `word` (1,), its row, 0 for none.
    """
    vectors: dict[str, npt.NDArray[Any]] = {}
    for layer in range(architecture.num_layers):
        zeros = np.zeros(architecture.layer_sizes(layer)[1], dtype=np.float32)
        learned = layer_weights(weights, layer)
        for part, name in enumerate(state_names(architecture, layer)):
            vectors[name] = learned.get(f"initial_{part}", zeros)
    if architecture.embedding_order > 1:
        vectors[LAST_TOKENS] = np.zeros(architecture.embedding_order - 1, dtype=np.int64)
    if architecture.word_rows:
        vectors[WORD] = np.zeros(1, dtype=np.int64)
    return vectors


def zero_state(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of one stream's state that begins with zeros: the memory of attention, if any, by name."""
    shapes = memory_shapes(architecture, 1)
    return {name: shape[1:] for name, shape in zip(MEMORY, shapes, strict=True)} if shapes else {}


def state_names(architecture: Architecture, layer: int) -> list[str]:
    """Return the names of the arrays in a layer's state, the output first."""
    return [f"state.{layer}.{part}" for part in range(cell_of(architecture, layer).num_states)]


def _embedded(
    graph: Graph, architecture: Architecture, weights: Tensors, ids_TB: TracedArray, states: Mapping[str, TracedArray]
) -> tuple[TracedArray, dict[str, TracedArray]]:
    """Return the input of the first layer (T, B, I), and the new last tokens, if any, by name."""
    if architecture.inputs == "one-hot":
        size, add = architecture.vocab_size, graph.initializers.add
        inputs = [ids_TB.name, add(np.array(size, np.int64)), add(np.array([0, 1], np.float32))]
        (one_hot,) = graph.apply("OneHot", inputs)
        return TracedArray(graph, one_hot, (*ids_TB.shape, size)), {}
    total: Any = _gathered(graph, weights, "embedding.weight", ids_TB)
    new: dict[str, TracedArray] = {}
    if architecture.word_rows:
        words_TB, new[WORD] = _words(graph, architecture, ids_TB, states[WORD])
        total = total + _gathered(graph, weights, "embedding.word.weight", words_TB)
    num_before = architecture.embedding_order - 1
    if not num_before:
        return total, new
    digits = FUNCTIONS.concatenate((states[LAST_TOKENS].T, ids_TB + 1))
    windows = [digits[first : (first - num_before) or None] for first in range(num_before + 1)]
    for order in range(2, architecture.embedding_order + 1):
        name = f"embedding.{order}.weight"
        row_TB: Any = windows[-order]
        for digit_TB in windows[len(windows) - order + 1 :]:
            row_TB = (row_TB * (architecture.numbered_vocab_size + 1) + digit_TB) % len(weights[name])
        total = total + _gathered(graph, weights, name, row_TB)
    last = TracedArray(graph, digits[-num_before:].T.name, states[LAST_TOKENS].shape, np.int64)
    return total, {LAST_TOKENS: last, **new}


def _words(
    graph: Graph, architecture: Architecture, ids_TB: TracedArray, word_B1: TracedArray
) -> tuple[TracedArray, TracedArray]:
    """Return the row of the word so far at each token (T, B), and that after the last one (B, 1), by a loop over the tokens."""
    codes = np.array(architecture.word_codes, dtype=np.int64)
    (codes_TB,) = graph.apply("Gather", [graph.initializers.add(codes), ids_TB.name])
    body = Graph(graph.initializers, "word.step.")
    word_B, code_B = body.input("word", (ANY_SIZE,), np.int64), body.input("code", (ANY_SIZE,), np.int64)
    letter_B, other_B = FUNCTIONS.maximum(code_B, 0), FUNCTIONS.maximum(-code_B, 0)
    is_letter_B = FUNCTIONS.minimum(letter_B, 1)
    next_B = (word_B * MULTIPLIER + letter_B) * is_letter_B % architecture.word_rows
    row_B = next_B + other_B % architecture.word_rows
    outputs = [body.renamed(next_B, "next"), body.renamed(row_B, "row")]
    (word,) = graph.apply("Squeeze", [word_B1.name, graph.initializers.add(np.array([1], np.int64))])
    last, rows = graph.apply("Scan", [word, codes_TB], 2, body=body.proto("word.step", outputs), num_scan_inputs=1)
    (last_B1,) = graph.apply("Unsqueeze", [last, graph.initializers.add(np.array([1], np.int64))])
    return TracedArray(graph, rows, ids_TB.shape, np.int64), TracedArray(graph, last_B1, word_B1.shape, np.int64)


def _gathered(graph: Graph, weights: Tensors, name: str, rows_TB: TracedArray) -> TracedArray:
    (vectors,) = graph.apply("Gather", [graph.initializers.add(weights[name]), rows_TB.name])
    return TracedArray(graph, vectors, (*rows_TB.shape, weights[name].shape[1]))


def _layer(
    architecture: Architecture, layer: int, all_weights: Tensors, inputs_TBI: TracedArray, state: Sequence[TracedArray]
) -> tuple[TracedArray, Sequence[TracedArray]]:
    """Return the input of the next layer (T, B, O), and the layer's new state."""
    cell, weights = cell_of(architecture, layer), layer_weights(all_weights, layer)
    if architecture.cell in OPERATORS and not architecture.skip:
        (output, *others), new_state = _operator(architecture, layer, weights, inputs_TBI, state)
    else:
        (output, *others), new_state = _scan(architecture, layer, cell, weights, inputs_TBI, state)
    if architecture.residual and layer:
        output = output + inputs_TBI[..., : output.shape[-1]]
    return FUNCTIONS.concatenate((output, *others), -1) if others else output, new_state


Run = tuple[list[Any], list[TracedArray]]
"""Those arrays of a layer's states (T, B, H) that the next layer takes in, and the last state."""


def _operator(
    architecture: Architecture, layer: int, weights: Tensors, inputs_TBI: TracedArray, state: Sequence[TracedArray]
) -> Run:
    """Run a layer as an operator of ONNX, whose arrays have an additional axis for the direction."""
    operator, graph = OPERATORS[architecture.cell], inputs_TBI.graph
    add, first_axis = graph.initializers.add, graph.initializers.add(np.array([0], np.int64))
    rows = {name: _reordered(weights[name], operator.gates) for name in weights if not name.startswith("initial_")}
    matrices = [add(rows[f"weight_{kind}"][None], f"layers.{layer}.{kind}") for kind in ("ih", "hh")]
    bias = add(np.concatenate((rows["bias_ih"], rows["bias_hh"]))[None], f"layers.{layer}.bias")
    initial = [graph.apply("Unsqueeze", [part.name, first_axis])[0] for part in state]
    names = [inputs_TBI.name, *matrices, bias, "", *initial]
    size = state[0].shape[1]
    activations = {"activations": [architecture.nonlinearity.capitalize()]} if architecture.cell == "rnn" else {}
    outputs, *last = graph.apply(
        operator.name, names, 1 + len(state), hidden_size=size, **activations, **operator.attributes
    )
    (outputs,) = graph.apply("Squeeze", [outputs, add(np.array([1], np.int64))])
    new_state = [graph.apply("Squeeze", [name, first_axis])[0] for name in last]
    return (
        [TracedArray(graph, outputs, (*inputs_TBI.shape[:2], size))],
        [TracedArray(graph, name, part.shape) for name, part in zip(new_state, state, strict=True)],
    )


def _reordered(array: npt.NDArray[Any], gates: Sequence[int]) -> npt.NDArray[Any]:
    """Return the blocks of rows of an array in another order."""
    return np.concatenate([np.split(array, len(gates))[gate] for gate in gates])


def _scan(
    architecture: Architecture,
    layer: int,
    cell: Cell,
    weights: Tensors,
    inputs_TBI: TracedArray,
    state: Sequence[TracedArray],
) -> Run:
    """Run a layer as a loop over the equations of its cell."""
    graph = inputs_TBI.graph
    body = Graph(graph.initializers, f"layers.{layer}.step.")
    inner_state = [body.input(f"state.{part}", array.shape) for part, array in enumerate(state)]
    try:
        projected = cell.project(weights, inputs_TBI, FUNCTIONS)
        per_step = [projected] if cell.coefficients is None else list(cell.coefficients(projected, FUNCTIONS))
        inner = [body.input(f"input.{number}", array.shape[1:]) for number, array in enumerate(per_step)]
        if cell.coefficients is None:
            new = list(cell.step(weights, inner[0], inner_state, FUNCTIONS))
        else:
            new = [inner[0] * inner_state[0] + inner[1]]
        outputs = [body.renamed(array, f"new.{part}") for part, array in enumerate(new)]
        outputs += [body.renamed(array, f"output.{part}") for part, array in enumerate(new[: cell.num_outputs])]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        if architecture.cell in CELL_NAMES:
            raise
        raise CharnnError(
            f"export --to onnx: cell {architecture.cell!r} is computed in a way that this export cannot express ({error}); "
            f"use arithmetic, @, slices, reshape, sigmoid and {', '.join(sorted(vars(FUNCTIONS)))} only"
        ) from error
    names = [array.name for array in (*state, *per_step)]
    subgraph = body.proto(f"layers.{layer}.step", outputs)
    made = graph.apply("Scan", names, len(outputs), body=subgraph, num_scan_inputs=len(per_step))
    sizes = inputs_TBI.shape[:2]
    return (
        [TracedArray(graph, name, (*sizes, state[0].shape[1])) for name in made[len(state) :]],
        [TracedArray(graph, name, array.shape) for name, array in zip(made, state, strict=False)],
    )


def _attended(
    all_weights: Tensors, outputs_TBH: TracedArray, memory: Sequence[TracedArray]
) -> tuple[TracedArray, Sequence[TracedArray]]:
    """Return the outputs with what they attend to, and the new memory.

    Products with weights are computed for all tokens at once, scores for one block after another, then for each token that is
    left over.
    """
    graph, weights = outputs_TBH.graph, attention_weights(all_weights)
    projected = project(weights, outputs_TBH, FUNCTIONS)
    shape_3 = TracedArray(graph, graph.apply("Shape", [projected[0].name])[0], (3,), np.int64)
    num_blocks = shape_3[:1] / ATTENTION_BLOCK
    in_blocks = num_blocks * ATTENTION_BLOCK
    first, last, axis = (graph.initializers.add(np.array([number], np.int64)) for number in (0, MAX_INT64, 0))
    blocks_shape = FUNCTIONS.concatenate((num_blocks, np.array([ATTENTION_BLOCK]), shape_3[1:]))
    whole_blocks, rest = [], []
    for part in projected:
        (whole,) = graph.apply("Slice", [part.name, first, in_blocks.name, axis])
        (whole,) = graph.apply("Reshape", [whole, blocks_shape.name])
        whole_blocks.append(TracedArray(graph, whole, (ANY_SIZE, ATTENTION_BLOCK, *part.shape[1:])))
        (left_over,) = graph.apply("Slice", [part.name, in_blocks.name, last, axis])
        rest.append(TracedArray(graph, left_over, part.shape)[:, None])
    of_blocks, memory = _mixed("attention.blocks.", whole_blocks, memory)
    of_rest, memory = _mixed("attention.step.", rest, memory)
    whole_shape = FUNCTIONS.concatenate((in_blocks, shape_3[1:]))
    (whole,) = graph.apply("Reshape", [of_blocks.name, whole_shape.name])
    gated_TBD = FUNCTIONS.concatenate((TracedArray(graph, whole, projected[0].shape), of_rest[:, 0]))
    return outputs_TBH + gated_TBD @ weights["output"].T, memory


def _mixed(
    prefix: str, projected: Sequence[TracedArray], memory: Sequence[TracedArray]
) -> tuple[TracedArray, Sequence[TracedArray]]:
    """Return what N blocks of t positions attend to, gated (N, t, B, D), and the new memory.

    That is a loop over the blocks, of which there may be none; a Scan needs one at least.

    Args:
        prefix: of names.
        projected: query, key, value and gate (N, t, B, D).
    """
    graph = projected[0].graph
    body = Graph(graph.initializers, prefix)
    number, is_on = body.input("number", (), np.int64), body.input("is_on", (), bool)
    inner_memory = [body.input(f"memory.{part}", array.shape) for part, array in enumerate(memory)]
    block = [body.apply("Gather", [part.name, number.name], axis=0)[0] for part in projected]
    inner = [TracedArray(body, name, part.shape[1:]) for name, part in zip(block, projected, strict=True)]
    gated_TBD, new, _ = mix(inner, inner_memory, FUNCTIONS)
    outputs = [body.renamed(is_on, "is_still_on")]
    outputs += [body.renamed(array, f"new.{part}") for part, array in enumerate(new)]
    outputs.append(body.renamed(gated_TBD, "output"))
    num_blocks = TracedArray(graph, graph.apply("Shape", [projected[0].name])[0], (4,), np.int64)[0]
    names = [num_blocks.name, "", *(array.name for array in memory)]
    *made, gated = graph.apply("Loop", names, len(memory) + 1, body=body.proto(prefix[:-1], outputs))
    new_memory = [TracedArray(graph, name, array.shape) for name, array in zip(made, memory, strict=True)]
    return TracedArray(graph, gated, projected[0].shape), new_memory


def _logits(graph: Graph, architecture: Architecture, weights: Tensors, outputs_TBH: TracedArray) -> TracedArray:
    """Return the logits (T, B, V); the matrix is transposed in the graph, so that tied weights are stored once."""
    matrix_VH = weights["embedding.weight" if architecture.tie_weights else "output.weight"]
    stored = TracedArray(graph, graph.initializers.add(matrix_VH), matrix_VH.shape)
    logits: TracedArray = outputs_TBH @ stored.T + weights["output.bias"]
    return logits
