"""The words of Perdure: what may be asked and what has happened, as pure data and Avro."""
