"""From a model to what reads its tokens one by one."""

from typing import Literal

from charnn.errors import OptionError
from charnn.inference.devices import require_gpu
from charnn.inference.engine import Engine
from charnn.inference.numpy_steppers import is_fused
from charnn.inference.stepper import Stepper, stepper_for
from charnn.storage.model_directory import Model

Weights = Literal["fp32", "bf16", "int8"]
Device = Literal["cpu", "cuda"]


def build_stepper(model: Model, *, weights: Weights = "fp32", device: Device = "cpu") -> Stepper:
    """Return what reads the model's tokens, on NumPy unless another device or fewer bits are wanted.

    Raises:
        OptionError: for a network that has no other way.
        CharnnError: where there is no such device.

    Example:
        >>> stepper = charnn.api.build_stepper(model.models[0])
    """
    engine = Engine.of(model)
    state = engine.initial_state()
    if weights == "fp32" and device == "cpu":
        return stepper_for(engine, state)
    if not is_fused(model.architecture):
        raise OptionError(
            f"--weights and --device: are for lstm, gru and rnn without --skip and --residual, but {model.path} is another "
            f"network ({model.architecture.cell}); leave them out"
        )
    if device == "cuda":
        require_gpu()

        import torch  # for a GPU alone

        from charnn.inference.torch_stepper import TorchStepper

        dtype = torch.bfloat16 if weights == "bf16" else torch.float32
        return TorchStepper(engine, state, device="cuda", dtype=dtype)
    from charnn.inference.quantization import in_bf16, in_int8  # loads torch

    return stepper_for(engine, state, keep_matrix=in_bf16 if weights == "bf16" else in_int8)
