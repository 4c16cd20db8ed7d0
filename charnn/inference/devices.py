"""Whether there is a GPU to run on."""

from charnn.errors import CharnnError


def require_gpu() -> None:
    """Raise CharnnError where torch has no GPU to use."""
    import torch  # nothing else here needs it

    if not torch.cuda.is_available():
        raise CharnnError("--device cuda: found no CUDA device that torch can use; pass --device cpu, or leave it out")
