"""Multi-image tasks out of photographs without annotation (``docs/how-to/photos.md``)."""
