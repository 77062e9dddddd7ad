"""Reasons about annotation files: completeness, COCO, annotation tools, films, and whole files that are refused."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

ABSENCE = (
    Reason(
        ("no category is annotated completely in this image",
         "region that nobody annotated in the image: objects of every label may be missing there",
         "every object is a crowd or an ignored region: nothing can be asked for"),
        "A question such as \"Point to every dog.\" needs all dogs. A refused box, a crowd, an ignored region or a "
        "category for which the image was not annotated leaves that open for every label of this image.",
        "Correct the boxes that are refused. If the image has only crowds or ignored regions, nothing can be done.",
    ),
    Reason(
        ("no annotation refers to this image", "no object, and nothing says that it was annotated"),
        "The image has no objects, and nothing says that somebody looked for them: it may be an image without objects, "
        "or one that was never annotated.",
        "If it was annotated, --negatives keep takes it as an image without objects.",
    ),
    Reason(
        ("no object, and the file names no label for which the image was annotated",),
        "Somebody annotated the image and found nothing, and no label is known that could be asked for.",
        "Import it in one file or folder with images that have objects.",
    ),
    Reason(
        ("are empty, and there is no question",),
        "The row has no boxes and no question, so that it does not say which object is absent from the image.",
        "Add a question about what is not in the image, or leave the row out.",
    ),
    Reason(
        ("annotated image without objects is left out by --negatives drop",),
        "The option leaves out images in which nothing was found.",
        "Leave the option out, or use --negatives keep.",
    ),
    Reason(
        ("no annotation refers to this image; …",),
        "Other annotations of the file refer to an id that is not listed, perhaps the one of this image. It is not "
        "known whether the image has objects.",
        "Correct the ids.",
    ),
    Reason(
        ("task has no annotation…", "task has only cancelled annotations…"),
        "Nobody annotated the task of Label Studio. Predictions of a model are not ground truth.",
        "Annotate the task and export again.",
    ),
)  # fmt: skip

COCO = (
    Reason(
        ("is not listed in …: it is missing", "is not listed in …: …",
         "is not listed in …: … is …, the file lists …"),
        "An annotation refers to an image or a category that the file does not list. 1 and \"1\" are different ids, 1 "
        "and 1.0 are the same.",
        "Write all ids in one type, or add the entry.",
    ),
    Reason(
        ("is listed twice in images: … is … and …", "is listed twice in categories: … is … and …",
         "is used for different annotations of one image: …", "differs between two entries of this picture: …, …"),
        "Two entries with one id, or two entries for one picture, say different things, and it is not known which one "
        "is right.",
        "Correct the file.",
    ),
    Reason(
        ("is missing, or is not an id: …", "is missing: an annotation needs a box, or polygons", "is not an object: …"),
        "The entry lacks a part without which it cannot be used: an id, a box, or its keys.",
        "Add it. An id is a text or a whole number, a box is [x, y, width, height].",
    ),
)  # fmt: skip

TOOLS = (
    Reason(
        ("is missing: this is not a task of Label Studio", "is not a list of results", "result without type and value"),
        "The entry does not have the shape of an export of Label Studio.",
        "Export JSON or JSON-MIN from Label Studio.",
    ),
    Reason(
        ("task has … annotations: it cannot be known which one is right",
         "results of one image give it different sizes"),
        "Several people annotated the task, or the image was replaced between two of its results.",
        "Mark one annotation as ground truth, or delete the others in Label Studio.",
    ),
    Reason(
        ("task shows a list of images: a result does not say which one it is in",
         "task names … images, and one is expected"),
        "A task of Label Studio is read if it shows one image.",
        "Export tasks of single images.",
    ),
    Reason(
        ("result is not a box of an image: …, …", "shape is not a box: … is drawn as …",
         "object without a bndbox: …", "line with key points (pose), which are not read"),
        "Points, lines, ellipses, brushes and key points are not boxes.",
        "Draw boxes or, for Label Studio, CVAT and YOLO, polygons.",
    ),
    Reason(
        ("line of six columns: a confidence or a track follows the box, so that these are predictions",),
        "Label files of YOLO have a sixth column if a model wrote them, and the output of a model is not ground truth.",
        "Import the labels that people made.",
    ),
    Reason(
        ("line may be a polygon, or a box with key points (pose)",),
        "Lines of this length are polygons in a data set for segmentation, and boxes with key points in one for poses. "
        "The lines do not show which of these the data set is.",
        "Write kpt_shape into data.yaml if it is a data set for poses, or export boxes.",
    ),
    Reason(
        ("line is neither a box nor a polygon: line … has … columns",),
        "A line of YOLO has 5 columns for a box, or a class and three or more points.",
        "Correct the line.",
    ),
    Reason(
        ("track with two boxes in one frame: …, …",
         "track without a box in a frame between two of its boxes: …, …"),
        "It is not known where the object of a track is in this frame, so that its label is not complete there.",
        "Export again from CVAT, which writes every frame of a track.",
    ),
    Reason(
        ("… x … is not a size in pixels",),
        "Width and height of the image are not two whole numbers.",
        "Correct the size, or leave it out if the format allows that.",
    ),
    Reason(
        ("is not Pascal VOC: its root is <…>", "is not an annotated image",
         "is not XML, or was cut off: …", "has a document type (DOCTYPE), which is not read",
         "holds an element of more than … bytes", "holds elements inside each other, … deep"),
        "The file is not of this format, is damaged, or has parts that are not read for safety.",
        "Copy or export the file again. Remove a DOCTYPE line.",
    ),
)  # fmt: skip

TRACKS = (
    Reason(
        ("track without a box, and without the end of the track: …, …",),
        "The track of CVAT has no box in this frame and no end before it: the object may be there or not.",
        "Set the track to outside where the object leaves, and export again.",
    ),
    Reason(
        ("columns 8 to 10 may be category, truncation and occlusion (VisDrone)",),
        "VisDrone writes other things into the last columns than MOT, and marks regions that are to be ignored.",
        "Convert the file to the columns of MOT16 with gt/labels.txt, or to COCO.",
    ),
    Reason(
        ("frame names are not alike: … and …", "frame names hold more than one number that varies: …",
         "frame names hold no number that tells their order: …", "frame number … is in two names: … and …"),
        "The order of the frames is read from the one number in which the names of the files differ.",
        "Name the files alike, with the frame number as the only number that varies, such as 000001.jpg.",
    ),
    Reason(
        ("there are no image files", "line …: frame … has no image",
         "the files count frames from 0, and gt.txt has no line of frame 0: it may count from 1"),
        "Lines of the annotation and files of the frames do not belong together.",
        "Unpack the frames into the folder, and name them by the numbers that gt.txt uses.",
    ),
    Reason(
        ("has … lines for … frames", "has … values for … frames", "holds …, which is not a flag"),
        "These files have one line or value for every frame. If the number differs, the frames would be shifted.",
        "Complete the annotation, or remove the frames that do not belong to it.",
    ),
    Reason(
        ("columns 8 to 10 may be world coordinates (MOT15) or class and visibility (MOT16)",
         "line …: columns 8 and 9 (…, …) are not class and visibility of …",
         "line 1 is not frame,id,x,y,w,h,conf,class,visibility", "line … has … columns, line 1 has …"),
        "The columns of gt.txt mean different things in MOT15 and later versions, and this file fits none or several.",
        "MOT16 and later have 9 columns. gt/labels.txt names the classes of a file with more.",
    ),
    Reason(
        ("line …: frame … and id … are not a frame and a track", "line …: width … and height … are not a size",
         "line …: object … has a second box in frame …", "line … is not x,y,w,h", "line … is not x,y,w,h: …,…,…,…",
         "… holds …, which is not a number", "… holds a number beyond …", "holds NaN"),
        "The line does not hold what the format asks for.",
        "Correct the line. Leave out lines of frames in which an object is not seen, or, for GOT-10k, write zeros.",
    ),
    Reason(
        ("… of … boxes leave the frame as x,y,w,h, and none does as x1,y1,x2,y2",
         "all … boxes are fractions, not pixels"),
        "The boxes of the sequence are most probably written as two corners, or as fractions of the frame.",
        "Write every box as x,y,width,height in pixels.",
    ),
    Reason(
        ("line …: column 7 is …, not 0 or 1: these are predictions of a tracker",),
        "Trackers write their results in the columns of MOT, with a confidence or -1 in place of the flag that says "
        "whether a line counts. Predictions are not ground truth.",
        "Import the annotation. If these boxes are the truth even so, write 1 into column 7.",
    ),
    Reason(
        ("holds no visible object", "the object is not seen in two frames of one sample",
         "… is not an object of a sequence"),
        "A sample of a film needs an object that is seen in its first frame and in another one.",
        "A smaller --stride takes frames that are nearer to each other.",
    ),
)  # fmt: skip


FILES = (
    Reason(
        ("… is a panoptic file of COCO: its boxes are those of segments",),
        "Segments of a panoptic file cover every pixel, also those of sky and grass, and are not a list of objects.",
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
        "The file or folder is not there, was cut off, or is not a file of rows.",
        "Check the path, copy the file again, and use --split for the splits of a dataset.",
    ),
    Reason(
        ("… has no …: it is not a COCO file", "…: … is an object of lists, a list of objects is expected",
         "… has no …: it is not an annotation file of MC-Bench", "…: expected a JSON list of items", "…: item …: …",
         "… is not an export of Label Studio", "… is not CVAT XML", "… holds no Pascal VOC file…",
         "… holds no label files", "… holds no sequence"),
        "The file is not of the format that was named.",
        "mirg data kinds lists the formats. The error says what the file looks like if it is another one.",
    ),
    Reason(
        ("…: an annotation has a score of …: these are predictions",),
        "A score between 0 and 1 is written by a model. Its boxes are not ground truth.",
        "Import the annotations. If these boxes are the truth even so, remove the scores.",
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
