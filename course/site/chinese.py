"""Search in Chinese, which has no spaces: pages are split by jieba and the table of terms, queries by the index."""

import re

import jieba
from sphinx.search import zh

from course.site.pages import REPOSITORY

HAN = re.compile("[\u4e00-\u9fff]{2,}")


class SearchChinese(zh.SearchChinese):
    """Sphinx's Chinese search, with the course's terms as words, and with queries of several words."""

    # Sphinx 9.0 looks for a stemmer of this name; the one it ships is that of the English words among the Chinese.
    language_name = "English"
    # The longest word of the index from where the last one ended: what was not split so cannot be found.
    js_splitter_code = r"""
var splitQuery = (query) => {
  const isWord = (word) => [Search._index.terms, Search._index.titleterms].some((words) => Object.hasOwn(words, word));
  return query.split(/(\p{Script=Han}+)|[^\p{Letter}\p{Number}_]+/u).filter((run) => run).flatMap((run) => {
    if (!/\p{Script=Han}/u.test(run)) return [run];
    const words = [];
    for (let at = 0, length; at < run.length; at += length) {
      for (length = run.length - at; length > 1 && !isWord(run.slice(at, at + length)); length--);
      if (length > 1) words.push(run.slice(at, at + length));
    }
    return words.length ? words : [run];
  });
};
"""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        for term in HAN.findall((REPOSITORY / "docs/teaching/terms.zh.md").read_text("utf-8")):
            jieba.add_word(term)
