"""Serving a model on this machine: a chat endpoint that OpenAI's clients understand, and its guards."""
