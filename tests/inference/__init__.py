"""Tests of `charnn/inference/`."""
