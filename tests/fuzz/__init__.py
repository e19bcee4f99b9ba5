"""Fuzzing: foreign bytes for every decoder, and foreign records for a live shard."""
