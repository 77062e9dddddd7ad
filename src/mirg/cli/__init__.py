"""The command line: the only room where things are wired together."""
