"""Commands that measure Perdure and print what they find; figures elsewhere come from here."""
