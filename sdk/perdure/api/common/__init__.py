"""Payloads, under the module path of Temporal's protobuf ones. Nothing else lives here."""
