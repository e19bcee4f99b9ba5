"""The Kafka adapter's door: the one name that an assembly needs of it."""

from __future__ import annotations

from perdure_topics.kafka.kafka_log import CALL_TIMEOUT_S, KafkaLog

__all__ = ["CALL_TIMEOUT_S", "KafkaLog"]
