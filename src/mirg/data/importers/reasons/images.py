"""Reasons about images: which one a text means, and files that cannot be used."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

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
        ("image … is not a usable path: …", "… is no path", "is no path: …"),
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
