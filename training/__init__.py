"""How ``easy_llama/data/tiny.gguf`` is made: corpus, tokenizer, training, export.

Run ``python -m training`` (README.md beside this file has the details).
"""
