"""Arrays that record what is done to them as ONNX operators, so that the equations of a cell are exported as they stand.

The equations in `charnn.cells` run on NumPy arrays and on torch tensors; they run on a `TracedArray` too, with `FUNCTIONS` as
the array module. Weights stay NumPy arrays and become initializers of the graph where they meet a traced array.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import EllipsisType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

Shape = tuple[int, ...]
"""Sizes of the axes; `ANY_SIZE` for one that is known only when the graph runs."""
Operand = Any
"""A traced array, a NumPy array or a number."""
Index = int | slice | EllipsisType | None

ANY_SIZE = (1 << 31) - 1
"""A prime that no axis has, so that a cell that computes with a size is noticed in `reshape`."""
MAX_INT64 = np.iinfo(np.int64).max


class Initializers:
    """The constants of a graph and its subgraphs, each stored once.

    Args:
        weights: arrays by name, whose names the initializers keep; a transposed array has `.T` after its name.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        self._names = {_identity(array.T): f"{name}.T" for name, array in weights.items()}
        self._names |= {_identity(array): name for name, array in weights.items()}
        self._numbers = itertools.count()
        self._arrays: dict[tuple[Any, ...], npt.NDArray[Any]] = {}  # kept alive: a key contains an address
        self.tensors: dict[str, TensorProto] = {}

    def add(self, array: npt.NDArray[Any], name: str | None = None) -> str:
        """Return the name of an array, which is added unless it is there already."""
        key = (array.dtype.str, array.item()) if array.ndim == 0 else _identity(array)
        if key not in self._arrays:
            self._arrays[key] = array
            self._names[key] = name or self._names.get(key) or f"constant.{next(self._numbers)}"
            name = self._names[key]
            self.tensors[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return self._names[key]


def _identity(array: npt.NDArray[Any]) -> tuple[Any, ...]:
    return array.ctypes.data, array.shape, array.strides, array.dtype.str


class Graph:
    """Operators in the order in which they were recorded.

    Args:
        initializers: the constants, common to a graph and its subgraphs.
        prefix: what the names of its values begin with.
    """

    def __init__(self, initializers: Initializers, prefix: str = "") -> None:
        self.initializers = initializers
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.inputs: list[TracedArray] = []
        self._numbers = itertools.count()

    def input(self, name: str, shape: Shape, dtype: npt.DTypeLike = np.float32) -> "TracedArray":
        """Return a new input."""
        array = TracedArray(self, self.prefix + name, shape, dtype)
        self.inputs.append(array)
        return array

    def name_of(self, operand: Operand, dtype: npt.DTypeLike) -> str:
        """Return the name of an operand; a number or an array becomes a constant of a type."""
        return operand.name if isinstance(operand, TracedArray) else self.initializers.add(np.asarray(operand, dtype))

    def apply(self, operator: str, inputs: Sequence[str], num_outputs: int = 1, **attributes: Any) -> list[str]:
        """Record an operator and return the names of its outputs."""
        name = f"{self.prefix}{operator}.{next(self._numbers)}"
        outputs = [name] if num_outputs == 1 else [f"{name}.{number}" for number in range(num_outputs)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs

    def renamed(self, array: "TracedArray", name: str) -> "TracedArray":
        """Return a copy of an array with a name of its own, as an output of the graph."""
        self.nodes.append(helper.make_node("Identity", [array.name], [self.prefix + name]))
        return TracedArray(self, self.prefix + name, array.shape, array.dtype)

    def proto(self, name: str, outputs: Sequence["TracedArray"], tensors: Sequence[TensorProto] = ()) -> GraphProto:
        """Return the graph as a message."""
        inputs = [array.value_info() for array in self.inputs]
        return helper.make_graph(self.nodes, name, inputs, [array.value_info() for array in outputs], tensors)


class TracedArray:
    """An array of a graph, whose values are known only when the graph runs.

    Args:
        graph: where what is done to it is recorded.
        name: its name in the graph.
    """

    __array_ufunc__ = None
    """With this, NumPy leaves `array * traced` to the traced array."""

    def __init__(self, graph: Graph, name: str, shape: Shape, dtype: npt.DTypeLike = np.float32) -> None:
        self.graph, self.name, self.shape, self.dtype = graph, name, shape, np.dtype(dtype)

    def value_info(self) -> Any:
        """Return name, type and shape as a message; T and B are the sizes that are known only when the graph runs."""
        names = iter(["B", "T"])
        sizes = [next(names) if size == ANY_SIZE else size for size in reversed(self.shape)]
        return helper.make_tensor_value_info(self.name, helper.np_dtype_to_tensor_dtype(self.dtype), sizes[::-1])

    def _made(self, operator: str, inputs: Sequence[str], shape: Shape, dtype: Any = None, **attributes: Any) -> Any:
        (name,) = self.graph.apply(operator, inputs, **attributes)
        return TracedArray(self.graph, name, shape, self.dtype if dtype is None else dtype)

    def elementwise(self, operator: str, *operands: Operand, dtype: Any = None) -> Any:
        """Return the result of an operator that works element by element, with broadcasting."""
        kind = next((each.dtype for each in operands if _is_number(each)), np.dtype(np.float32))
        names = [self.graph.name_of(each, kind) for each in operands]
        return self._made(operator, names, broadcast_shape([_shape(each) for each in operands]), dtype or kind)

    def __add__(self, other: Operand) -> Any:
        return self.elementwise("Add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Any:
        return self.elementwise("Sub", self, other)

    def __rsub__(self, other: Operand) -> Any:
        return self.elementwise("Sub", other, self)

    def __mul__(self, other: Operand) -> Any:
        return self.elementwise("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Any:
        return self.elementwise("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Any:
        return self.elementwise("Div", other, self)

    def __mod__(self, other: Operand) -> Any:
        return self.elementwise("Mod", self, other)

    def __pow__(self, other: Operand) -> Any:
        return self.elementwise("Pow", self, other)

    def __neg__(self) -> Any:
        return self.elementwise("Neg", self)

    def __ge__(self, other: Operand) -> Any:
        return self.elementwise("GreaterOrEqual", self, other, dtype=bool)

    def __gt__(self, other: Operand) -> Any:
        return self.elementwise("Greater", self, other, dtype=bool)

    def __le__(self, other: Operand) -> Any:
        return self.elementwise("LessOrEqual", self, other, dtype=bool)

    def __lt__(self, other: Operand) -> Any:
        return self.elementwise("Less", self, other, dtype=bool)

    def __and__(self, other: Operand) -> Any:
        names = [self.name, self.graph.name_of(other, bool)]
        return self._made("And", names, broadcast_shape([self.shape, _shape(other)]))

    __rand__ = __and__

    def __matmul__(self, other: Operand) -> Any:
        if len(other.shape) < 2 or other.shape[-2] != self.shape[-1]:
            shapes = f"{_in_words(self.shape)} and {_in_words(other.shape)}"
            raise ValueError(f"the shapes {shapes} do not fit in a matrix product")
        names = [self.name, self.graph.name_of(other, self.dtype)]
        stacked = broadcast_shape([self.shape[:-2], other.shape[:-2]])
        return self._made("MatMul", names, (*stacked, self.shape[-2], other.shape[-1]))

    def __bool__(self) -> bool:
        raise TypeError("the value of an array decides what is computed")

    def __len__(self) -> int:
        """Return the size of the first axis; `ANY_SIZE` if unknown, which `reshape` takes for the axis in the same position."""
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if self.shape[0] == ANY_SIZE:
            raise TypeError("an array is iterated over along an axis of unknown size")
        return (self[number] for number in range(self.shape[0]))

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Any:
        all_parts = _without_ellipsis(index if isinstance(index, tuple) else (index,), len(self.shape))
        parts = [part for part in all_parts if part is not None]
        sliced = self._sliced({axis: part for axis, part in enumerate(parts) if isinstance(part, slice)})
        for axis in reversed([axis for axis, part in enumerate(parts) if isinstance(part, int)]):
            position = self.graph.initializers.add(np.asarray(parts[axis], np.int64))
            shape = (*sliced.shape[:axis], *sliced.shape[axis + 1 :])
            sliced = sliced._made("Gather", [sliced.name, position], shape, axis=axis)
        kept = [part for part in all_parts if not isinstance(part, int)]
        return sliced._with_new_axes([axis for axis, part in enumerate(kept) if part is None])

    def _with_new_axes(self, axes: Sequence[int]) -> Any:
        """Return the array with axes of size 1 in these positions of the result."""
        if not axes:
            return self
        shape = list(self.shape)
        for axis in axes:
            shape.insert(axis, 1)
        positions = self.graph.initializers.add(np.array(axes, np.int64))
        return self._made("Unsqueeze", [self.name, positions], tuple(shape))

    def _sliced(self, slices: Mapping[int, slice]) -> "TracedArray":
        wanted = {axis: part for axis, part in slices.items() if part != slice(None)}
        if not wanted:
            return self
        if any(part.step not in (None, 1) for part in wanted.values()):
            raise TypeError("a slice has a step")
        starts = [part.start or 0 for part in wanted.values()]
        ends = [MAX_INT64 if part.stop is None else part.stop for part in wanted.values()]
        shape = tuple(
            len(range(*wanted[axis].indices(size))) if axis in wanted and size != ANY_SIZE else size
            for axis, size in enumerate(self.shape)
        )
        constants = [self.graph.initializers.add(np.array(each, np.int64)) for each in (starts, ends, list(wanted))]
        return self._made("Slice", [self.name, *constants], shape)  # type: ignore[no-any-return]

    def reshape(self, *shape: int) -> Any:
        """Return the array with other axes; one of unknown size stays where it is, and one size may be -1."""
        known = math.prod(size for size in shape if size not in (-1, ANY_SIZE))
        rest, left_over = divmod(math.prod(size for size in self.shape if size != ANY_SIZE), known)
        unknown = [axis for axis, size in enumerate(shape) if size == ANY_SIZE]
        is_same = unknown == [axis for axis, size in enumerate(self.shape) if size == ANY_SIZE]
        if not is_same or left_over or (rest != 1 and -1 not in shape):
            raise ValueError(f"an array of shape {_in_words(self.shape)} cannot be reshaped to {_in_words(shape)}")
        wanted = self.graph.initializers.add(np.array([0 if size == ANY_SIZE else size for size in shape], np.int64))
        return self._made("Reshape", [self.name, wanted], tuple(rest if size < 0 else size for size in shape))

    def swapaxes(self, first: int, second: int) -> Any:
        """Return the array with two axes exchanged."""
        order = list(range(len(self.shape)))
        order[first], order[second] = order[second], order[first]
        return self._made("Transpose", [self.name], tuple(self.shape[axis] for axis in order), perm=order)

    def sum(self, axis: int) -> Any:
        """Return the sums along an axis."""
        axis %= len(self.shape)
        axes = self.graph.initializers.add(np.array([axis], np.int64))
        return self._made("ReduceSum", [self.name, axes], self._shape_without(axis), keepdims=0)

    def mean(self, axis: int) -> Any:
        """Return the means along an axis."""
        return self.reduced("ReduceMean", axis)

    def reduced(self, operator: str, axis: int) -> Any:
        """Return the result of an operator that reduces an axis."""
        axis %= len(self.shape)
        return self._made(operator, [self.name], self._shape_without(axis), axes=[axis], keepdims=0)

    def _shape_without(self, axis: int) -> Shape:
        return (*self.shape[:axis], *self.shape[axis + 1 :])

    def filled_like(self, value: float) -> Any:
        """Return an array of this shape and type that is filled with a value."""
        (shape,) = self.graph.apply("Shape", [self.name])
        return self._made("Expand", [self.graph.name_of(value, self.dtype), shape], self.shape)

    @property
    def T(self) -> Any:
        """The transposed matrix."""
        return self.swapaxes(0, 1)

    def sigmoid(self) -> Any:
        """Return 1 / (1 + exp(-x))."""
        return self.elementwise("Sigmoid", self)


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of arrays of several shapes together. Raises ValueError."""
    length = max(map(len, shapes))
    result = []
    for sizes in zip(*((*(1,) * (length - len(shape)), *shape) for shape in shapes), strict=True):
        different = {size for size in sizes if size != 1}
        if len(different) > 1:
            raise ValueError(f"the shapes {' and '.join(map(_in_words, shapes))} do not fit")
        result.append(different.pop() if different else 1)
    return tuple(result)


def _in_words(shape: Shape) -> str:
    """Return a shape as messages show it, with ? for an unknown size."""
    return f"({', '.join('?' if size == ANY_SIZE else str(size) for size in shape)})"


def _shape(operand: Operand) -> Shape:
    return operand.shape if isinstance(operand, TracedArray) else np.shape(operand)


def _is_number(operand: Operand) -> bool:
    return isinstance(operand, TracedArray) and operand.dtype != np.dtype(bool)


def _without_ellipsis(parts: tuple[Index, ...], num_axes: int) -> tuple[int | slice | None, ...]:
    """Return an index with a part for each axis, and None for each new one."""
    if Ellipsis not in parts:
        parts = (*parts, Ellipsis)
    position = parts.index(Ellipsis)
    missing = num_axes - sum(part is not None for part in parts) + 1
    filled = (*parts[:position], *(slice(None) for _ in range(missing)), *parts[position + 1 :])
    for part in filled:
        if not isinstance(part, int | slice | None):
            raise TypeError(f"an array is indexed with {part!r}")
    return filled  # type: ignore[return-value]


def _first_traced(*operands: Operand) -> TracedArray | None:
    return next((each for each in operands if isinstance(each, TracedArray)), None)


def _elementwise(name: str, operator: str) -> Callable[..., Any]:
    """Return NumPy's function of a name, which records an operator for traced arrays."""
    plain: Callable[..., Any] = getattr(np, name)

    def function(*operands: Operand) -> Any:
        traced = _first_traced(*operands)
        return plain(*operands) if traced is None else traced.elementwise(operator, *operands)

    return function


def _concatenate(arrays: Sequence[Operand], axis: int = 0) -> Any:
    traced = _first_traced(*arrays)
    if traced is None:
        return np.concatenate(arrays, axis)
    names = [traced.graph.name_of(each, traced.dtype) for each in arrays]
    shape, sizes = list(traced.shape), [each.shape[axis] for each in arrays]
    shape[axis] = ANY_SIZE if ANY_SIZE in sizes else sum(sizes)
    return traced._made("Concat", names, tuple(shape), axis=axis)


def _clip(array: Operand, low: float | None, high: float | None) -> Any:
    if not isinstance(array, TracedArray):
        return np.clip(array, low, high)
    array = array if low is None else array.elementwise("Max", array, low)
    return array if high is None else array.elementwise("Min", array, high)


def _logaddexp(first: Operand, second: Operand) -> Any:
    difference = second - first
    traced = _first_traced(difference)
    return np.logaddexp(first, second) if traced is None else first + traced.elementwise("Softplus", traced)


def _amax(array: Operand, axis: int) -> Any:
    return array.reduced("ReduceMax", axis) if isinstance(array, TracedArray) else np.amax(array, axis)


def _full_like(array: Operand, value: float) -> Any:
    """Return an array of the same shape; a constant where it is known, as the mask of attention is."""
    if isinstance(array, TracedArray) and ANY_SIZE in array.shape:
        return array.filled_like(value)
    return np.full(_shape(array), value, array.dtype)


def _ones_like(array: Operand) -> Any:
    return _full_like(array, 1)


FUNCTIONS = SimpleNamespace(
    **{
        name: _elementwise(name, operator)
        for name, operator in {
            "tanh": "Tanh",
            "exp": "Exp",
            "log": "Log",
            "sqrt": "Sqrt",
            "abs": "Abs",
            "maximum": "Max",
            "minimum": "Min",
            "where": "Where",
        }.items()
    },
    amax=_amax,
    concatenate=_concatenate,
    full_like=_full_like,
    ones_like=_ones_like,
    clip=_clip,
    logaddexp=_logaddexp,
)
"""The functions of NumPy and torch that cells may use (see `charnn.cells`)."""
