"""Extensions on the public API: codecs, storage drivers, integrations."""
