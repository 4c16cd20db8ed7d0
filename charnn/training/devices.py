"""What there is to train on."""

import torch

from charnn.errors import CharnnError


def choose_device(wanted: str) -> str:
    """Return "cpu" or "cuda". Raises CharnnError where the wanted one is not there."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise CharnnError("--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


def has_bf16_units(device: str) -> bool:
    """Ask the processor, or the GPU, whether it multiplies bf16 numbers itself."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
