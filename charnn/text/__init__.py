"""Text in, token ids out: reading, vocabularies, tokenizers and the encoded corpus."""
