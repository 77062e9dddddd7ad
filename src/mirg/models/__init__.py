"""Vision-language models: loading a real one by name or path, and building a tiny one offline."""
