"""Tables of a partition's state: on RocksDB, and in memory for simulations."""
