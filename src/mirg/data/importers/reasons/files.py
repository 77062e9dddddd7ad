"""Reasons that stop an import: the file as a whole cannot be understood."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

FILES = (
    Reason(
        ("… is a panoptic file of COCO: its boxes are those of segments",),
        "Segments of a panoptic file cover every pixel, also those of sky and grass, and are no list of objects.",
        "Import the file of instances.",
    ),
    Reason(
        ("…: … of … boxes leave the image as …, and none does as x1, y1, x2, y2",),
        "The boxes are most probably written as two corners and not as the format asks for.",
        "Convert the boxes to the order of the format.",
    ),
    Reason(
        ("…; the best guess is …", "…: its boxes are in mixed frames: …", "…: … of … boxes are not …; …",
         "…: its … boxes fill images resized to at most … pixels, and only a part of images resized by the default "
         "limits of …"),
        "One file has its boxes in one frame. The boxes fit several frames, are in mixed frames, or are not in the "
        "frame that was said.",
        "Say the frame with --frame, and the limits of a resized image with --min-pixels and --max-pixels. The error "
        "names the frame that fits best.",
    ),
    Reason(
        ("…: the … boxes of the column … …", "…: … of … boxes of the column … are not …; all fit …"),
        "The boxes of a column may be two corners, or a corner and a size.",
        "Pass --columns boxes=NAME for corners or --columns boxes_xywh=NAME for a corner and a size.",
    ),
    Reason(
        ("…: … rows name image 0 (row …), and … name an image that exists only if images are counted from 1 (row …)",
         "…: row … …, as in the rows before it"),
        "Some rows can only be understood if images are counted from 0, and others only if they are counted from 1.",
        "Say which it is with --image-index-from 0 or --image-index-from 1; rows that contradict it are refused.",
    ),
    Reason(
        ("…: no row of … can be used…",),
        "Every row was refused, so that there is no dataset to write. The error gives the reason of the first row.",
        "Correct --root if the images are not found, or import the file as the format that it is.",
    ),
    Reason(
        ("… is empty", "… is damaged: …", "cannot read …: …", "… cannot be read: …", "… cannot be read as a dataset: …",
         "… is neither a JSON list of rows nor JSON lines: …", "… is not a JSON object", "…: row …: …",
         "…: row …: a line of more than … bytes", "… does not exist", "… is not a folder", "… has no split …"),
        "The file or folder is not there, was cut off, or is no file of rows.",
        "Check the path, copy the file again, and use --split for the splits of a dataset.",
    ),
    Reason(
        ("… has no …: it is no COCO file", "…: … is an object of lists, a list of objects is expected",
         "… has no …: it is no annotation file of MC-Bench", "…: expected a JSON list of items", "…: item …: …",
         "… is not an export of Label Studio", "… is not CVAT XML", "… holds no Pascal VOC file…",
         "… holds no label files", "… holds no sequence"),
        "The file is not of the format that was named.",
        "mirg data kinds lists the formats. The error says what the file looks like if it is another one.",
    ),
    Reason(
        ("…: an annotation has a score of …: these are predictions",),
        "A score between 0 and 1 is written by a model. Its boxes are no ground truth.",
        "Import the annotations. If these boxes are to be the truth all the same, remove the scores.",
    ),
    Reason(
        ("…: … is …, not [x, y, width, height]",
         "…: the area of … boxes is theirs as x1, y1, x2, y2, and not as [x, y, width, height]"),
        "COCO has boxes of [x, y, width, height]. Another field of the annotations says that these are something else.",
        "Write every box as [x, y, width, height] in pixels.",
    ),
    Reason(
        ("…: a category has no id: …",),
        "Annotations refer to categories by their id, so that categories are objects with an id and a name.",
        'Write the categories as {"id": 1, "name": "dog"}.',
    ),
    Reason(
        ("…: most answers are not fractions; this looks like the REVISED MIG-Bench (0-1000 answers)",
         "…: most answers are fractions; this looks like the ORIGINAL MIG-Bench"),
        "Results of the original and the revised version of MIG-Bench cannot be compared.",
        "Import the original version as migbench and the revised one as migbench-revised.",
    ),
    Reason(
        ("…: its dataset is …, and no image of it is below --root …",),
        "A data.yaml can lie anywhere, and names the folder of its dataset. Images are only read below --root.",
        "Pass the folder of the dataset as --root.",
    ),
    Reason(
        ("… has no names for the classes of YOLO", "…: names is not a list of names", "…: nc is …, and names has …",
         "…: … and … name the classes differently"),
        "Label files of YOLO hold numbers of classes. Their names are in data.yaml or classes.txt.",
        "Pass the data.yaml that belongs to the labels, or correct its names.",
    ),
    Reason(
        ("… holds tracks of several tasks", "… folders below … hold images, and one is expected",
         "… is about frames … to …, and frame … has no image file: …"),
        "The tracks of CVAT are boxes in numbered frames, and it must be clear which file is which frame.",
        "Export each task on its own, and give --root the folder of its frames.",
    ),
    Reason(
        ("… says for each image whether it holds one class", "… names …, and … does not exist"),
        "A list of Pascal VOC names the images of a split. A list such as dog_train.txt says for each image whether it "
        "holds a dog, and a list may name files that are not there.",
        "Name train.txt or val.txt, beside the folder with the annotations.",
    ),
    Reason(
        ("--root … is every file of this machine",),
        "A dataset may read all files below its roots, and the names of images are searched for there.",
        "Name the folder of the images.",
    ),
)  # fmt: skip
