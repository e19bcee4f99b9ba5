"""The log: topics, ports, adapters and tables, the only room that knows Kafka and RocksDB."""
