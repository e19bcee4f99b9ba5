"""Tests of the house rules: floors, sizes, names, public face and wheel."""
