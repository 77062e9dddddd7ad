"""Reasons for one row: which image, boxes and labels, image files, texts, answers and fields."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

ANSWERS = (
    Reason(
        ("holds no box", "holds no box that can be used: …", "neither boxes nor an answer"),
        "The answer gives no box, or was cut off or written so that its boxes cannot be read with certainty.",
        "Only questions that ask for boxes can be used. Correct answers that were cut off.",
    ),
    Reason(
        ("holds a box that was not understood: …", "holds a box outside of its JSON"),
        "The answer holds numbers that look like a box and were not read as one. The others would not be the whole "
        "answer.",
        "Write all boxes of an answer in the same form, as [x1, y1, x2, y2].",
    ),
    Reason(
        ("holds … boxes, one is expected",),
        "The format has one box in every answer, and it is not known which one is meant.",
        "Keep one box, or import the file as a format whose answers hold several, such as sharegpt.",
    ),
    Reason(
        ("the same box occurs twice",),
        "One object is listed twice in the answer, or two objects were given the same box.",
        "Remove one of them, or correct it.",
    ),
    Reason(
        ("the thinking never ends",),
        "The reasoning begins with a tag and has no end, so that the text holds no answer.",
        "Add the end of the reasoning and the answer, or leave the row out.",
    ),
    Reason(
        ("… placeholders for … images",),
        "The texts have more or fewer placeholders than the row has images, so that it is not known where each image "
        "is shown.",
        "Write one <image> for every image, or none at all if the format allows that.",
    ),
    Reason(
        ("an answer without a question", "a question without an answer", "is not one question and its answer",
         "the role … neither asks nor answers", "is not a list of messages",
         "is not a list of pairs of a question and an answer"),
        "A conversation is a list of messages in which questions and answers alternate.",
        "Correct the messages. --columns user=NAME,assistant=NAME says which roles ask and answer.",
    ),
    Reason(
        ("holds …, which would not be read as text",),
        "The text holds a token of a model family or a tag, which a tokenizer reads as an image or a turn.",
        "Remove it from the text.",
    ),
    Reason(
        ("holds no question that can be answered",),
        "Nothing in the row is a question with an answer.",
        "Leave the row out, or import the file as another format.",
    ),
    Reason(
        ("are not two of the listed images", "… annotations of a text that is not listed",
         "… is not an image of the pair", "is …, and there are … annotations",
         "the text does not say which image holds the answer", "same as item …"),
        "The item of the benchmark contradicts itself, or is there twice. Such defects of published files are listed.",
        "Nothing needs to be done: the item is left out of the benchmark.",
    ),
)  # fmt: skip

ROWS = (
    Reason(
        ("line is cut off", "not JSON: …", "not UTF-8: …"),
        "The line of the file is not JSON, perhaps because the file was cut off or two programs wrote to it.",
        "Copy or write the file again: every line is one JSON object.",
    ),
    Reason(
        ("cannot be read: …",),
        "The file of the annotation cannot be opened or decoded.",
        "Check the permissions of the file, and save it as UTF-8.",
    ),
    Reason(
        ("is missing", "is empty", "… is not a text", "… is not a whole number", "… is not an object"),
        "A field that the format needs is missing or of another type.",
        "Fill in the field. For other names of fields use --columns.",
    ),
    Reason(
        ("holds half of a surrogate pair", "its question holds a null character"),
        "The text holds a character that cannot be written as UTF-8, or that no text has.",
        "Write the file again with a correct encoding.",
    ),
    Reason(
        ("holds no text or number: …", "would replace meta.…: …"),
        "--meta keeps fields of rows in meta. It keeps texts, numbers and truth values, under names that meta does not "
        "hold yet.",
        "Choose another field, or another name with --meta NAME=FIELD.",
    ),
    Reason(
        ("is not a sample of mirg: …: …", "is about … images, the row has …", "its reasoning cannot be used: …"),
        "The column record holds a sample that mirg data export wrote, and the record was changed after that.",
        "Export the dataset again, or leave the column out.",
    ),
    Reason(
        ("id was used by an earlier row",),
        "In a dataset folder every sample has its own id, since later files name samples by it.",
        "Make the ids unique. An import of another format does this itself.",
    ),
    Reason(
        ("Field required…", "Extra inputs are not permitted…", "Input should be …", "String should have at least …",
         "Tuple should have at least …", "width and height come together, or not at all…"),
        "The row does not have the fields of a sample. The report names the field, and how many more are wrong.",
        "See the fields of a sample in docs/concepts/samples.md. Additional fields belong into meta.",
    ),
)  # fmt: skip


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
        ("… is not a box of four numbers", "is not [x, y, width, height]: …", "is not a list of boxes",
         "object without a box in numbers: …", "object with corners that are not numbers: …, …",
         "object without points in numbers: …"),
        "The value is not four finite numbers, or not the points of a polygon.",
        "Write every box as four numbers in the order of the format.",
    ),
    Reason(
        ("has no area: …", "object without area: …", "polygon without area",
         "box without area: line …, width …, height …", "… x … pixels have no area"),
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
        "A rotated box is not upright, and the upright box around it is larger than the object.",
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


WHICH_IMAGE = (
    Reason(
        ("names an image in a way that is not understood", "may name an image in a way that is not understood",
         "may name an image in a way that is not understood: the key …"),
        "The text names an image, or may do so, in a spelling or language that is not known. It is not guessed which "
        "image is meant, because a box in the wrong image would be wrong ground truth.",
        "Write Image-N: in front of every box, or add the number of the image under the key image of a JSON answer.",
    ),
    Reason(
        ("Image-… does not exist, there are … images", "Image-… does not exist, the row has … images",
         "…: Image-… does not exist, the sample has … images…"),
        "The text or the target names an image that the row does not have.",
        "Correct the number in the text, or add the image to the row.",
    ),
    Reason(
        ("image … does not exist, counted from …, there are … images",),
        "The image is named by a number that counts from 0 or, if the report says so, from 1, and the row has fewer "
        "images.",
        "Correct the number. If the texts of the file count from 1, say so with --image-index-from 1.",
    ),
    Reason(
        ("names image … and the answer image …: one of them may count from 1",),
        "The question and the answer name different images, and the file counts from 0: one of the two texts may count "
        "from 1.",
        "Correct the number, or say with --image-index-from what the file counts from.",
    ),
    Reason(
        ("names image 0, which does not exist if images are counted from 1",),
        "A file counts its images from 0 or from 1, which is decided for the whole file. This row names image 0 in a "
        "file that is read as counting from 1.",
        "Pass --image-index-from 0 if the file counts from 0, or --image-index-from 1 to leave such rows out.",
    ),
    Reason(
        ("does not say which of the … images it speaks of",
         "does not say which of the … images a box lies in", "some of its boxes have an image and some have none",
         "… boxes without the names of their frames",
         "is missing: it says in which of … images a box of bbox_type real lies"),
        "The row has several images, and neither the answer nor the question nor a field says which one a box is in.",
        "Write the image in front of every box, or add image_index, image_number or, for ms-swift, image_id.",
    ),
    Reason(
        ("names several images beside one box", "gives one image two numbers: …", "more than one box for Image-…"),
        "The text gives one box more than one image, one image two numbers, or one frame two boxes. It cannot be "
        "known which of them is right.",
        "Name exactly one image for every box.",
    ),
    Reason(
        ("Image-… is named without a box",),
        "The answer names an image like a key and gives no box for it, so that a box may have been lost.",
        "Add the box, or say that the object is not in the image, for example with none.",
    ),
    Reason(
        ("names image … and the file of another: …", "names a file that is not an image of the row: …",
         "names a file that is the name of several images of the row: …"),
        "The text names an image by its file, and the file is not exactly one of the images of the row, or the number "
        "beside it belongs to another one.",
        "Name images by their numbers: Image-1, Image-2 and so on.",
    ),
    Reason(
        ("image … is introduced as …",),
        "The label in front of a placeholder has another number than the place of its image in the list of images.",
        "Write the images in the order in which the text numbers them.",
    ),
    Reason(
        ("contradicts the answer: …", "contradicts the question, which asks about Image-…",
         "names another image than the source, Image-1"),
        "A field and a text name different images for the same box.",
        "Correct the one that is wrong. Values of image_id count from 0, names in texts from 1.",
    ),
    Reason(
        ("a box lies in Image-…, which is shown after the question", "no image was shown before the question"),
        "In a conversation a question can only be about images that were shown up to then.",
        "Move the placeholder of the image before the question, or correct the number.",
    ),
    Reason(
        ("\"the first image\" is image 1 of the list or the first frame, image …",
         "names the first image … times; the first frame is image …", "images … all end in …",
         "the names of the files do not show which frame is the first",
         "frame … occurs twice: which one is the first?"),
        "The question starts from the first frame of a film, and it is not clear which image of the list that is.",
        "Put the first frame first and name images by their numbers, or number the files of the frames.",
    ),
    Reason(
        ("are not the images that the messages show, in their order",),
        "The messages name their images, and the row also has a list of images, which differs from them.",
        "Keep one of the two lists, or make them equal.",
    ),
    Reason(
        ("region … does not exist, there are …",),
        "The question speaks of a region by its number, and the row has fewer regions.",
        "Correct the number.",
    ),
)  # fmt: skip

PICTURES = (
    Reason(
        ("image … does not exist", "image fits no file below the root: …",
         "image … is a link to …, which is not there"),
        "There is no file where the row says that its image is, read relative to --root.",
        "Restore the file, or name the folder that the paths are relative to with --root. --strip leaves out a "
        "beginning of the paths.",
    ),
    Reason(
        ("image fits more than one file: … fits …", "image is not clear: …",
         "image … may be several files, whose names differ in their Unicode normalisation only",
         "image is not the only one that fits a file: … and … fit …"),
        "The name in the annotation fits several files, or two names fit one file, so that it is not known which image "
        "was annotated.",
        "Give --root the folder that holds exactly these images, keep folders in the names, or rename files.",
    ),
    Reason(
        ("image is annotated more than once: …",),
        "Two entries of the file are about the same image, and each of them may lack objects of the other.",
        "Keep one of the entries.",
    ),
    Reason(
        ("image … lies outside …", "image … is a link to …, which lies outside …",
         "image … names the root …, declared: …"),
        "A dataset may read only files below the folders that it declares. Links are followed first.",
        "Name a folder as --root that holds all images, also the targets of links.",
    ),
    Reason(
        ("image … is a URL",),
        "Nothing is downloaded during an import.",
        "Download the images, and write the paths of the files.",
    ),
    Reason(
        ("image … is not a usable path: …", "… is not a path", "is not a path: …"),
        "The value is empty, no text, or contains characters that no path can have.",
        "Write the path of the image as a text.",
    ),
    Reason(
        ("image … is … x … pixels, the row says … x …",),
        "The file has another size than the row says, so that the boxes were drawn in another version of it.",
        "Restore the version that was annotated. Only if the boxes are right, correct the size in the row.",
    ),
    Reason(
        ("image … is … by EXIF: upright it is … x … pixels, the row says … x …",),
        "EXIF data rotate the photograph, and the size in the row is not that of the picture in which the boxes are "
        "said to be drawn.",
        "--exif apply takes boxes in the upright picture, --exif ignore takes boxes in the stored pixels.",
    ),
    Reason(
        ("image … is not an image in a known format (…)…", "image … is damaged: …", "image … is empty",
         "image … cannot be read: …", "image … is not a file"),
        "The file is not a picture that can be decoded: it is of another format such as HEIC or AVIF, a web page under "
        "the name of an image, damaged, empty or not readable.",
        "Copy or download the file again, or convert it to JPEG or PNG.",
    ),
    Reason(
        ("image … is too large", "image … is too large: … x …; … pixels and … a side are allowed",
         "image … has … bytes, … are allowed", "image … does not fit into memory",
         "image … is a bomb: … x … pixels out of … bytes", "image … is a bomb: … scans of … x … pixels"),
        "The picture is larger than the limits for bytes, pixels and sides, or would cost far more to decode than a "
        "photograph of its size.",
        "Make the picture smaller, or save it again as an ordinary JPEG or PNG.",
    ),
    Reason(
        ("image … is refused: …",),
        "The metadata of the file (tags, comments, segments, chunks) or its coding would cost far more to read than "
        "its pixels; the reason says which. Such files are made to stop a program: those of cameras and editors "
        "stay far below the limits.",
        "Save the picture again as PNG or JPEG, without its metadata.",
    ),
    Reason(
        ("image …: an image of … x … pixels is too long for …", "image …: an image of … x … pixels has no area"),
        "The image processor of the model refuses the picture: one side is more than 200 times the other, or has no "
        "pixels. This is found by commands that know the model family, not by an import.",
        "Crop or pad the picture.",
    ),
    Reason(
        ("the row has no images",),
        "A sample is about one image or more.",
        "Add the paths of the images to the row.",
    ),
)  # fmt: skip
