"""What models are like, measured: data for commands, reports and notebooks, nothing drawn."""
