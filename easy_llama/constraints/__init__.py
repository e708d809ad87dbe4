"""What a text must follow, read and checked: GBNF grammars, and JSON schemas as grammars."""
