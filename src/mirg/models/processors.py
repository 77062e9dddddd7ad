"""Loading a processor, with torchvision if it is installed and without it otherwise.

Most processors contain a video processor, which needs torchvision. Images do not: the same processor class with only
its image part does everything that mirg needs. The class keeps its public name, so a saved folder loads everywhere.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from mirg.errors import EngineError

if TYPE_CHECKING:
    from transformers import BatchFeature, ProcessorMixin


_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_SETTINGS = ("chat_template", "image_seq_length", "image_seq_len")  # stored with a processor besides its parts


@cache
def image_only(model_type: str, named: str = "") -> type[ProcessorMixin]:
    """transformers' processor class of a ``model_type`` for images and text only; EngineError if it has none.

    For a type of which transformers knows no class, it is the class ``named``. The class keeps its name, which saved
    folders record.
    """
    from transformers.models.auto import processing_auto

    auto: Any = processing_auto

    if model_type == "gemma4" and not has_torchvision():
        # Its processor takes two names from the image processor for torchvision. The one for Pillow has the same.
        images = "transformers.models.gemma4.image_processing"
        sys.modules.setdefault(f"{images}_gemma4", importlib.import_module(f"{images}_pil_gemma4"))
    name = auto.PROCESSOR_MAPPING_NAMES.get(model_type) or named
    base: Any = auto.processor_class_from_name(name) if name else None
    if base is None:
        raise EngineError(
            f"transformers has no processor for the model type {model_type!r}",
            hint="its files should name one: processor_class in processor_config.json or preprocessor_config.json",
        )
    others = dict.fromkeys(set(base.get_attributes()) - {"image_processor", "tokenizer"})  # of videos, of audio
    if not others:
        return base
    made: list[Any] = []  # processors in the constructor of the base class, which names all parts

    def __init__(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **settings: Any
    ) -> None:
        parts = {"image_processor": image_processor, "tokenizer": tokenizer, **others}
        module: Any = sys.modules[base.__module__]
        if getattr(module, "num2words", "") is None:  # SmolVLM's refuses to start without it, and only videos need it
            module.num2words = str
        made.append(self)
        try:
            base.__init__(self, **parts, chat_template=chat_template, **settings)
        finally:
            made.pop()

    # Only what the signature names is stored with a processor.
    stored = [one for name, one in inspect.signature(base.__init__).parameters.items() if name not in others]
    __init__.__signature__ = inspect.Signature(stored)  # type: ignore[attr-defined]

    def check_argument_for_proper_class(self: Any, argument_name: str, argument: Any) -> Any:
        if argument_name in others:
            return None
        return base.check_argument_for_proper_class(self, argument_name, argument)

    methods = {
        "__init__": __init__,
        "get_attributes": classmethod(lambda _: [part for part in base.get_attributes() if made or part not in others]),
        "check_argument_for_proper_class": check_argument_for_proper_class,
    }
    return type(base.__name__, (base,), {"__doc__": base.__doc__, **methods})


def has_torchvision() -> bool:
    """Whether a torchvision is installed that fits the torch in use."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision.ops  # noqa: F401  # a wheel built for another torch fails here, at import
    except (ImportError, RuntimeError, AttributeError):
        return False
    return True


def load_processor(name_or_path: str, model_type: str) -> ProcessorMixin:
    """The processor of a model folder or hub name; image-only if torchvision is missing.

    EngineError if its chat template cannot be used, OSError or ValueError if its files cannot be read.
    """
    from transformers import AutoProcessor, AutoTokenizer, ProcessorMixin

    folder = Path(name_or_path)
    config = folder / "processor_config.json"
    # If mirg saved the folder without a video processor, it must be loaded without one on every machine.
    saved_image_only = (
        config.is_file()
        and "video_processor" not in json.loads(config.read_text())
        and not (folder / "video_preprocessor_config.json").is_file()
    )
    wordless = model_type == "smolvlm" and importlib.util.find_spec("num2words") is None  # which its video part needs
    if has_torchvision() and not wordless and (not saved_image_only or model_type == "lfm2_vl"):
        processor = AutoProcessor.from_pretrained(name_or_path)
    else:
        stored, _ = ProcessorMixin.get_processor_dict(name_or_path)
        processor_class: Any = image_only(model_type, stored.get("processor_class", ""))
        parts = _image_processor(name_or_path, model_type), AutoTokenizer.from_pretrained(name_or_path)
        # Its from_args_and_dict drops what only the base class names.
        processor = processor_class(*parts, **{name: stored[name] for name in _SETTINGS if name in stored})
    if model_type == "smolvlm":  # its own adds settings of the video processor, of which each call then warns
        processor.apply_chat_template = MethodType(ProcessorMixin.apply_chat_template, processor)
    _check_template(processor, folder)
    return processor


def _image_processor(name_or_path: str, model_type: str) -> Any:
    """The image processor that needs no torchvision; EngineError if transformers has only one that does."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    if model_type == "lfm2_vl":
        reason = "the image processor of LFM2-VL needs torchvision, which is missing or does not fit the torch in use"
        raise EngineError(reason, hint="install the torchvision that belongs to your torch: https://pytorch.org")
    if model_type != "smolvlm":
        return AutoImageProcessor.from_pretrained(name_or_path, backend="pil")
    # transformers withholds this one without torchvision, because comments in its file name the other.
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    return SmolVLMImageProcessorPil.from_pretrained(name_or_path)


def _check_template(processor: Any, folder: Path) -> None:
    """EngineError if the chat template cannot be read, or is truncated and omits the text of a message."""
    from jinja2 import TemplateError

    file = next((name for name in _TEMPLATES if (folder / name).is_file()), "tokenizer_config.json")
    if not processor.chat_template and file not in _TEMPLATES:
        return  # a model without one
    message = {"role": "user", "content": [{"type": "text", "text": "Where?"}]}
    try:
        texts = [
            processor.apply_chat_template([message], tokenize=False, add_generation_prompt=asked)
            for asked in (False, True)
        ]
        problem = "" if "Where?" in texts[0] and len(texts[1]) > len(texts[0]) else "it leaves out parts of a message"
    except (TemplateError, TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        raise EngineError(
            f"the chat template in {folder / file} cannot be used: {problem}", hint="copy or fetch that file again"
        )


def once_per_image(images: Any) -> Any:
    """A copy of ``images``, a Qwen-VL image processor, that processes each distinct image object of a call once.

    GRPO passes every prompt, and so every image object, G times in one call. The patches of repeated images are copied,
    so the result is equal to the bit.
    """
    return _once(type(images)).from_dict(images.to_dict()) if not hasattr(type(images), "works_once") else images


@cache
def _once(base: Any) -> Any:
    def preprocess(self: Any, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        flat = list(_leaves(images))
        place = {key: k for k, key in enumerate(dict.fromkeys(map(id, flat)))}
        if len(place) == len(flat):
            return base.preprocess(self, images, *args, **kwargs)
        made = base.preprocess(self, list({id(image): image for image in flat}.values()), *args, **kwargs)
        order = [place[id(image)] for image in flat]
        # The patches of all images are in one array.
        counts = np.asarray(made["image_grid_thw"]).prod(axis=1)
        starts = np.cumsum(counts) - counts
        rows = np.concatenate([np.arange(starts[k], starts[k] + counts[k]) for k in order])
        made["pixel_values"], made["image_grid_thw"] = made["pixel_values"][rows], made["image_grid_thw"][order]
        return made

    # A saved folder records the name of the class, so it is unchanged.
    return type(base.__name__, (base,), {"__doc__": base.__doc__, "works_once": True, "preprocess": preprocess})


def _leaves(images: Any) -> Iterator[Any]:
    if not isinstance(images, list | tuple):
        yield images
        return
    for image in images:
        yield from _leaves(image)
