"""Multi-image tasks out of images that people already have: ``photos`` needs no annotation, ``tasks`` object notes."""
