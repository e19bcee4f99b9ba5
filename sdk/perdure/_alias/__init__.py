"""Perdure under the name of Temporal's package. Nothing here is loaded unless that is asked for."""
