"""The engine on llama.cpp: others use ``engine.LlamaEngine``, ``vocab.LlamaTokenizer``, ``load.load_model``.

Nothing is imported here, because llama_cpp takes a second to load.
"""
