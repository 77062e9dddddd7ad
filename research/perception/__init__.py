"""Training a tiny model to see and to look words up in its context, which a pretrained model can do already.

The order of the stages matters (``docs/design/0004-perception.md``): first the visual tokens become words, then the
language model learns to read boxes off them, then to look a word up among labelled entries, and last to do all of this
at once to locate an object.
"""
