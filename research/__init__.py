"""How mirg-tiny and mirg-mini were made, and the study on mirg-mini. Run from a clone; it is not installed."""
