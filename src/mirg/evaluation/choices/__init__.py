"""Benchmarks whose answer is an option, true or false, or a number: BLINK, MuirBench and VLM2-Bench."""
