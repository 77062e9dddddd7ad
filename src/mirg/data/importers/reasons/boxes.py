"""Reasons about boxes, their frames and their labels."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

BOXES = (
    Reason(
        ("box (…) can only be fractions (0-1), and the boxes are read as …",),
        "No object is smaller than a pixel, so that four numbers below 1 are fractions in a file of pixels.",
        "Say the frame with --frame fraction, or correct the box.",
    ),
    Reason(
        ("box (…) in … is …",
         "box … is …: fractions with 0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1 expected…", "answer … can never be met",
         "… is partly outside the image"),
        "The box is inverted, empty, not finite, or lies outside of its image in the frame that is used. It is not "
        "repaired, because the corner that is wrong is not known.",
        "Correct the annotation. If many boxes lie outside, --frame says in which frame the boxes of the file are.",
    ),
    Reason(
        ("… is not a box of four numbers", "is not [x, y, width, height]: …", "is no list of boxes",
         "object without a box in numbers: …", "object with corners that are not numbers: …, …",
         "object without points in numbers: …"),
        "The value is not four finite numbers, or not the points of a polygon.",
        "Write every box as four numbers in the order of the format.",
    ),
    Reason(
        ("has no area: …", "object without area: …", "polygon without area",
         "box without area: line …, width …, height …", "… x … pixels are no area"),
        "A box of which a side is 0 or negative marks no object.",
        "Draw the object again, or delete it.",
    ),
    Reason(
        ("boxes in pixels need the size of the image",),
        "Boxes in pixels become fractions of the image, for which its size is needed, and the import did not look at "
        "the files.",
        "Import with --look header, or write width and height into the rows.",
    ),
    Reason(
        ("object is rotated: …, … degrees", "image was rotated in Label Studio",
         "line of four points may be a polygon or a rotated box (OBB), whose box is not that of the object"),
        "A rotated box is no upright box, and the upright box around it is larger than the object.",
        "Draw the box upright, or export polygons. In Label Studio set the rotation of the image to 0.",
    ),
    Reason(
        ("has boxes that are stated to hold a width and a height", "is stated to have two orders of coordinates",
         "has a box in an unknown form under the key …",
         "has a box under …, whose order of coordinates is not the one that is stated",
         "has a box whose key has another order of coordinates than the one that is stated",
         "tell an order [y1, x1, y2, x2], but objects.bbox are [x1, y1, x2, y2]"),
        "The order of the four numbers is not clear, or two statements about it contradict each other. For example "
        "box_2d holds [y1, x1, y2, x2], and the prompt asks for [x1, y1, x2, y2].",
        "Write boxes as [x1, y1, x2, y2], or correct the statement.",
    ),
    Reason(
        ("is not one of …: …",),
        "ms-swift knows three kinds of bbox_type, which say the frame of the boxes.",
        "Write real, norm1 or norm1000.",
    ),
    Reason(
        ("… widths, … heights, … images", "… images for … boxes", "… of them for … boxes", "… is not a list",
         "… of them for … … in the messages", "is missing, and the messages hold placeholders for its boxes"),
        "Lists that belong together have different lengths, or one of them is missing, so that it is not known which "
        "value belongs to which box.",
        "Write one value for every box, image or placeholder.",
    ),
    Reason(
        ("is a list or a text, as in ms-swift 2",),
        "ms-swift 2 has a list of captions and boxes in the field objects, and later versions have an object of lists.",
        "Write objects with the keys ref and bbox.",
    ),
    Reason(
        ("a text holds numbers of a box beside the placeholders of objects",
         "holds a <bbox> outside of its reasoning and its answer"),
        "The boxes of the row are in objects, and a text holds another one that would be read differently.",
        "Write every box into objects, with its placeholder in the question, the reasoning or the answer.",
    ),
    Reason(
        ("… boxes in one row; at most … can be read",),
        "The row has more boxes than can be read in one row.",
        "Split the row.",
    ),
    Reason(
        ("marks a crowd, which is not one object",),
        "A crowd is a region with an unknown number of objects, so that its box cannot be asked for.",
        "Leave crowds out of the boxes of rows with a question.",
    ),
)  # fmt: skip

LABELS = (
    Reason(
        ("are missing, and there is no question", "object of unknown label in the image: nothing can be asked for",
         "object without a name", "shape without a label", "result with … labels: …"),
        "An object without exactly one label may belong to any label, so that the objects of no label are known "
        "completely. Nothing can be asked for in this image.",
        "Give every object one label. For columns of a dataset, --columns labels=NAME says where the labels are.",
    ),
    Reason(
        ("class … has no name", "class is not in the names: …, … has …, counted from 0 (line …)",
         "class is not a whole number: … (line …)", "has no name in categories: … is named …",
         "line …: class … is not in …"),
        "The class is a number for which the file has no name.",
        "Add the name, or correct the number. Columns of the datasets library hold names or are a ClassLabel.",
    ),
    Reason(
        ("the label of a target is dropped by the label map: …",
         "the label of an object is dropped by the label map: …", "every object is dropped by the label map"),
        "The question asks for an object whose label the label map drops.",
        "This is what the map says. To keep the row, take the label out of the list drop.",
    ),
)  # fmt: skip
