"""What the Makefile runs: llama.cpp for a backend, the real model."""
