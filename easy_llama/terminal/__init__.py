"""The terminal: reading lines, writing in colours, tables and menus, and text of strangers made harmless.

Every ANSI code of the package is in this folder. It knows nothing of models.
"""
