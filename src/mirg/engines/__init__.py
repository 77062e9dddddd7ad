"""Text generation: one interface (``base``), one file per engine, chosen in ``load``; HTTP in ``endpoint``."""
