"""Model directories, checkpoints and run configurations on disk."""
