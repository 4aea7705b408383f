"""A language model behind an address, against a server on this machine that speaks the protocol, well and badly."""

import contextlib
import http.server
import json
import socket
import threading
import time

import pytest

from recfuse_lib.encoders import openai_compatible
from recfuse_lib.encoders.openai_compatible import LanguageModelError, OpenAICompatible

KEY = "sk-a-key-that-nobody-may-read"
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def chat(content, reason="stop"):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": reason,
        "logprobs": None,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    }


class Server(http.server.ThreadingHTTPServer):
    """Answers with what `respond(path, request)` gives: a value as JSON, bytes as they are, or (status, headers, body)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.seen = []
        self.respond = lambda path, request: chat("fine")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, request, self.headers))
        answer = self.server.respond(self.path, request)
        status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # a client whose time is up has gone
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append((self.path, None, self.headers))
        self.send_error(404)

    def log_message(self, *arguments):
        pass


def running():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def server():
    with running() as one:
        yield one
        one.shutdown()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def refused(model, *words):
    with pytest.raises(LanguageModelError) as error:
        model.generate(["hello"])
    text = str(error.value)
    assert model.address in text and KEY not in text
    assert all(word in text for word in words), text


def test_answers_come_in_order_and_several_at_once(server):
    meeting = threading.Barrier(2, timeout=5)

    def respond(path, request):
        prompt = request["messages"][0]["content"]
        if prompt in ("0", "1"):
            meeting.wait()
        if prompt == "0":
            time.sleep(0.1)
        return chat(f"answer {prompt}")

    server.respond = respond
    model = OpenAICompatible(server.address + "/", "small")
    assert model.generate([str(number) for number in range(10)]) == [f"answer {number}" for number in range(10)]
    assert model.generate([]) == []
    assert model.name == f"{server.address}#small"


def test_what_is_sent(server):
    model = OpenAICompatible(server.address, "small")
    model.generate(["Grüße 🎬"], max_tokens=7, stop="\n", temperature=0.7, seed=3, answer=["1. "])
    model.generate(["short"])
    (path, request, headers), (_, plain, _) = server.seen
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert request == {
        "model": "small", "max_tokens": 7, "temperature": 0.7, "seed": 3, "stop": ["\n"],
        "messages": [{"role": "user", "content": "Grüße 🎬"}, {"role": "assistant", "content": "1. "}],
    }  # fmt: skip
    assert plain["messages"] == [{"role": "user", "content": "short"}] and "stop" not in plain


@pytest.mark.parametrize("content", ["Heat\nand more", "1. Heat\nand more", "Heat"])
def test_neither_the_beginning_nor_the_stop_is_returned(server, content):
    server.respond = lambda path, request: chat(content)
    assert OpenAICompatible(server.address, "m").generate(["one film"], answer=["1. "], stop="\n") == ["Heat"]


def test_a_server_scores_no_given_words(server):
    with pytest.raises(LanguageModelError, match="local model"):
        OpenAICompatible(server.address, "m").log_likelihood(["A film about"], [" space"])
    assert server.seen == []


def test_wrong_arguments(server):
    model = OpenAICompatible(server.address, "m")
    with pytest.raises(ValueError, match="shorter"):
        model.generate(["a", "b"], answer=["It is"])
    assert server.seen == []


@pytest.mark.parametrize(("answer", "words"), [
    (b"<html>Welcome</html>", ["no choices"]),
    ({"object": "list"}, ["no choices"]),
    ({"choices": []}, ["no choices"]),
    ([1], ["no choices"]),
    (chat(None, "length"), ["no text", "length"]),
    ({"choices": [{"message": "text"}]}, ["no text"]),
    ({"choices": [{}]}, ["no text"]),
    ((400, {}, {"error": {"message": "max_tokens is too large", "type": "invalid"}}), ["400", "max_tokens is too large"]),
    ((401, {}, {"error": f"Incorrect API key: {KEY}"}), ["401", "Incorrect API key", "key"]),
    ((403, {}, ("x" * 230 + KEY).encode()), ["403"]),
    ((404, {}, {"detail": "Not Found"}), ["404", "Not Found", "address"]),
    ((302, {"Location": f"http://localhost:1/{KEY}"}, b""), ["302"]),
])  # fmt: skip
def test_bad_answers_are_explained_and_not_repeated(server, answer, words):
    server.respond = lambda path, request: answer
    refused(OpenAICompatible(server.address, "m"), *words)
    assert len(server.seen) == 1


def test_half_a_key_is_not_shown_either(server):
    server.respond = lambda path, request: (403, {}, ("x" * 230 + KEY).encode())
    with pytest.raises(LanguageModelError) as error:
        OpenAICompatible(server.address, "m").generate(["hello"])
    assert KEY[:4] not in str(error.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_take_the_key_along(server, status):
    with running() as other:
        server.respond = lambda path, request: (status, {"Location": other.address}, b"")
        refused(OpenAICompatible(server.address, "m"), str(status))
        other.shutdown()
    assert other.seen == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(server, status):
    busy = (status, {"Retry-After": "0.01"}, b"busy")
    server.respond = lambda path, request: chat("at last") if len(server.seen) == 3 else busy
    assert OpenAICompatible(server.address, "m").generate(["hello"]) == ["at last"]


def test_a_silent_server_times_out(server, monkeypatch):
    monkeypatch.setattr(openai_compatible, "TIMEOUT", 0.2)
    release = threading.Event()
    server.respond = lambda path, request: chat("late") if release.wait(5) else None
    refused(OpenAICompatible(server.address, "m"), "timed out", "0.2 s")
    release.set()


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    refused(OpenAICompatible(address, "m"), "refused", "running")


def test_where_the_key_comes_from(server, monkeypatch):
    for given in (f" {KEY}\n", ""):
        monkeypatch.setenv("OPENAI_API_KEY", given)
        OpenAICompatible(server.address, "m").generate(["a"])
    assert [headers.get("Authorization") for _, _, headers in server.seen] == [f"Bearer {KEY}", "Bearer none"]


@pytest.mark.parametrize("address", [
    "http://example.org/v1", "http://10.0.0.2:8000/v1", "http://127.0.0.1.example.org/v1",
    "http://localhost.example.org/v1", "HTTP://example.org",
])  # fmt: skip
def test_the_key_is_not_sent_in_plain_text(address, monkeypatch):
    with pytest.raises(ValueError, match="https") as error:
        OpenAICompatible(address, "m")
    assert KEY not in str(error.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    OpenAICompatible(address, "m")


@pytest.mark.parametrize("address", [
    "https://example.org/v1", "HTTPS://example.org", "http://localhost:8000/v1", "http://127.1.2.3", "http://[::1]:80/v1",
])  # fmt: skip
def test_the_key_may_go_there(address):
    assert OpenAICompatible(address, "m").name == f"{address}#m"


def test_a_proxy_does_not_get_what_is_meant_for_this_machine(server, monkeypatch):
    with running() as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert OpenAICompatible(server.address, "m").generate(["a"]) == ["fine"]
        proxy.shutdown()
    assert proxy.seen == []


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_one(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError) as error:
        OpenAICompatible("https://example.org/v1", "m")
    assert key not in str(error.value)


@pytest.mark.parametrize("address", [
    "", "localhost:8000/v1", "ftp://example.org", "http://", "http://host:0", "http://host:port/v1", "http://host:99999",
    "http://[::1/v1", "http://a b/v1", "http://a\nb/v1", "http://käse/v1", "http://host/v1?key=1", "http://host/v1#model",
    "https://user:secret@host/v1",
])  # fmt: skip
def test_what_is_no_address(address):
    with pytest.raises(ValueError) as error:
        OpenAICompatible(address, "m")
    assert "secret" not in str(error.value)
