"""The study of mirg's method on mirg-mini: its recipe, its datasets and its command."""
