"""Multi-image tasks out of images that people already have, one task per file (``docs/how-to/photos.md``)."""
