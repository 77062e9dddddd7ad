"""Plug-ins: code in a file of the user's that mirg calls, named as ``FILE.py:NAME``.

A reward function, an importer, a metric or a check may be a plug-in. The user writes its name in a recipe or on the
command line. A plug-in is never loaded because a dataset or a model mentions one, since loading runs its code.

    score = load_plugin("my_reward.py:score", what="reward function")
    with plugin_errors("my_reward.py:score"):
        value = score(text, sample)

A class or a function of a plug-in cannot be pickled by its name. A worker process therefore gets the text
``FILE.py:NAME`` and calls :func:`load_plugin` itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from mirg.errors import ConfigError, PluginError

_FORM = "write it as FILE.py:NAME, for example my_reward.py:score"


def is_plugin(name: str) -> bool:
    """Whether ``name`` has the form of a plug-in, ``FILE.py:NAME``. The file need not exist."""
    file, colon, attribute = name.rpartition(":")
    return bool(colon) and file.endswith(".py") and attribute.isidentifier()


def load_plugin(name: str, *, what: str = "plug-in") -> Any:
    """The object ``NAME`` of the file ``FILE.py``, where ``name`` is ``FILE.py:NAME``.

    The file is run as a module, once in a process: a second name from the same file comes from the same module. A
    relative path is relative to the working directory. The folder of the file is not added to ``sys.path``, so a
    plug-in imports installed packages only.

    Args:
        name: ``FILE.py:NAME`` as the user typed it.
        what: What the object is for, in messages, for example "reward function".

    Raises:
        ConfigError: ``name`` has another form, the file does not exist, or it does not define NAME.
        PluginError: The file raises an exception while it is loaded. The message contains its traceback.
    """
    if not is_plugin(name):
        raise ConfigError(f"{name!r} does not name a {what}", hint=_FORM)
    file, _, attribute = name.rpartition(":")
    module = _module(Path(file), what, name)
    if hasattr(module, attribute):
        return getattr(module, attribute)
    defined = [other for other in vars(module) if not other.startswith("_")]
    near = get_close_matches(attribute, defined, n=1)
    raise ConfigError(
        f"{file} does not define {attribute!r}, which is named as the {what}",
        hint=f"did you mean {file}:{near[0]}?" if near else f"it defines: {', '.join(defined) or 'nothing'}",
    )


@contextmanager
def plugin_errors(name: str, *, what: str = "plug-in") -> Iterator[None]:
    """Raise any exception of the block, which calls the plug-in ``name``, as a :class:`mirg.errors.PluginError`.

    The message contains the traceback from the first frame inside the file of the plug-in on; the frames of mirg above
    it are left out. ``what`` names the plug-in's purpose, as in :func:`load_plugin`.
    """
    try:
        yield
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        file = Path(name.rpartition(":")[0])
        kind = type(error).__name__
        raise PluginError(
            f"the {what} {name} raised {kind}:\n{_own_traceback(error, file)}",
            hint=f"the error is in {file} or in the way it is called, not in mirg's own code",
        ) from error


def number_plugin(name: str, *, what: str) -> Callable[..., float]:
    """The function ``FILE.py:NAME`` that returns a finite number, checked at every call.

    The function that is returned takes the id of a sample, for messages, and then the arguments of the plug-in.
    ``what`` names the plug-in's purpose, as in :func:`load_plugin`.

    Raises:
        ConfigError: The plug-in does not exist or cannot be called.
        PluginError: The file raises an exception while it is loaded. When the function is called, also if the plug-in
            raises an exception or returns something else than a finite number.
    """
    function = load_plugin(name, what=what)
    if not callable(function):
        raise ConfigError(f"the {what} {name} is not a function but {type(function).__name__}")

    def call(sample_id: str, *arguments: object) -> float:
        with plugin_errors(name, what=what):
            value: Any = function(*arguments)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, str) or not math.isfinite(number):
            raise PluginError(
                f"the {what} {name} returned {value!r:.100} for sample {sample_id}",
                hint="it must return a finite number for every completion, for example 0.0 if the text cannot be read",
            )
        return number

    return call


def _module(file: Path, what: str, name: str) -> ModuleType:
    """The file as a module; ``sys.modules`` keeps it."""
    if not file.is_file():
        raise ConfigError(f"there is no file {file}, which {name!r} names as the {what}", hint="check the path")
    path = file.resolve()
    key = f"mirg_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} cannot be loaded as a Python module", hint=_FORM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses look their module up there while it is executed
    try:
        with plugin_errors(name, what=what):
            spec.loader.exec_module(module)
    except PluginError:
        del sys.modules[key]
        raise
    return module


def _own_traceback(error: BaseException, file: Path) -> str:
    path = file.resolve()
    at: TracebackType | None = error.__traceback__
    while at is not None and Path(at.tb_frame.f_code.co_filename).resolve() != path:
        at = at.tb_next
    return "".join(traceback.format_exception(type(error), error, at)).rstrip()
