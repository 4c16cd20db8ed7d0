"""The code of exported models for transformers: these files, but this one, stand in each exported directory."""
