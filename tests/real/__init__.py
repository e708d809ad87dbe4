"""Tests on a real model, SmolLM2-135M-Instruct: ``make real`` fetches it and runs them."""
