"""Registers charnn's exported models with Hugging Face transformers, so that they open without remote code.

`import charnn.hf` before `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`; nothing else is needed.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from charnn.export.configuration_charnn import CharnnConfig
from charnn.export.modeling_charnn import CharnnForCausalLM

__all__ = ["CharnnConfig", "CharnnForCausalLM"]

AutoConfig.register(CharnnConfig.model_type, CharnnConfig, exist_ok=True)
AutoModelForCausalLM.register(CharnnConfig, CharnnForCausalLM, exist_ok=True)
