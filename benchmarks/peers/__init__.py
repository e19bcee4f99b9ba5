"""Perdure and its peers, doing the same work in turns on one machine."""
