"""The way to a second language: catalogues that are complete, editions that are up to date, and planted faults."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from babel.messages.pofile import read_po, write_po

from course import translation
from course.translation import LOCALES, PARSER, REPOSITORY, Document, faults, is_prose, main, segments, translated

EDITIONS = sorted((REPOSITORY / "notebooks").glob("*/*.ipynb"))
TERMS = {"embedding": "嵌入", "retrieval": "召回、检索"}


@pytest.mark.parametrize("edition", LOCALES)
def test_edition_is_complete_and_up_to_date(edition: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([edition, "--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", EDITIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_code_and_outputs_are_those_of_the_notebook(path: Path) -> None:
    def cells(text: str, kind: str) -> list[str]:
        return [json.dumps(cell, sort_keys=True) for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]

    edition, text = path.read_text("utf-8"), (path.parents[1] / path.name).read_text("utf-8")
    assert cells(edition, "code") == cells(text, "code")
    # Both are written in the same way, so that equal cells are equal bytes.
    for one in (edition, text):
        assert json.dumps(json.loads(one), ensure_ascii=False, indent=1, sort_keys=True) + "\n" == one
    for before, after in zip(json.loads(text)["cells"], json.loads(edition)["cells"], strict=True):
        assert {**before, "source": ""} == {**after, "source": ""}


@pytest.mark.parametrize(
    "path",
    [*EDITIONS, *REPOSITORY.glob("*.zh.md"), *REPOSITORY.glob("docs/**/*.zh.md")],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_links_of_an_edition_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    tokens = [token for block in PARSER.parse(text) for token in block.children or []]
    targets = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens]
    paths = [target.partition("#")[0] for target in targets if not re.match(r"\w+:|#", target)]
    assert [target for target in paths if not (path.parent / target).exists()] == []


def test_a_link_leads_to_the_edition_where_there_is_one() -> None:
    readme = (REPOSITORY / "README.zh.md").read_text("utf-8")
    assert "(notebooks/zh/00_tour.ipynb)" in readme and "(README.md)" in readme


GOOD = [
    ("The last 20 % of 1,000 films, 2.5 each.", "最后的 20%，每部 2.5，共 1000 部。"),
    ("About 135 million numbers, 23 thousand, 2 billion.", "约 1.35 亿个数、2.3 万个、20 亿个。"),
    ("Call `fit(x)` with $x_1$: [here](a.md).", "用 $x_1$ 调用 `fit(x)`：[见此](a.md)。"),
    ("The *embedding* of retrieval.", "召回所用的**嵌入**。"),
    ("Gibson (2019). Embeddings. ACM.", "Gibson (2019). Embeddings. ACM."),
]
PLANTED = [
    ("It has 659 people.", "共有 695 位用户。", "'659' is missing"),
    ("It has 659 people.", "共有 659 位用户，占 12%。", "'12' is not in the source"),
    ("135 million", "13.5 亿", "'135000000' is missing"),
    ("Call `fit`.", "调用 `Fit`。", "'code fit' is missing"),
    ("Call `fit`.", "调用 fit。", "'code fit' is missing"),
    ("With $z_d$ only.", "只有 $z_u$。", "'math z_u' is not in the source"),
    ("See [this](a.md).", "见[此](b.md)。", "'link a.md' is missing"),
    ("![Bars](a.svg)", "![条形](b.svg)", "'image b.svg' is not in the source"),
    ("It is **bold.** Yes.", "这是**粗体。**对。", "a stray *"),
    ("First, then.", "先,后。", "half-width punctuation"),
    ("Many (few).", "多 (少)。", "half-width punctuation"),
    ("Uses Python well.", "用Python很好。", "no space between Chinese and Latin"),
    ("Call `fit` now.", "现在调用`fit`。", "no space between Chinese and Latin"),
    ("One. Two.", "一。 二。", "a space beside full-width"),
    ("The embedding.", "向量。", "embedding is 嵌入"),
]


@pytest.mark.parametrize(("message", "words"), GOOD)
def test_a_good_translation_has_no_fault(message: str, words: str) -> None:
    assert faults(message, words, TERMS) == []


@pytest.mark.parametrize(("message", "words", "said"), PLANTED)
def test_a_planted_fault_is_caught(message: str, words: str, said: str) -> None:
    assert any(said in fault for fault in faults(message, words, TERMS)), faults(message, words, TERMS)


def test_what_has_no_words_needs_no_translation() -> None:
    for message in ("76", "≈ 3 min", "2.8 GB", "[`00_tour`](notebooks/00_tour.ipynb)", "$x$, `y`"):
        assert not is_prose(message)
    assert is_prose("25 minutes") and is_prose("![Bars](a.svg)")


TEXT = """# Title

A paragraph of
two lines.

- one
  item

| a | b |
|---|---|
| left | left `x` |

> quoted
> words

$$y$$

```
# code stays
```
"""


def test_translations_stand_where_the_messages_were() -> None:
    words = {"Title": "标题", "A paragraph of two lines.": "一段。", "one item": "一项", "a": "甲", "b": "乙"}
    words |= {"left": "左", "left `x`": "左 `x`", "quoted words": "引用"}
    assert [message for _, _, message in segments(TEXT)] == list(words)
    expected = "# 标题\n\n一段。\n\n- 一项\n\n| 甲 | 乙 |\n|---|---|\n| 左 | 左 `x` |\n\n> 引用\n"
    assert translated(TEXT, words) == expected + TEXT[TEXT.index("\n$$y$$") :]


@pytest.mark.parametrize("words", ["左 | 右", "左\n右", "左\n\n右"])
def test_a_translation_that_breaks_the_text_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="breaks the text"):
        translated(TEXT, {"left": words})


@pytest.mark.parametrize("words", ["- 一段", "# 一段", "1. 一段"])
def test_a_paragraph_does_not_become_something_else(words: str) -> None:
    with pytest.raises(ValueError, match="breaks the text"):
        translated(TEXT, {"A paragraph of two lines.": words})


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A repository of one paragraph, and how its text and its translation are changed and checked."""
    monkeypatch.setattr(translation, "REPOSITORY", tmp_path)
    monkeypatch.setattr(translation, "CAPTIONS", ())
    (tmp_path / "docs/teaching").mkdir(parents=True)
    (tmp_path / "docs/teaching/terms.zh.md").write_text("| English | 中文 |\n|---|---|\n| film | 电影 |\n", "utf-8")

    def change(text: str, words: str | None, capsys: pytest.CaptureFixture[str]) -> str:
        (tmp_path / "README.md").write_text(text, "utf-8")
        catalogue = Document(Path("README.md"), "zh").catalogue
        if words is not None:
            with catalogue.open("rb") as file:
                entries = read_po(file, "zh_CN")
            for entry in (entry for entry in entries if entry.id):
                entry.string = words
                entry.flags.discard("fuzzy")
            with catalogue.open("wb") as file:
                write_po(file, entries)
        main(["zh", "README.md"])
        return capsys.readouterr().out

    return change


def test_a_changed_paragraph_is_fuzzy_until_it_is_translated(
    small: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no translation, in 'The film has 12 scenes.'" in small("The film has 12 scenes.\n", None, capsys)
    assert "0 faults" in small("The film has 12 scenes.\n", "电影有 12 个场景。", capsys)
    edition = tmp_path / "README.zh.md"
    assert edition.read_text("utf-8") == "电影有 12 个场景。\n"
    assert "fuzzy: the source has changed" in small("The film has 12 long scenes.\n", None, capsys)
    assert main(["zh", "--check"]) == 1
    assert edition.read_text("utf-8") == "电影有 12 个场景。\n", "nothing stale is written"
    assert "0 faults" in small("The film has 12 long scenes.\n", "电影有 12 个长场景。", capsys)
    small("The film has 12 very long scenes.\n", None, capsys)
    assert "fuzzy" in small("The film has 14 very long scenes.\n", None, capsys), "a number saves no stale sentence"
    small("The film has 12 long scenes.\n", "电影有 12 个长场景。", capsys)
    assert "'12' is missing" in small("The film has 12 long scenes.\n", "电影有 13 个长场景。", capsys)


def test_numbers_alone_are_carried_over(
    small: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small("The film has 12 scenes, not 8.\n", None, capsys)
    small("The film has 12 scenes, not 8.\n", "电影的场景不是 8 个，而是 12 个。", capsys)
    assert "0 faults" in small("The film has 14 scenes, not 9.5.\n", None, capsys)
    assert (tmp_path / "README.zh.md").read_text("utf-8") == "电影的场景不是 9.5 个，而是 14 个。\n"


def test_what_would_be_written_is_a_fault_of_the_check(
    small: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small("A film.\n", None, capsys)
    small("A film.\n", "一部电影。", capsys)
    assert main(["zh", "--check"]) == 0
    (tmp_path / "README.zh.md").write_text("一部旧电影。\n", "utf-8")
    assert main(["zh", "--check"]) == 1 and "README.zh.md is not up to date" in capsys.readouterr().out


def test_sphinx_takes_the_same_messages(tmp_path: Path) -> None:
    documents = [
        Document(Path(name), "zh") for name in ("README.md", "notebooks/00_tour.ipynb", "docs/teaching/README.md")
    ]
    for document in documents:
        copy = tmp_path / "pages" / document.source.name.replace("README", document.source.parent.name or "index")
        copy.parent.mkdir(exist_ok=True)
        shutil.copy2(REPOSITORY / document.source, copy)
    settings = ["-C", "-b", "gettext", "-D", "extensions=myst_nb", "-D", "nb_execution_mode=off"]
    settings += ["-D", "myst_enable_extensions=dollarmath,amsmath,colon_fence,deflist,attrs_inline"]
    command = [sys.executable, "-m", "sphinx", "-Q", *settings, tmp_path / "pages", tmp_path / "messages"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": ""})
    taken = set()
    for path in (tmp_path / "messages").glob("*.pot"):
        with path.open("rb") as file:
            taken |= {entry.id for entry in read_po(file)}
    for document in documents:
        messages = [
            entry.id for entry in document.updated() if entry.id and entry.auto_comments != ["a part of the site"]
        ]
        assert [message for message in messages if message not in taken] == []


def test_pages_and_queries_are_split_into_the_terms() -> None:
    from course.site.chinese import SearchChinese

    words = SearchChinese({}).split("门控取决于证据，召回靠 NDCG 评估多维度兴趣融合")
    assert {"门控", "证据", "召回", "NDCG", "多维度兴趣融合"} <= set(words)
    if (
        chromium := shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    ) is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    index = json.dumps(
        {"terms": dict.fromkeys(["门控", "取决于", "证据", "召回", "多维度", "多维度兴趣融合"], 0), "titleterms": {}}
    )
    script = f"const Search = {{_index: {index}}}; {SearchChinese.js_splitter_code}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=script)
        queries = ["门控取决于证据", "NDCG 的召回", "多维度兴趣融合", "天气", "logQ-校正 x_1"]
        split = [page.evaluate(f"splitQuery({json.dumps(query)})") for query in queries]
        browser.close()
    expected = [["门控", "取决于", "证据"], ["NDCG", "召回"], ["多维度兴趣融合"], ["天气"], ["logQ", "校正", "x_1"]]
    assert split == expected
