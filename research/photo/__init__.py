"""How mirg-tiny-photo was made: eyesight for photographs, without labels (``docs/design/0004-perception.md``)."""
