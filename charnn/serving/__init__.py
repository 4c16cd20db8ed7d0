"""An HTTP server: OpenAI's completions protocol over `import charnn`."""
