"""A loopback server that speaks enough of OpenAI's chat completions for the conformance suite: tools, streams, usage."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.llamaindex.scripted import filled

TEXT = "5 + 3 = 8. The answer is 8."
WORDS = re.findall(r"\S+\s*", TEXT)
USAGE = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body.get("stream"):
            self.stream(body, *self.server.answer(body))
        else:
            self.whole(body, *self.server.answer(body))

    def whole(self, body, text, calls):
        message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
        tokens = [{"token": w, "logprob": -0.1, "bytes": None, "top_logprobs": []} for w in WORDS]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": tokens}
        sent = json.dumps(
            {**base(body), "object": "chat.completion", "choices": [choice], "usage": USAGE}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def stream(self, body, text, calls):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        deltas = [{"role": "assistant", "content": word} for word in re.findall(r"\S+\s*", text or "")]
        for index, call in enumerate(calls):
            arguments = call["function"]["arguments"]
            begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            deltas += [{"role": "assistant", "tool_calls": [begun]}]
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}]
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}])
        try:
            for choice in choices:
                self.event({**base(body), "object": "chat.completion.chunk", "choices": choice})
            if (body.get("stream_options") or {}).get("include_usage"):
                self.event({**base(body), "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            return  # The reader has left.

    def event(self, data):
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())


def base(body):
    return {"id": "x", "created": 1, "model": body["model"]}


def reply(body):
    """The text and the tool calls of an answer."""
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    question = asked[-1] if asked else ""
    if not isinstance(question, str):
        question = " ".join(part.get("text", "") for part in question)
    wanted = (body.get("response_format") or {}).get("json_schema")
    if wanted:
        return json.dumps(filled(wanted["schema"], question, TEXT)), []
    if not body.get("tools") or any(message["role"] == "tool" for message in body["messages"]):
        return TEXT, []
    function = body["tools"][0]["function"]
    arguments = json.dumps(filled(function["parameters"], question, TEXT))
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
    return None, [call]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    answer = staticmethod(reply)


@contextmanager
def serving(answer=reply):
    """Its address.

    Args:
        answer: the text and the tool calls for a request's body.
    """
    with Server(("127.0.0.1", 0), Handler) as server:
        server.answer = answer
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
