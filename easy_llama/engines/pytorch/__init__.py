"""The engine on PyTorch models; torch itself is imported when the first one is made."""
