"""Eyesight and in-context look-up for a tiny model: what a pretrained model brings along.

The order of the stages matters (``docs/design/0004-perception.md``): first the visual tokens learn to be words, then
the language model learns to read boxes off them, then to look a word up among labelled entries, then all of it together
to locate.
"""
