"""The fields of requests: those that are read, those of other servers that are not supported, those that are ignored."""

COMPLETION_FIELDS = {
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "n",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "echo",
    "logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "no_repeat_ngram",
    "match",
    "until",
    "mix_ngram",
    "on_unknown",
}
SCORE_FIELDS = {"model", "text", "log_base", "alternatives", "mix_ngram", "bos", "eos"}

HARMLESS = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "request_id",
}
"""Fields of OpenAI and of similar servers that do not change a result; they are ignored."""

UNSUPPORTED: dict[str, object] = {
    "suffix": False,
    "messages": False,
    "tools": False,
    "tool_choice": False,
    "functions": False,
    "function_call": False,
    "response_format": False,
    "max_completion_tokens": False,
    "top_logprobs": False,
    "reasoning_effort": False,
    "ignore_eos": False,
    "min_tokens": False,
    "stop_token_ids": False,
    "bad_words": False,
    "allowed_token_ids": False,
    "use_beam_search": False,
    "include_stop_str_in_output": False,
    "prompt_logprobs": False,
    "return_tokens_as_token_ids": False,
    "length_penalty": 1.0,
    "detokenize": True,
    "skip_special_tokens": None,
    "spaces_between_special_tokens": None,
    "add_special_tokens": None,
}
"""Fields that would change a completion, and the only value that does not; None for any value. Empty values change nothing."""
