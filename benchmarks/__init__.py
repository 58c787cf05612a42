"""Measurements of speed, likeness and accuracy: each module prints a table and writes JSON into ``results/``."""
