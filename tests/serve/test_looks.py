"""``mirg serve --looks``: the server shows the model what it looks at, and answers with all turns as one."""

from __future__ import annotations

import openai
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.serving import data_uri, serving
from mirg.answers.looks import LookBudget
from mirg.engines.base import Generation, Request

LOOK = "<look>Image-1: (250,250),(750,750)</look>"


def test_a_served_model_looks() -> None:
    asked: list[Request] = []

    def script(request: Request, settings: Generation) -> str:
        asked.append(request)
        return "So.</think><answer>none</answer>" if len(request.messages) > 1 else f"<think>Closer. {LOOK} cut"

    with serving(ScriptedEngine(script), look=LookBudget(max_looks=1)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)
        picture = {"type": "image_url", "image_url": {"url": data_uri(Image.new("RGB", (120, 80), "red"))}}
        content = [picture, {"type": "text", "text": "Where?"}]
        said = client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": content}])  # type: ignore[list-item, misc]
    assert said.choices[0].message.content == f"<think>Closer. {LOOK}So.</think><answer>none</answer>"
    assert [len(request.images) for request in asked] == [1, 2] and asked[1].images[1].width > 200
