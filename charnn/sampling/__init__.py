"""Writing text: filters, token selection, constraints, stopping, beam search."""
