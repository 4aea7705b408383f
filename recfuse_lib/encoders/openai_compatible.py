"""A language model behind an address that speaks OpenAI's protocol, with the standard library alone.

The key is sent over https or to this machine, never anywhere else, and no error shows it.

Taught in notebook 03.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.language_model import beginnings

REQUESTS_AT_ONCE = 4
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
"""Seconds before the first repetition (each further one waits twice as long), and at most, even for Retry-After."""


class LanguageModelError(RuntimeError):
    """A language model did not answer, or not usably; the message says where, what it said and what to do."""


class OpenAICompatible:
    """A `LanguageModel` at an address: `POST {address}/chat/completions` and `POST {address}/completions`.

    Servers differ. A given beginning of the answer is sent as a last message of the assistant: some go on from there,
    others answer anew (a beginning that comes back is taken away). And few can score given text.

    Args:
        address: What stands before /chat/completions; it often ends in /v1.
        model: The name under which the server knows the model.
        api_key: Defaults to $OPENAI_API_KEY; "" sends none.
        timeout: Seconds that the server may keep silent.
        retries: Repetitions of a request that is answered with 429 or 5xx.

    Attributes:
        name: `address#model`.

    Raises:
        ValueError: Not an http or https address, an impossible setting, or a key that may not be sent there.

    Example:
        >>> OpenAICompatible("http://127.0.0.1:8080/v1/", "smollm2").name
        'http://127.0.0.1:8080/v1#smollm2'
    """

    def __init__(
        self, address: str, model: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 2
    ) -> None:
        loopback = _is_this_machine(address)
        if not model or timeout <= 0 or retries < 0:
            raise ValueError(f"model {model!r}, timeout {timeout}, retries {retries}: expected a name, > 0 and >= 0")
        key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
        if not all("!" <= character <= "~" for character in key):
            raise ValueError("the API key holds a space or a character outside ASCII; was it copied whole?")
        if key and not loopback and urlsplit(address).scheme != "https":
            raise ValueError(
                f"{address}: over http anybody on the way could read the API key, so it is not sent; use https, or "
                'api_key="" if the server needs none'
            )
        self.address, self.model, self.timeout, self.retries = address.rstrip("/"), model, timeout, retries
        self.name = f"{self.address}#{model}"
        self._key = key
        # This machine is reached directly: a proxy would get the key in plain text.
        direct = [urllib.request.ProxyHandler({})] if loopback else []
        self._opener = urllib.request.build_opener(_NoRedirect(), *direct)

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int = 64, stop: str | None = None, temperature: float = 0.0,
        seed: int = 0, answer: str | Sequence[str] = "",
    ) -> list[str]:  # fmt: skip
        """See `LanguageModel.generate`: one request a prompt, several at once; the server applies the chat template.

        Raises:
            LanguageModelError: The server cannot be reached, refuses, or answers something else.
        """
        if isinstance(prompts, str):
            raise TypeError("expected a list of prompts, got one string")
        settings = {"model": self.model, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        settings |= {"stop": [stop]} if stop else {}

        def one(prompt: str, begun: str) -> str:
            given = [{"role": "assistant", "content": begun}] if begun else []
            messages = [{"role": "user", "content": prompt}, *given]
            choice = self._choice("chat/completions", {**settings, "messages": messages})
            message = choice.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            if not isinstance(content, str):
                reason = choice.get("finish_reason")
                raise self._error(f"the answer holds no text (finish_reason {reason}); more max_tokens may help")
            content = content.removeprefix(begun)
            return content.partition(stop)[0] if stop else content

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(one, prompts, beginnings(answer, len(prompts))))

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> npt.NDArray[np.float64]:
        """See `LanguageModel.log_likelihood`: one request for each prompt with each continuation.

        No chat template is applied here: the continuation is scored right after the prompt's last character. A token
        that holds characters of both counts to the continuation. Most servers cannot score a text's first token, so
        no prompt should be empty.

        Raises:
            LanguageModelError: As for `generate`, or the server does not score given text.
            ValueError: A continuation is empty.
        """
        if isinstance(prompts, str) or isinstance(continuations, str):
            raise TypeError("expected lists of prompts and continuations, got one string")
        if not all(continuations):
            raise ValueError("a continuation is empty; there is nothing whose likelihood could be told")

        def one(pair: tuple[str, str]) -> float:
            # Some servers refuse to generate nothing, so one token is asked for and left out of the sum.
            request = {"model": self.model, "prompt": "".join(pair), "max_tokens": 1, "temperature": 0}
            choice = self._choice("completions", {**request, "echo": True, "logprobs": 1})
            try:
                return _score(choice, *pair)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._error(
                    f"the server returns no log-probabilities of given text ({error!r}); take one that knows echo "
                    "with logprobs, or a local model"
                ) from None

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            scores = list(pool.map(one, product(prompts, continuations)))
        return np.array(scores, np.float64).reshape(len(prompts), len(continuations))

    def _choice(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        body = self._post(path, json.dumps(request).encode())
        try:
            choice: dict[str, Any] = {**json.loads(body)["choices"][0]}
        except (ValueError, LookupError, TypeError) as error:
            what = "is not JSON" if isinstance(error, ValueError) else "has no choices"
            raise self._error(f"the answer {what}: {self._said(body)}; is this the protocol's address?") from None
        return choice

    def _post(self, path: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "recfuse"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(f"{self.address}/{path}", body, headers)
        for attempt in range(self.retries + 1):
            try:
                try:
                    with self._opener.open(request, timeout=self.timeout) as response:
                        return bytes(response.read())
                except urllib.error.HTTPError as refusal:
                    with refusal:
                        said, code, header = self._said(refusal.read()), refusal.code, refusal.headers
            except (OSError, UnicodeError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", "") or error
                raise self._error(
                    f"no answer ({reason}); is the server running, the address right, and {self.timeout:g} s enough?"
                ) from None
            if code != 429 and code < 500:
                break
            if attempt < self.retries:
                after = header.get("Retry-After", "").strip()
                sleep(min(float(after[:9]) if after.isdecimal() else FIRST_WAIT * 2**attempt, LONGEST_WAIT))
        hint = f"asked {attempt + 1} times; check the address, the model's name and the key"
        if code < 400:
            hint = f"it points to {header.get('Location')}, which is not followed, lest the key goes there"
        raise self._error(f"HTTP {code}: {said}; {hint}")

    def _said(self, body: bytes) -> str:
        """The message in a body, by one of the names in use, or the body's beginning."""
        said: Any = body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError):
            said = json.loads(said)
        for name in ("error", "message", "detail"):
            said = said.get(name, said) if isinstance(said, dict) else said
        # Without the key before it is cut, lest half of it stays.
        return self._without_key(" ".join(str(said).split()))[:300] or "no message"

    def _error(self, what: str) -> LanguageModelError:
        return LanguageModelError(f"{self.address} (model {self.model}): {self._without_key(what)}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """None follows no redirect: urllib would send the key to wherever the server points."""


def _is_this_machine(address: str) -> bool:
    """Whether an address is loopback; a ValueError if it is none that can be asked."""
    parts = urlsplit(address)
    host, usable = parts.hostname or "", address.isascii() and address.isprintable() and parts.port != 0
    if parts.scheme not in ("http", "https") or not host or not usable or set(address) & set("?#@ "):
        raise ValueError("expected an address such as http://127.0.0.1:8080/v1, without user, password or query")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _score(choice: dict[str, Any], prompt: str, continuation: str) -> float:
    """The sum over an echoed text's tokens that end after the prompt; an error if they are not there."""
    text, begin = prompt + continuation, len(prompt)
    if not choice["text"].startswith(text):
        raise ValueError("the text does not come back")
    offsets = choice["logprobs"]["text_offset"]
    # Some servers count a start token such as <s>, which the text does not hold.
    start_token = "".join(choice["logprobs"]["tokens"]).find(text)
    shift = start_token if offsets[1:2] == [start_token] else 0
    begin, end = begin + shift, len(text) + shift
    spans = zip(choice["logprobs"]["token_logprobs"], offsets, [*offsets[1:], end], strict=True)
    scores = [float(score) for score, start, stop in spans if start < end and (start >= begin or stop > begin)]
    if not scores or np.isnan(sum(scores)):
        raise ValueError("no number stands for the continuation")
    return sum(scores)
