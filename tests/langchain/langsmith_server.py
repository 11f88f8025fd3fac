"""A loopback stand-in for LangSmith's API: takes in what the real client posts (multipart, zstd), gives it back when queried."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import zstandard

INFO = {
    "version": "0.0.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 1,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
    "instance_flags": {"zstd_compression_enabled": True},
}
NAME = re.compile(r'name="([^"]+)"')


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def do_GET(self):
        self.answer(INFO)

    def do_POST(self):
        body = self.body()
        if self.path.endswith("/runs/query"):
            self.answer({"runs": list(self.server.runs.values()), "cursors": {"next": None}})
            return
        self.server.posts.append((self.path, self.headers.get("content-encoding")))
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            self.server.take(NAME.search(head.decode())[1], json.loads(content.rsplit(b"\r\n", 1)[0]))
        self.answer({}, 202)

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            read = b""
            while size := int(self.rfile.readline(), 16):
                read += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            read = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(read)
        return read

    def answer(self, what, status=200):
        sent = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs = {}
        self.posts = []
        self.lock = threading.Lock()

    def take(self, name, content):
        """One part: `post.<id>` opens a run, `patch.<id>` ends it, `.inputs` and the like are its fields."""
        _, run_id, *rest = name.split(".")
        with self.lock:
            run = self.runs.setdefault(run_id, {"id": run_id})
            if rest:
                run[rest[0]] = content
            else:
                run.update({key: value for key, value in content.items() if value is not None})


@contextmanager
def serving():
    """The server: its address is `url`, and `runs` holds what came in."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
