"""Initialization of the recurrent layers."""

import torch
from torch import Tensor, nn

from charnn.config.model import InitializationOptions
from charnn.training.network.layers import RECURRENT_WEIGHTS

FORGET_BIASES = {
    "lstm": 1.0,
    "mogrifier": 1.0,
    "depth-lstm": 1.0,
    "minlstm": 1.0,
    "mlstm": 3.0,
    "gru": 0.0,
    "mingru": 0.0,
}
"""Jozefowicz et al. (2015) for the LSTM; Krause et al. (2016) for the multiplicative one."""
_FORGET_BLOCKS = {"minlstm": 0, "mingru": 0}
_OPEN_GATE_FORGETS = ("mingru",)
"""Cells whose open gate replaces the state by new input, so that a positive forget bias is applied with a negative sign."""
MAX_LEAK_LOGIT = 3.0
"""Learned leaks are initialized with logits evenly spaced from minus this to this: leaks of about 0.05 to 0.95."""


@torch.no_grad()
def initialize_layer(
    weights: dict[str, nn.Parameter], hidden_size: int, cell: str, options: InitializationOptions
) -> None:
    """Initialize the weights of a recurrent layer in place.

    Each gate's matrices are initialized separately, by default hidden-to-hidden ones orthogonally (Saxe et al. 2014) and
    input-to-hidden ones after Glorot and Bengio (2010). Biases, except that of the forget gate, and learned initial states are
    zero.

    Args:
        weights: by name (see `layer_shapes`).
        hidden_size: H.
        cell: name of the cell.
        options: which initialization to use.
    """
    bound = options.init_range or hidden_size**-0.5
    for name, weight in weights.items():
        if weight.dim() == 1:
            weight.zero_()
            continue
        if name.startswith("mogrify"):
            nn.init.xavier_uniform_(weight)
            continue
        kind = options.init_recurrent if name in RECURRENT_WEIGHTS else options.init_input
        for block in weight.chunk(weight.shape[0] // hidden_size):
            _initialize_block(block, kind, bound)
    _initialize_vectors(weights, hidden_size, cell, options)


def _initialize_block(block: Tensor, kind: str, bound: float) -> None:
    if kind == "orthogonal":
        nn.init.orthogonal_(block)
    elif kind == "xavier":
        nn.init.xavier_uniform_(block)
    elif kind == "uniform":
        nn.init.uniform_(block, -bound, bound)
    else:
        nn.init.eye_(block)


def _initialize_vectors(
    weights: dict[str, nn.Parameter], hidden_size: int, cell: str, options: InitializationOptions
) -> None:
    forget_bias = FORGET_BIASES.get(cell, 0.0) if options.forget_bias is None else options.forget_bias
    if cell in FORGET_BIASES:
        bias = weights["bias_ih"] if "bias_ih" in weights else weights["bias_hh"]
        block = _FORGET_BLOCKS.get(cell, 1)
        sign = -1 if cell in _OPEN_GATE_FORGETS else 1
        bias[block * hidden_size : (block + 1) * hidden_size] = sign * forget_bias
    if "leak" in weights:
        leak = weights["leak"]
        if options.leak is None:
            leak.copy_(torch.linspace(-MAX_LEAK_LOGIT, MAX_LEAK_LOGIT, len(leak)))
        else:
            leak.fill_(torch.tensor(options.leak).logit().item())
            leak.requires_grad_(False)
