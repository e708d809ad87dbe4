"""The rack of engines: implementations of the protocol in ``easy_llama.engine``.

Nothing is imported here, so that one engine's dependencies are not another's.
"""
