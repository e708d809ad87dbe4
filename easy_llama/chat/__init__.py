"""Conversations without a terminal: messages, how they are written for a model, what happens when the context
is full, and where they are kept."""
