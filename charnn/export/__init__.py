"""A model in other people's formats: Hugging Face transformers, ONNX, and a page that runs it in a browser."""
