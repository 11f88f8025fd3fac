"""A scripted loopback server in the shape of OpenAI's chat completions: text, tools, JSON, log-probabilities, streams.

No model answers here. It says what `clever.py` says, in the forms that OpenAI's own endpoint uses.
"""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.langchain.clever import TEXT, filled, wanted

USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        text, calls = self.server.reply(body)
        finish = "tool_calls" if calls else "stop"
        if body.get("stream"):
            self.stream(body, list(deltas(text, calls)), finish)
            return
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": {**message, **calls},
            "finish_reason": finish,
            **logprobs(body, text),
        }
        sent = json.dumps({**head(body, "chat.completion"), "choices": [choice], "usage": USAGE}).encode()
        self.begin("application/json", **{"content-length": str(len(sent))})
        self.wfile.write(sent)

    def stream(self, body, parts, finish):
        self.begin("text/event-stream")
        each = head(body, "chat.completion.chunk")
        try:
            for delta in parts:
                told = logprobs(body, delta.get("content"))
                self.event({**each, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **told}]})
            self.event({**each, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                self.event({**each, "choices": [], "usage": USAGE})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            return  # The reader has left.

    def begin(self, kind, **headers):
        self.send_response(200)
        # One answer a connection: clients that are kept by nobody leave no socket open when a test's loop ends.
        for name, value in {"content-type": kind, "connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def event(self, data):
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())


def head(body, kind):
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body["model"]}


def reply(body):
    """The text, and the message's `tool_calls` where it makes some."""
    asked = [text_of(message["content"]) for message in body["messages"] if message["role"] == "user"][-1]
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(filled(form["json_schema"]["schema"], asked), ensure_ascii=False), {}
    if form.get("type") == "json_object":
        keys = re.findall(r"'(\w+)'", asked)
        return json.dumps(dict.fromkeys(keys, "a word or two")), {}
    if not body.get("tools") or any(message["role"] == "tool" for message in body["messages"]):
        return TEXT, {}
    function = wanted(body["tools"], body.get("tool_choice"))
    arguments = json.dumps(filled(function["parameters"], asked), ensure_ascii=False)
    called = {"name": function["name"], "arguments": arguments}
    return None, {"tool_calls": [{"id": "call_abc123", "type": "function", "function": called}]}


def text_of(content):
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def deltas(text, calls):
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\S+\s*", text or ""):
        yield {"content": word}
    for index, call in enumerate(calls.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        yield {"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def logprobs(body, text):
    if not body.get("logprobs"):
        return {}
    words = re.findall(r"\S+\s*", text or "")
    content = [{"token": word, "logprob": -0.1, "bytes": None, "top_logprobs": []} for word in words]
    return {"logprobs": {"content": content, "refusal": None}}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.reply = reply
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def serving(reply=reply):
    """The server: its address is `url`, and `asked` holds what came in; `reply` gives a body's text and calls."""
    with Server(reply) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
