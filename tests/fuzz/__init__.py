"""Fuzzing of what reads foreign bytes, guided by coverage."""
