"""Tests of the pages and faces that people look at."""
