"""One model behind llama.cpp's own HTTP server, run by the interpreter that `fetch.py` made: MODEL PORT ALIAS SLOTS."""

import signal
import sys
import threading

import xllamacpp

CONTEXT = 4096

path, port, alias, slots = sys.argv[1:]
settings = xllamacpp.CommonParams()
settings.model.path, settings.hostnames, settings.port = path, ["127.0.0.1"], int(port)
settings.model_alias = {alias}
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.n_parallel, settings.n_ctx = int(slots), int(slots) * CONTEXT
settings.n_gpu_layers, settings.use_jinja, settings.offline = 0, True, True
settings.ui, settings.fit_params, settings.cache_ram_mib = False, False, 0
server = xllamacpp.Server(settings)
done = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: done.set())
done.wait()
