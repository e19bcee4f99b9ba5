"""The Kafka adapter: the log of `ports` on confluent-kafka."""
