"""What there is to train on."""

import torch

from charnn.config.training import Precision
from charnn.errors import CharnnError
from charnn.notices import notice_logger

logger = notice_logger(__name__)


def choose_device(wanted: str) -> str:
    """Return "cpu" or "cuda". Raises CharnnError where the wanted one is not there."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise CharnnError("--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


def has_bf16_units(device: str) -> bool:
    """Ask whether the device multiplies bf16 numbers itself, and torch's recurrent layers can use it.

    A processor is asked twice: what it has, and what oneDNN, which runs the layers, makes of it (it may be held to less by
    `ONEDNN_MAX_CPU_ISA`).
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    has_units = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return has_units and _onednn_has_bf16()


def _onednn_has_bf16() -> bool:
    return torch._C._has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def supported_precision(wanted: Precision, device: str) -> Precision:
    """Return the precision that is wanted, or fp32, with a line that says so, where it is bf16 and cannot run."""
    if wanted != "bf16" or has_bf16_units(device):
        return wanted
    where = "this GPU" if device == "cuda" else "this processor"
    logger.info(f"--precision bf16: {where} has no bf16 units that torch can use; training in fp32")
    return "fp32"
