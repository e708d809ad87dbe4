"""The console: a conversation with a person at a terminal. To add a command, write it in ``commands.py``."""
