"""Examples of payloads encrypted and compressed, with a key changed while workflows run."""
