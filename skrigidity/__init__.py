"""Prediction rigidities for regression models."""

__version__ = "0.1.0.dev0"
