"""What is done to traced arrays is what NumPy does."""

import numpy as np
import pytest

CLIENTS = "the extra clients is not installed: pip install -e '.[clients]'"
onnx = pytest.importorskip("onnx", reason=CLIENTS)
onnxruntime = pytest.importorskip("onnxruntime", reason=CLIENTS)

from charnn.export.onnx_arrays import ANY_SIZE, FUNCTIONS, Graph, Initializers, broadcast_shape  # noqa: E402

MATRIX = np.sin(np.arange(12, dtype=np.float32)).reshape(6, 2)
ROW = np.cos(np.arange(6, dtype=np.float32))
EXPRESSIONS = {
    "sum": lambda x: x + 1 + ROW + x,
    "difference": lambda x: (1 - x) - (x - ROW),
    "quotient": lambda x: (1 / (x + 3)) / (ROW + 2) + x / 4,
    "array-first": lambda x: ROW * x - ROW + ROW / (x + 9),
    "power": lambda x: (-x) ** 2,
    "product": lambda x: x @ MATRIX,
    "first-columns": lambda x: x[:, :2],
    "last-columns": lambda x: x[..., -2:],
    "middle": lambda x: x[:, 1:-1],
    "row": lambda x: x[1],
    "last-column": lambda x: x[:, -1],
    "rows": lambda x: x[1:],
    "transposed": lambda x: x.T,
    "gates": lambda x: FUNCTIONS.concatenate(list(x.reshape(len(x), 3, -1).swapaxes(0, 1))[::-1], -1),
    "concatenated": lambda x: FUNCTIONS.concatenate((x, x * 2), 0),
    "where": lambda x: FUNCTIONS.where(x >= 0, x + 0.5, -x),
    "constants-where": lambda x: FUNCTIONS.where(x > 0, 2.0, 1.0),
    "comparisons": lambda x: (
        FUNCTIONS.where(x < 0, 1.0, x) * FUNCTIONS.where(x <= 0.2, x, 2.0) + FUNCTIONS.where(x > 0.4, x, x * x)
    ),
    "relu": lambda x: FUNCTIONS.clip(x, 0, None),
    "clip": lambda x: FUNCTIONS.clip(x, -0.3, 0.3),
    "below": lambda x: FUNCTIONS.clip(x, None, 0.3),
    "extremes": lambda x: FUNCTIONS.maximum(x, 0.1) + FUNCTIONS.minimum(-0.1, x),
    "functions": lambda x: (
        FUNCTIONS.tanh(x) + FUNCTIONS.exp(x) + FUNCTIONS.log(FUNCTIONS.abs(x) + 1) + FUNCTIONS.sqrt(FUNCTIONS.abs(x))
    ),
    "logaddexp": lambda x: FUNCTIONS.logaddexp(x * 90, -x) + FUNCTIONS.logaddexp(0.5, x),
    "sums": lambda x: x.sum(-1) + x.mean(1) + FUNCTIONS.amax(x, -1),
    "new-axes": lambda x: x[None, :, :, None] * x[..., None] - x[:, None, 1][..., None, :1],
    "stacked-product": lambda x: x.reshape(len(x), 2, 3) @ x.reshape(len(x), 3, 2),
    "filled": lambda x: x + FUNCTIONS.full_like(x, -3.5) + FUNCTIONS.ones_like(x[:, 0])[:, None] * 2,
    "both": lambda x: FUNCTIONS.where((x > -0.5) & (x < 0.5) & (ROW > 0), x, 1.0),
    "mask-first": lambda x: FUNCTIONS.where((ROW > 0) & (x > 0), x, 1.0),
    "constants": lambda x: (
        x + FUNCTIONS.tanh(ROW) * FUNCTIONS.clip(ROW, 0, None) + FUNCTIONS.concatenate((ROW[:3], ROW[3:]))
    ),
}


def traced(expression, values, shape):
    graph = Graph(Initializers({"matrix": MATRIX, "row": ROW}))
    output = graph.renamed(expression(graph.input("x", shape)), "y")
    proto = graph.proto("test", [output], list(graph.initializers.tensors.values()))
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": values})[0], output.shape, graph


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_an_expression_has_the_values_that_numpy_gives(name, is_known):
    values = np.sin(np.arange(24, dtype=np.float32) * 1.3).reshape(4, 6)
    expected = EXPRESSIONS[name](values)
    found, shape, _ = traced(EXPRESSIONS[name], values, (4 if is_known else ANY_SIZE, 6))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == expected.shape
    assert all(size in (wanted, ANY_SIZE) for size, wanted in zip(shape, expected.shape, strict=True))
    assert not is_known or shape == expected.shape


def test_the_logistic_function_is_an_operator():
    values = np.linspace(-90, 90, 7, dtype=np.float32)[None]
    found, _, _ = traced(lambda x: x.sigmoid(), values, (1, 7))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-values.astype(np.float64))), atol=1e-6)


def test_initializers_keep_the_names_of_weights_and_are_stored_once():
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    initializers = Initializers({"w": square})
    assert [initializers.add(array) for array in (square, square.T, square, square.T)] == ["w", "w.T", "w", "w.T"]
    assert initializers.add(square[:2]) == initializers.add(square[:2]) == "constant.0"
    assert initializers.add(np.float32(2.0)) == initializers.add(np.float32(2.0)) != initializers.add(np.int64(2))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(initializers.tensors["w.T"]), square.T)


def test_shapes_fit_as_in_numpy():
    assert broadcast_shape([(ANY_SIZE, 3), (3,), ()]) == (ANY_SIZE, 3)
    assert broadcast_shape([(4, 1), (1, 5)]) == (4, 5)
    with pytest.raises(ValueError, match=r"the shapes \(\?, 3\) and \(2\) do not fit"):
        broadcast_shape([(ANY_SIZE, 3), (2,)])


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        pytest.param(lambda x: x.reshape(len(x), 4, -1), "to (?, 4, -1)", id="remainder"),
        pytest.param(lambda x: x.reshape(len(x), 3), "to (?, 3)", id="fewer"),
        pytest.param(lambda x: x.reshape(2 * len(x), -1), "to (4294967294, -1)", id="of-streams"),
        pytest.param(lambda x: x.reshape(3, 2 * len(x)), "to (3, 4294967294)", id="elsewhere"),
    ],
)
def test_a_reshape_that_moves_the_axis_of_streams_is_refused(expression, wanted):
    with pytest.raises(ValueError, match=r"an array of shape \(\?, 6\) cannot be reshaped to") as error:
        traced(expression, None, (ANY_SIZE, 6))
    assert str(error.value).endswith(wanted)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        pytest.param(lambda x: list(x), "an axis of unknown size", id="iteration"),
        pytest.param(lambda x: x["a"], "is indexed with 'a'", id="index"),
        pytest.param(lambda x: x if x > 0 else -x, "decides what is computed", id="truth"),
    ],
)
def test_what_a_graph_cannot_do_is_a_type_error(expression, reason):
    with pytest.raises(TypeError, match=reason):
        traced(expression, None, (ANY_SIZE, 6))
