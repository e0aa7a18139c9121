"""The keys of a step for the parts of an answer that are not its text: citations, and tools that the service runs.

Each struct has the keys for one class of `answer_parts`. Its method `made` returns the object of that class.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gpt_agent_fsm.local.models import answer_parts

Text = Annotated[str, Meta(min_length=1)]
"""A text that is not blank. This type only refuses an empty text, and `schema` refuses white space. A pattern would
refuse both, but may make msgspec 0.22 crash the interpreter at its exit."""

Fill = Callable[[str], str]
"""Returns a text with its placeholders filled in."""


class Citation(Struct, frozen=True, forbid_unknown_fields=True):
    """A citation of a web page (`url`), of a `file`, or of a `path` to a file that was made. It marks `text`."""

    text: Text
    url: Text | UnsetType = UNSET
    title: str = ""
    file: Text | UnsetType = UNSET
    name: str = ""
    path: Text | UnsetType = UNSET

    def problem(self) -> str:
        """Return why the citation cannot be used, as the end of a sentence. Return "" if it can be used."""
        given = [name for name in ("url", "file", "path") if getattr(self, name) is not UNSET]
        return "" if len(given) == 1 else "needs exactly one of 'url', 'file' and 'path'"

    def made(self, fill: Fill) -> answer_parts.Annotation:
        """Return the annotation."""
        text = fill(self.text)
        if isinstance(self.url, str):
            return answer_parts.UrlCitation(text, fill(self.url), fill(self.title))
        if isinstance(self.file, str):
            return answer_parts.FileCitation(text, fill(self.file), fill(self.name))
        return answer_parts.FilePath(text, fill(str(self.path)))


class WebSearch(Struct, frozen=True, forbid_unknown_fields=True):
    """A search of the web."""

    query: Text
    urls: list[Text] = []

    def made(self, fill: Fill) -> answer_parts.WebSearch:
        """Return the search."""
        return answer_parts.WebSearch(fill(self.query), [*map(fill, self.urls)])


class FileSearchResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a file that was found."""

    file: Text
    name: Text
    text: str = ""
    score: float = 1.0

    def made(self, fill: Fill) -> answer_parts.FileSearchResult:
        """Return the result."""
        return answer_parts.FileSearchResult(fill(self.file), fill(self.name), fill(self.text), self.score)


class FileSearch(Struct, frozen=True, forbid_unknown_fields=True):
    """A search of files."""

    queries: list[Text]
    results: list[FileSearchResult] = []

    def made(self, fill: Fill) -> answer_parts.FileSearch:
        """Return the search."""
        return answer_parts.FileSearch([*map(fill, self.queries)], [each.made(fill) for each in self.results])


class CodeInterpreter(Struct, frozen=True, forbid_unknown_fields=True):
    """Code that was run."""

    code: Text
    logs: str = ""

    def made(self, fill: Fill) -> answer_parts.CodeInterpreter:
        """Return the code and its output."""
        return answer_parts.CodeInterpreter(fill(self.code), fill(self.logs))


class McpCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call to a remote (MCP) server."""

    name: Text
    arguments: dict[str, Any] | str = {}
    output: str = ""
    server: Text = "local"
    error: Text | None = None

    def made(self, fill: Fill) -> answer_parts.McpCall:
        """Return the call."""
        arguments = fill(
            self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()
        )
        error = None if self.error is None else fill(self.error)
        return answer_parts.McpCall(fill(self.name), arguments, fill(self.output), fill(self.server), error)


class Used(Struct, frozen=True, forbid_unknown_fields=True):
    """One tool of the service. Exactly one of the fields is set; `image` is an image in base64."""

    web_search: WebSearch | UnsetType = UNSET
    file_search: FileSearch | UnsetType = UNSET
    code_interpreter: CodeInterpreter | UnsetType = UNSET
    mcp: McpCall | UnsetType = UNSET
    image: Text | UnsetType = UNSET

    def problem(self) -> str:
        """Return why the tool cannot be used, as the end of a sentence. Return "" if it can be used."""
        names = self.__struct_fields__
        if len([name for name in names if getattr(self, name) is not UNSET]) != 1:
            return f"needs exactly one of {', '.join(names)}"
        try:
            base64.b64decode(self.image or "", validate=True)
        except binascii.Error:
            return "has an 'image' that is not base64"
        return ""

    def made(self, fill: Fill) -> answer_parts.HostedTool:
        """Return the tool."""
        for tool in (self.web_search, self.file_search, self.code_interpreter, self.mcp):
            if not isinstance(tool, UnsetType):
                return tool.made(fill)
        return answer_parts.MadeImage(base64.b64decode(str(self.image)))
