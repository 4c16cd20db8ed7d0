"""Tests of `charnn/ngrams/`."""
