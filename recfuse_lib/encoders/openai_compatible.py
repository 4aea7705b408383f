"""A language model behind an address that speaks OpenAI's protocol, asked through the package `openai`.

The key, `$OPENAI_API_KEY`, is sent over https or to this machine, never anywhere else, and no error shows it.
Taught in notebook 03.
"""

import ipaddress
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

REQUESTS_AT_ONCE = 4
TIMEOUT = 60.0
"""Seconds without a response before a request fails."""


class LanguageModelError(RuntimeError):
    """A language model gave no usable answer; the message says where, what it said and what to do."""


class OpenAICompatible:
    """A `LanguageModel` asked by `POST {address}/chat/completions`; the address often ends in /v1.

    A given beginning of the answer is sent as the assistant's last message: some servers continue it, others start over
    (a beginning that comes back is removed).
    Raises `ValueError`: not an http or https address, or a key that may not be sent there.
    """

    def __init__(self, address: str, model: str) -> None:
        import openai

        key, here = os.environ.get("OPENAI_API_KEY", "").strip(), _is_this_machine(address)
        if not all("!" <= character <= "~" for character in key):
            raise ValueError("the API key holds a space or a character outside ASCII; was it copied whole?")
        if key and not here and urlsplit(address).scheme != "https":
            raise ValueError(
                f"{address}: over http anybody on the way could read the API key, so it is not sent; use https, or "
                "unset OPENAI_API_KEY if the server needs none"
            )
        self.address, self.model, self._key = address.rstrip("/"), model, key
        self.name = f"{self.address}#{model}"
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=self.address,
            timeout=TIMEOUT,
            # A redirect would take the key along, and no proxy need see what is asked of this machine.
            http_client=openai.DefaultHttpxClient(follow_redirects=False, trust_env=not here),
        )

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int = 64, stop: str | None = None, temperature: float = 0.0,
        seed: int = 0, answer: Sequence[str] = (),
    ) -> list[str]:  # fmt: skip
        """See `LanguageModel.generate`: one request a prompt, several at once; the server applies the chat template.
        Raises `LanguageModelError`: the server cannot be reached, refuses, or answers something else.
        """
        settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        settings |= {"stop": [stop]} if stop else {}

        def one(prompt: str, begun: str) -> str:
            given = [{"role": "assistant", "content": begun}] if begun else []
            messages = [{"role": "user", "content": prompt}, *given]
            choice = self._ask(messages=messages, **settings)
            content = getattr(getattr(choice, "message", None), "content", None)
            if not isinstance(content, str):
                reason = getattr(choice, "finish_reason", None)
                raise self._error(f"the answer holds no text (finish_reason {reason}); more max_tokens may help")
            content = content.removeprefix(begun)
            return content.partition(stop)[0] if stop else content

        pairs = list(zip(prompts, answer or [""] * len(prompts), strict=True))
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(lambda pair: one(*pair), pairs))

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> npt.NDArray[np.float64]:
        """Refuse: hardly any server scores given words."""
        raise self._error("the protocol cannot score given words; take a local model, such as smollm2")

    def _ask(self, **request: Any) -> Any:
        import openai

        try:
            return self._client.chat.completions.create(model=self.model, **request).choices[0]
        except openai.APIStatusError as error:
            said = f"HTTP {error.status_code}; check the address, the model's name and the key: {error.response.text}"
        except openai.OpenAIError as error:
            reason = error.__cause__ or error
            said = f"no answer ({reason}); is the server running, the address right, and {TIMEOUT:g} s enough?"
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            said = f"the answer has no choices ({error}); is this the protocol's address?"
        raise self._error(said) from None

    def _error(self, said: str) -> LanguageModelError:
        # The key goes before the text is cut, or half of it might stay.
        safe = said.replace(self._key, "[key]") if self._key else said
        return LanguageModelError(f"{self.address} (model {self.model}): {' '.join(safe.split())[:300]}")


def _is_this_machine(address: str) -> bool:
    """Whether an address is loopback; a ValueError if it is not a usable one."""
    parts = urlsplit(address)
    host, usable = parts.hostname or "", address.isascii() and address.isprintable() and parts.port != 0
    if parts.scheme not in ("http", "https") or not host or not usable or set(address) & set("?#@ "):
        raise ValueError("expected an address such as http://127.0.0.1:8080/v1, without user, password or query")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
