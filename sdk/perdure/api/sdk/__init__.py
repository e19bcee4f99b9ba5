"""What the built-in queries answer, under the module path of Temporal's protobuf records."""
