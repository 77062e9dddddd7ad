"""Who generates text: one interface (``base``), one file per engine, chosen in ``load``."""
