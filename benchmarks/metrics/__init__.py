"""Figures from raw records, and nothing but raw records. Pure functions over lists of Record."""
