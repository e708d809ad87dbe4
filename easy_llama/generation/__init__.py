"""One generation: a decoder run on an engine, as text and with its statistics, on any provider."""
