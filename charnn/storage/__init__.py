"""What lies on disk: model directories, checkpoints, the configuration of a run."""
