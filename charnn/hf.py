"""Registers charnn's exported models with Hugging Face transformers, so that they open without remote code.

Example:
    >>> import charnn.hf
    >>> from transformers import AutoModelForCausalLM, AutoTokenizer
    >>> network = AutoModelForCausalLM.from_pretrained("fables-hf")
    >>> tokenizer = AutoTokenizer.from_pretrained("fables-hf")
"""

from transformers import AutoConfig, AutoModelForCausalLM

from charnn.export.hf_files.configuration_charnn import CharnnConfig
from charnn.export.hf_files.modeling_charnn import CharnnForCausalLM

__all__ = ["CharnnConfig", "CharnnForCausalLM"]

AutoConfig.register(CharnnConfig.model_type, CharnnConfig, exist_ok=True)
AutoModelForCausalLM.register(CharnnConfig, CharnnForCausalLM, exist_ok=True)
