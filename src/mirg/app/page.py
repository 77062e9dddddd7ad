"""The page itself: its Gradio components, the function that each of them calls, and the server on 127.0.0.1.

Whatever others wrote reaches the page as text of an input, or through the templates of :mod:`mirg.app.view`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirg.answers.markup import box_markup, cited
from mirg.app.examples import examples_for, write_examples
from mirg.app.keep import save_sample, write_history
from mirg.app.session import FEWEST, Model, Session, Sessions, ask_all, drawn_box, found_targets
from mirg.app.view import answer_html, answer_json, asset, board_html, notice_html
from mirg.errors import MirgError
from mirg.samples.schema import Target
from mirg.serve.limits import Guard, Refused, ServeLimits

QUESTION, ANSWER = "part of the question", "the right answer"
_FILES_PER_DAY = (600, 86_400)  # seconds: the interval between two checks of uploads, and their largest age
# All but questions to a model are answered in the response to the request. Gradio's queue would send the answers over
# one stream for the page, which the server closes if nothing is pending: an event that a click adds at that moment is
# registered with a stream that ends, and is never answered.
_ASK = {"api_visibility": "private", "show_progress": "hidden"}
_QUICK = {**_ASK, "queue": False}
_TYPES = ("application/json", "multipart/form-data")  # of bodies; the second one is that of uploads
# What the page needs of Gradio. The rest would only widen what a visitor can reach: a proxy, an API, monitoring.
_PATHS = ("/config", "/theme.css", "/assets/", "/static/", "/favicon.ico", "/manifest.json", "/robots.txt", "/svelte/")
_API_PATHS = (
    "upload",
    "queue/",
    "run/",
    "heartbeat/",
    "cancel",
    "reset",
    "startup-events",
    "theme.css",
    "file=/",
    "app_id",
)
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Page:
    """The page for one model, or for two side by side; ``save`` is the dataset folder that samples are appended to."""

    def __init__(
        self, models: Sequence[Model], limits: ServeLimits, *, save: Path, folder: Path, note: str = ""
    ) -> None:
        """``folder`` holds files of the page and is removed by the caller; ``note`` says where questions are sent."""
        self.models, self.limits = models, limits
        self.save, self.folder, self.note = save, folder, note
        self.sessions = Sessions()
        self.examples = examples_for(models[0].engine)
        self.example_files = write_examples(self.examples, folder)

    # What the components call. Each function gets the session of its page by the request.

    def on_images(self, gallery: Any, question: str, request: gr.Request) -> tuple[str, str]:
        """Other images than before: the board and a notice."""
        session = self._of(request)
        problem = self._show(session, gallery)
        return self._board(session, question), problem

    def on_question(self, gallery: Any, question: str, request: gr.Request) -> tuple[Any, Any]:
        """Another question: the same if it gives other boxes than before."""
        session = self._of(request)
        if cited(question) == session.given:
            return gr.skip(), gr.skip()
        return self.on_images(gallery, question, request)

    def on_box(self, event: gr.EventData, question: str, mode: str, request: gr.Request) -> tuple[str, str, str]:
        """A box was drawn: it becomes markup in the question, or a part of the right answer."""
        session, notice = self._of(request), ""
        try:
            found = drawn_box(event._data if isinstance(event._data, dict) else {}, len(session.pictures))
        except MirgError as error:
            found, notice = None, _problem(error)
        if found and mode == ANSWER:
            session.targets.append(Target(image=found[0], box=found[1]))
        elif found:
            question = f"{question.rstrip()} {box_markup(*found)}".lstrip()
        return question, self._board(session, question), notice

    def on_ask(self, gallery: Any, question: str, request: gr.Request) -> Iterator[list[Any]]:
        """Ask the models; yields notice, the two buttons, the history, then every answer, then every JSON."""
        session = self._of(request)
        blank = [*(answer_html(None, (), "") for _ in self.models), *("" for _ in self.models)]
        if problem := self._show(session, gallery):
            yield [problem, *self._buttons(asking=False), gr.skip(), *blank]
            return
        pictures = session.pictures
        yield ["", *self._buttons(asking=True), gr.skip(), *blank]
        answers = ()
        for answers in ask_all(session, self.models, question):
            shown = [answer_html(answer, pictures, question) for answer in answers]
            yield ["", *self._buttons(asking=True), gr.skip(), *shown, *map(answer_json, answers)]
        yield ["", *self._buttons(asking=False), self._history(session), *(gr.skip() for _ in [*answers, *answers])]

    def on_cancel(self, request: gr.Request) -> None:
        """End the question that is being answered."""
        self._of(request).cancel.set()

    def on_take(self, number: int) -> Callable[[str, gr.Request], tuple[Any, str]]:
        """For the button that takes the last answer of model ``number`` as the right answer: board and notice."""

        def take(question: str, request: gr.Request) -> tuple[Any, str]:
            session = self._of(request)
            if not session.turns or session.turns[-1].pictures != session.pictures:
                words = "There is no answer about these images yet."
                return gr.skip(), notice_html(words, "ask first, or draw the boxes", problem=True)
            session.targets[:] = found_targets(session.turns[-1].answers[number])
            return self._board(session, question), notice_html(_counted(session))

        return take

    def on_clear(self, question: str, request: gr.Request) -> tuple[str, str]:
        """Remove the boxes of the right answer: board and notice."""
        session = self._of(request)
        session.targets.clear()
        return self._board(session, question), ""

    def on_save(self, question: str, nowhere: bool, request: gr.Request) -> str:
        """Save question and right answer as a sample; ``nowhere``: the answer is in none of the images."""
        session = self._of(request)
        if bool(session.targets) == nowhere:
            words = (
                "boxes are drawn, and the answer is in none of the images" if nowhere else "no right answer is given"
            )
            hint = "draw its boxes, take those of a model, or tick that it is in none of the images"
            return notice_html(f"Not saved: {words}.", hint, problem=True)
        try:
            count = save_sample(self.save, session.pictures, question, session.targets)
        except MirgError as error:
            return _problem(error)
        return notice_html(f"Saved: {self.save} has {count} samples.", f"mirg data check {self.save}")

    def on_example(self, number: int) -> tuple[list[str], str]:
        """The images and the question of a built-in example."""
        return self.example_files[number], self.examples[number].question

    def _of(self, request: gr.Request) -> Session:
        return self.sessions.of(request.session_hash)

    def _show(self, session: Session, gallery: Any) -> str:
        """Open the images of the gallery; a notice if one cannot be opened, else ""."""
        try:
            session.show([item[0] for item in gallery or ()], self.limits)
        except MirgError as error:
            return _problem(error)
        return ""

    def _board(self, session: Session, question: str) -> str:
        session.given = cited(question)
        return board_html(session.pictures, question, session.targets)

    def _buttons(self, *, asking: bool) -> list[Any]:
        return [gr.Button(interactive=not asking), gr.Button(interactive=asking)]

    def _history(self, session: Session) -> Any:
        if not session.turns:
            return gr.skip()
        path = write_history(self.folder / f"session-{secrets.token_hex(8)}.html", session.turns)
        return gr.DownloadButton(value=str(path), interactive=True)

    # The components and their wiring.

    def build(self) -> gr.Blocks:
        """The components with everything wired."""
        with gr.Blocks(title="mirg", analytics_enabled=False, delete_cache=_FILES_PER_DAY) as blocks:
            names = " and ".join(model.name for model in self.models)
            words = f"Ask {names} about {FEWEST} to {self.limits.images} images: which of them, and where in it?"
            gr.HTML(notice_html(f"{words} {self.note}"))
            with gr.Row():
                with gr.Column(min_width=320):
                    asked = self._asking()
                with gr.Column(min_width=320):
                    self._answering(asked)
                    self._saving(asked)
            blocks.unload(self._leave)
        return blocks

    def _asking(self) -> dict[str, Any]:
        """The left column: images, question, board, and what is saved."""
        gallery = gr.Gallery(
            label=f"{FEWEST} to {self.limits.images} images: drop, paste or photograph them",
            sources=["upload", "webcam", "clipboard"],
            file_types=["image"],
            type="filepath",
            columns=8,
            height=150,
            object_fit="contain",
            fit_columns=False,
            allow_preview=False,
            buttons=[],
            interactive=True,
            elem_id="images",
        )
        with gr.Row():
            examples = [gr.Button(example.title, size="sm", min_width=110) for example in self.examples]
        board = gr.HTML(board_html((), "", ()), js_on_load=asset("board.js"), elem_id="board")
        mode = gr.Radio([QUESTION, ANSWER], value=QUESTION, label="A box that you draw is", elem_id="mode")
        question = gr.Textbox(
            label="Question", placeholder="Which image shows the red bicycle, and where?", lines=2, elem_id="question"
        )
        with gr.Row():
            ask = gr.Button("Ask", variant="primary", elem_id="ask")
            cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
        notice = gr.HTML(elem_id="notice")
        parts = {"gallery": gallery, "question": question, "board": board}
        parts |= {"ask": ask, "cancel": cancel, "notice": notice}
        changed = [gallery.change, gallery.upload, gallery.delete]
        gr.on(changed, self.on_images, [gallery, question], [board, notice], trigger_mode="always_last", **_QUICK)
        question.change(self.on_question, [gallery, question], [board, notice], trigger_mode="always_last", **_QUICK)
        board.submit(self.on_box, [question, mode], [question, board, notice], **_QUICK)
        cancel.click(self.on_cancel, **_QUICK)
        return parts | {"examples": examples}

    def _saving(self, parts: dict[str, Any]) -> None:
        question, board, notice = parts["question"], parts["board"], parts["notice"]
        with gr.Accordion("Correct the answer and save it as a sample", open=False, elem_id="correct"):
            with gr.Row():
                for number, model in enumerate(self.models):
                    label = "Take the answer" + (f" of {model.name}" if len(self.models) > 1 else "")
                    take = gr.Button(label, size="sm", min_width=120, elem_id=f"take-{number}")
                    take.click(self.on_take(number), [question], [board, notice], **_QUICK)
                clear = gr.Button("Remove the green boxes", size="sm", min_width=120, elem_id="clear")
            nowhere = gr.Checkbox(label="The answer is in none of the images", elem_id="nowhere")
            save = gr.Button("Save as a sample", size="sm", elem_id="save")
        clear.click(self.on_clear, [question], [board, notice], **_QUICK)
        save.click(self.on_save, [question, nowhere], [notice], **_QUICK)

    def _answering(self, parts: dict[str, Any]) -> None:
        """The right column: an answer for each model, side by side if there are two, and the history."""
        answers, codes = [], []
        with gr.Row():
            for number in range(len(self.models)):
                with gr.Column(min_width=260):
                    answers.append(gr.HTML(answer_html(None, (), ""), elem_id=f"answer-{number}"))
                    with gr.Accordion("JSON", open=False, elem_id=f"json-{number}"):
                        codes.append(gr.Textbox(show_label=False, lines=6, max_lines=24, buttons=["copy"]))
        history = gr.DownloadButton("Save the history of this page", interactive=False, elem_id="history")
        given = [parts["gallery"], parts["question"]]
        outputs = [parts["notice"], parts["ask"], parts["cancel"], history, *answers, *codes]
        more = {"concurrency_limit": 8, **_ASK}
        gr.on([parts["ask"].click, parts["question"].submit], self.on_ask, given, outputs, **more)
        for number, button in enumerate(parts["examples"]):
            filled = button.click(partial(self.on_example, number), None, given, **_QUICK)
            shown = filled.then(self.on_images, given, [parts["board"], parts["notice"]], **_QUICK)
            shown.then(self.on_ask, given, outputs, **more)

    def _leave(self, request: gr.Request) -> None:
        self.sessions.end(request.session_hash)


def create_app(page: Page) -> FastAPI:
    """The application of the page, with the checks of ``mirg serve`` before it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        page.build().queue(max_size=page.limits.queue, api_open=False),
        "/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        allowed_paths=[str(page.folder)],
        max_file_size=page.limits.body_bytes,
        show_error=False,
        css=asset("app.css"),
    )
    app.state.worker = page.sessions
    app.add_middleware(partial(Guard, limits=page.limits, types=_TYPES))  # type: ignore[arg-type]
    app.add_middleware(partial(Doors, sessions=page.sessions))  # type: ignore[arg-type]
    return app


class Doors:
    """ASGI middleware: passes only what the page needs, and sets the headers that keep it on this machine."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection event of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        path = scope["path"].removeprefix("/gradio_api/")
        known = path == "/" or path.startswith(_PATHS if path == scope["path"] else _API_PATHS)
        app: Any = self.app if known else Refused(404, "the page has nothing there").response()
        try:
            await app(scope, receive, with_headers)
        except asyncio.CancelledError:  # of a page that is still open when the server stops
            if not self.sessions.closed:
                raise


def _problem(error: MirgError) -> str:
    return notice_html(error.message, error.hint, problem=True)


def _counted(session: Session) -> str:
    count = len(session.targets)
    return f"The right answer has {count} box{'' if count == 1 else 'es'}: draw more, or remove them."
