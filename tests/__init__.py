"""The tests of Perdure, one folder a kind of test; see docs/style.md, section 6."""
