"""Samples: what one training or test item is, and the dataset folder that holds many."""

from mirg.samples.card import DatasetCard
from mirg.samples.carry import Carrier, Copy
from mirg.samples.fits import refuse_for_family, refused_image
from mirg.samples.folder import DatasetFolder, DatasetWriter, write_card
from mirg.samples.rejected import REJECTED_FILE, Rejection, Tally, write_rejections
from mirg.samples.schema import SCHEMA_VERSION, ImageRef, ObjectNote, Relation, Role, Sample, Target, Trajectory

__all__ = [
    "REJECTED_FILE",
    "SCHEMA_VERSION",
    "Carrier",
    "Copy",
    "DatasetCard",
    "DatasetFolder",
    "DatasetWriter",
    "ImageRef",
    "ObjectNote",
    "Rejection",
    "Relation",
    "Role",
    "Sample",
    "Tally",
    "Target",
    "Trajectory",
    "refuse_for_family",
    "refused_image",
    "write_card",
    "write_rejections",
]
