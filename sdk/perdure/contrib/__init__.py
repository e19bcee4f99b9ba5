"""What is built on the public API: codecs, storage drivers, other libraries."""
