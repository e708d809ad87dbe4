"""Measurements behind every claim about speed and quality; each module is a command."""
