"""Check that all prose is plain technical English: words, phrases, sentence lengths and help texts.

``python .ci/prose.py`` checks every file that git tracks, ``python .ci/prose.py FILE...`` only those files. Each
finding is a line: where, what was found, and what to write instead. The exit status is 1 if anything was found.

Markdown is checked without its code, Python in its docstrings and comments, and in `src` also in its messages and help
texts. In scripts and style sheets only comments are prose.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

MAX_WORDS = 50
"""A longer sentence is a finding."""
GOOD_WORDS = 25
"""Longer sentences are counted, not reported."""

CODE = "\N{MIDDLE DOT}"
"""Stands for a piece of code, an address or a value in a sentence. It counts as one word."""

INSTEAD = {
    # The field's words
    r"pictures?": "image",
    r"(?<!-)nets?(?!-)": "network",
    r"trunks?": "backbone",
    r"telephones?": "phone",
    # Connectors and phrases that do not translate
    r"as well(?! as)": "also, or nothing",
    r"too(?=[.,;:)]|$)": "also, or nothing",
    r"all the same": "still, anyway",
    r"by which": "a sentence of its own",
    r"(?<!none )(?<!each )(?<!some )(?<!all )(?<!most )(?<!both )(?<!one )of which": "whose, or a sentence of its own",
    r"of the same(?=[.,;:)]|$)": "the noun itself",
    r"there (?:is|are) (?:no )?such": "already exists, does not exist",
    r"such an? \w+ already": "already exists",
    r"(?:those|all|any|ones?) that there (?:is|are)": "existing, or nothing",
    r"(?:go|goes|going|gone|went) on": "continue, resume",
    r"(?:is|are) told(?! apart| from)": "is described in, see",
    r"tells? how": "see, describes, shows",
    r"(?:is|are) to be": "an imperative: install it",
    r"(?<=[,;:] )for (?:it|they|he|she|then|there|nobody|nothing|otherwise|neither|not)": "because",
    r"should (?:the|an?|it|they) \w+": "if the",
    r"whoever": "the caller, the user",
    r"who(?:m)?soever": "anyone who",
    r"one's own": "your own",
    r"(?:there|here|where)(?:of|in|by|upon|fore|with)": "plain words: of it, in it, so",
    r"lest": "so that ... not",
    r"albeit": "although",
    r"whilst": "while",
    r"(?:al)?though not\b(?=[.,;])": "but not",
    r"nought|naught": "zero, nothing",
    r"shall": "must, will",
    r"anew": "again",
    r"rightly": "correctly",
    r"sooner|soonest": "faster, earlier",
    r"hand(?:s|ed|ing)? over": "pass, give",
    r"in vain": "without success",
    r"but for": "except",
    r"so many(?! \w+ that)": "this many, the number",
    r"quicker|quickest": "faster, fastest",
    # Idioms and metaphors
    r"tak(?:e|es|en|ing) care of": "handle",
    r"at hand": "available",
    r"by heart": "memorize",
    r"luggage|clear(?:s|ing)? (?:its|their) throats?|com(?:e|es|ing) along": "literal words",
    r"(?:on the fly|out of the box|under the hood|in a nutshell|for free|at a glance|rule of thumb)": "literal words",
    r"(?:once and for all|to the letter|for good|silver bullet|apples and oranges)": "literal words",
    # American spelling
    r"(?:dis|un|re)?colou?rless|(?:dis|un)?colour\w*": "color",
    r"(?:behavi|fav|neighb|hon|lab|harb|rum|vap)our\w*": "-or: behavior, neighbor",
    r"grey\w*": "gray",
    r"art[e]facts?": "artifact",
    r"licence[sd]?": "license",
    r"(?:off|def)ence": "offense, defense",
    r"centre[sd]?|centring": "center",
    r"(?:kilo|milli|centi)?metres?|fibres?|litres?|theatres?": "-er: meter",
    r"(?:re|un|mis)?labell(?:ed|ing|er|ers)": "labeled, labeling",
    r"(?:cancell|travell|modell|signall|channell|levell|tunnell|fuell|totall)(?:ed|ing|er)": "one l: canceled",
    r"(?:cata|ana)logue\w*": "catalog, analog",
    r"programmes?": "program",
    r"judgement|acknowledgement|ageing": "judgment, aging",
    r"any more": "anymore, no longer",
    r"(?:mis)?spelt|learnt|burnt|spoilt|dreamt": "-ed: misspelled, learned",
    r"(?:ana|para|cata)lys(?:e|es|ed|ing)": "analyze",
    (
        r"(?:un|de|re|non)?(?:normal|optim|initial|serial|quant|regular|categor|character|custom|final|general|memor"
        r"|minim|maxim|organ|recogn|real|special|standard|summar|synchron|token|util|visual|vector|author|emphas|prior|local"
        r"|central|random|symbol|binar|parallel|linear|anonym|penal|stabil|equal|capital|formal|crystal|modern|neutral"
        r"|sanit|material|apolog|critic|rasterbin)is(?:e|es|ed|er|ers|ing|ation|ations|able)"
    ): "-ize",
}
"""What is not written here, each a pattern of whole words, and what to write instead."""

RULES = [(re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]
ANY = re.compile(rf"(?<!\w)(?:{'|'.join(INSTEAD)})(?!\w)", re.IGNORECASE)


Nodes = Sequence[ast.AST]
"""All nodes of a syntax tree."""


class Passage(NamedTuple):
    """A paragraph, a list item, a table cell, a comment or a message."""

    line: int
    text: str


class Finding(NamedTuple):
    """What is not plain, and what to write instead."""

    line: int
    found: str
    instead: str


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])[)\"']*\s+(?=\W*[A-Z·`])", text.strip()) if part]


def words(sentence: str) -> int:
    return sum(1 for word in sentence.split() if re.search(rf"\w|{CODE}", word))


def check(passage: Passage) -> Iterator[Finding]:
    """Words, phrases and lengths of one passage."""
    if ANY.search(passage.text):
        for pattern, instead in RULES:
            for match in pattern.finditer(passage.text):
                yield Finding(passage.line, repr(match[0]), f"write {instead}")
    for sentence in sentences(passage.text):
        if (length := words(sentence)) > MAX_WORDS:
            start = " ".join(sentence.split()[:6])
            yield Finding(passage.line, f"a sentence of {length} words ({start} ...)", f"write at most {MAX_WORDS}")


def check_help(line: int, text: str, says_default: bool) -> Iterator[Finding]:
    """A help text stands alone: it begins as a sentence, ends as one, and says its default."""
    if not re.match(rf"[A-Z{CODE}\"]", text):
        yield Finding(line, f"a help text that begins with {text[:20]!r}", "begin with a capital letter")
    if not text.endswith((".", "?", CODE)):
        yield Finding(line, f"a help text that ends with {text[-20:]!r}", "end with a full stop")
    if not says_default and "default" not in text.lower():
        yield Finding(line, f"a help text without its default: {text[:40]!r}", "end with (default: ...)")


# Markdown


def markdown(text: str) -> Iterator[Passage]:
    """Paragraphs, headings, list items and table cells, without code, comments, HTML tags and link targets."""
    text = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    lines = text.split("\n")
    fence = note = ""
    block: list[str] = []
    first = 0

    def finish() -> Iterator[Passage]:
        if block:
            yield Passage(first, plain(" ".join(block)))
            block.clear()

    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if marker := re.match(r"(`{3,}|~{3,}|:{3,})\s*(\{[\w-]+\})?", stripped):
            yield from finish()
            if stripped in (fence, note):
                fence, note = "", note if fence else ""
            elif not fence and (marker[2] in ADMONITIONS or marker[1].startswith(":")):
                note = marker[1]
            elif not fence:
                fence = marker[1]
            continue
        if fence:
            continue
        if stripped.startswith("|"):
            yield from finish()
            for cell in re.split(r"(?<!\\)\|", stripped.strip("|")):
                if not re.fullmatch(r"[\s:-]*", cell):
                    yield Passage(number, plain(cell))
            continue
        if not stripped or stripped.startswith("#") or re.match(r"(?:[-*+]|\d+\.) ", stripped):
            yield from finish()
        if stripped:
            if not block:
                first = number
            block.append(re.sub(r"^(?:#+|[-*+]|\d+\.|>) ", "", stripped))
        if stripped.startswith("#"):
            yield from finish()
    yield from finish()


ADMONITIONS = ("{note}", "{tip}", "{warning}", "{important}", "{admonition}", "{seealso}", "{versionadded}")


def plain(text: str) -> str:
    """The words of a piece of Markdown or reStructuredText: code becomes one mark, a link its text."""
    text = re.sub(r"(`+).+?\1", CODE, text)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<?https?://[^\s>)]+>?", CODE, text)
    text = re.sub(r"</?[a-zA-Z][^>]*>", " ", text)
    return " ".join(text.replace("**", "").split())


# Python


def docstrings(nodes: Nodes) -> Iterator[Passage]:
    """Each paragraph and entry of the docstrings of modules, classes, functions and attributes, without examples."""
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for line, text in paragraphs(inspect.cleandoc(node.value.value)):
                yield Passage(node.lineno + line, plain(text))


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a docstring, each with the number of its first line."""
    block: list[str] = []
    first = 0
    example = literal = False
    for number, line in enumerate([*text.split("\n"), ""]):
        stripped = line.strip()
        starts = bool(re.match(r"(?:[-*+] |\d+\. |\|)", stripped)) or (
            line.startswith("    ") and bool(re.match(r"\**[\w`.]+(?: \([^)]*\))?: ", stripped))
        )
        if block and (not stripped or starts or stripped.startswith(">>>")):
            yield first, " ".join(block)
            literal = block[-1].endswith("::")
            block = []
        literal = literal and (not stripped or line.startswith("    "))
        example = bool(stripped) and (example or stripped.startswith(">>>"))
        if stripped and not example and not literal:
            if not block:
                first = number
            block.append(re.sub(r"^[-*+] |^\d+\. ", "", stripped))
            if re.fullmatch(r"\w+:", stripped):
                block = []


def comments(text: str) -> Iterator[Passage]:
    """Each comment; lines of a comment that follow each other are one."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        body = token.string.lstrip("#!").strip()
        if re.match(r"(?:noqa|type:|pragma|fmt:|/usr)", body):
            continue
        alone = not token.line[: token.start[1]].strip()
        if block and not (alone and token.start[0] == last + 1):
            yield Passage(first, plain(" ".join(block)))
            block = []
        if not block:
            first = token.start[0]
        block.append(body)
        last = token.start[0] if alone else 0
    if block:
        yield Passage(first, plain(" ".join(block)))


def messages(nodes: Nodes) -> Iterator[Passage]:
    """Each clause of a text of three words or more that is not a docstring: messages, help texts, texts of pages."""
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) not in docs and id(node) not in parts and (text := literal_text(node)) and len(text.split()) > 2:
            if re.fullmatch(r"[\w\s]*\n[\w\s]*", text):  # a list of names
                continue
            for clause in text.split("; "):
                yield Passage(node.lineno, plain(clause))  # type: ignore[attr-defined]  # each of these nodes has one


def literal_text(node: ast.AST | None) -> str:
    """The text of a string or an f-string, each value in it as one mark; else an empty text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) or CODE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and (left := literal_text(node.left)):
        return left + (literal_text(node.right) or CODE)
    return ""


def help_texts(nodes: Nodes) -> Iterator[Finding]:
    """What is wrong with the help texts of `argument`, `option`, `flag` and ``add_argument``."""
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in ("argument", "option", "flag") and node.args and (text := literal_text(node.args[0])):
            required = isinstance(given.get("required"), ast.Constant)
            written_for_it = len(node.args) > 1 or ("default" in given and not is_none(given["default"]))
            yield from check_help(node.lineno, text, name != "option" or required or written_for_it)
        elif name == "add_argument" and (text := literal_text(given.get("help"))):
            yield from check_help(node.lineno, text, True)


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def python(text: str, with_messages: bool) -> tuple[list[Passage], list[Finding]]:
    nodes = list(ast.walk(ast.parse(text)))
    passages = [*docstrings(nodes), *comments(text)]
    if not with_messages:
        return passages, []
    return [*passages, *messages(nodes)], list(help_texts(nodes))


# Scripts, style sheets, settings


def scripts(text: str) -> Iterator[Passage]:
    """The comments of JavaScript, CSS and HTML."""
    for match in re.finditer(r"/\*(.*?)\*/|<!--(.*?)-->|(?:^|(?<=\s))//(.*?)$", text, re.DOTALL | re.MULTILINE):
        body = next(part for part in match.groups() if part is not None)
        yield Passage(text.count("\n", 0, match.start()) + 1, plain(body))


def hashed(text: str) -> Iterator[Passage]:
    """The comments of TOML, YAML and shell."""
    for number, line in enumerate(text.split("\n"), 1):
        if match := re.search(r"(?:^|\s)#+ (.*)$", line):
            yield Passage(number, plain(match[1]))


def prose(name: str, text: str) -> tuple[list[Passage], list[Finding]]:
    """The prose of a file, and what is wrong with its help texts."""
    suffix = Path(name).suffix
    if suffix == ".py":
        return python(text, with_messages=name.startswith("src/"))
    if suffix == ".md":
        return list(markdown(text)), []
    if suffix in (".js", ".css", ".html"):
        return list(scripts(text)), []
    if suffix in (".toml", ".yml", ".yaml", ".sh", ".cff") or name == ".ci/run":
        return list(hashed(text)), []
    return [], []


def own_files() -> list[str]:
    """The files that git tracks, or all of an unpacked sdist.

    Left out are this file, which quotes what it bans, its tests, files of earlier releases, and the changelog.
    """
    if (ROOT / ".git").exists():
        command = ["git", "ls-files"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    else:
        names = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*"))
    return [name for name in names if not name.startswith(NOT_CHECKED) and (ROOT / name).is_file()]


NOT_CHECKED = (".ci/prose.py", "tests/test_prose.py", "tests/released/", "CHANGELOG.md")


def report(names: Iterable[str]) -> tuple[list[str], str]:
    """A line for each finding, and a line that counts them and the sentences."""
    lines: list[str] = []
    lengths: list[int] = []
    for name in names:
        if Path(name).suffix not in READ and name != ".ci/run":
            continue
        passages, found = prose(name, (ROOT / name).read_text("utf-8"))
        for passage in passages:
            found += check(passage)
            lengths += [words(sentence) for sentence in sentences(passage.text)]
        lines += [f"{name}:{finding.line}: {finding.found}: {finding.instead}" for finding in sorted(found)]
    long = sum(length > GOOD_WORDS for length in lengths)
    return lines, f"{len(lines)} findings; {long} of {len(lengths)} sentences have more than {GOOD_WORDS} words"


READ = (".py", ".md", ".js", ".css", ".html", ".toml", ".yml", ".yaml", ".sh", ".cff")

if __name__ == "__main__":
    found, summary = report(sys.argv[1:] or own_files())
    print(*found, summary, sep="\n")
    sys.exit(bool(found))
