"""The embedded log: one durable local log on RocksDB, with no broker."""
