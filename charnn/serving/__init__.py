"""An HTTP server: an OpenAI-compatible API and a page, over `import charnn`."""
