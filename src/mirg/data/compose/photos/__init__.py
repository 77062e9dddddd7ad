"""Multi-image tasks out of photographs that nobody annotated, one task per file (``docs/how-to/photos.md``)."""
