"""Plain classes under the module paths of Temporal's protobuf ones. Nothing else lives here."""
