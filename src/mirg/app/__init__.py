"""The page on which people ask a model about their own images: what it shows, its sessions, and its Gradio wiring."""
