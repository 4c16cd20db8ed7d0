"""The device and precision to train with."""

import torch

from charnn.config.training import Precision
from charnn.errors import CharnnError
from charnn.notices import notice_logger

logger = notice_logger(__name__)


def choose_device(requested: str) -> str:
    """Return "cpu" or "cuda". Raises CharnnError if "cuda" is requested but not available."""
    has_gpu = torch.cuda.is_available()
    if requested == "cuda" and not has_gpu:
        raise CharnnError("--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out")
    return "cuda" if has_gpu and requested != "cpu" else "cpu"


def supports_bf16(device: str) -> bool:
    """Return whether the device supports bf16 in hardware, and torch's recurrent layers can use it.

    On a CPU both the processor and oneDNN, which runs the layers, must support bf16 (`ONEDNN_MAX_CPU_ISA` may restrict oneDNN).
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    is_capable = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return is_capable and _onednn_supports_bf16()


def _onednn_supports_bf16() -> bool:
    return torch._C._has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def supported_precision(requested: Precision, device: str) -> Precision:
    """Return the requested precision, or fp32 with a notice in the log if bf16 is not supported."""
    if requested != "bf16" or supports_bf16(device):
        return requested
    where = "this GPU" if device == "cuda" else "this processor"
    logger.info(f"--precision bf16: {where} does not support bf16; training in fp32")
    return "fp32"
