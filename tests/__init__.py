"""The tests of Perdure, one folder a kind of test; docs/style.md says how they are written."""
