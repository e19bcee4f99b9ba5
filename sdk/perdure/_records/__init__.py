"""What users write, as records of the wire and back: policies, names, attributes, tokens."""
