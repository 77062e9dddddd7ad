"""The evidence for the method: arms that differ in one thing, trained from one base, compared with intervals."""
