"""Tests of the PyTorch engine. They need pip install -e '.[torch,dev]' and are run by pytest tests_torch."""
