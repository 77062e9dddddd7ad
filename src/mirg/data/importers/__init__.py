"""Readers: annotated images in the formats people have, as checked samples; one small file per format."""
