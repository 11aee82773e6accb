"""Runs Hugging Face Transformers in turn with `winnow bench prefill` and `winnow bench decode`, which start it by --python.

    python transformers_speed.py MODEL DTYPE DEVICE THREADS

Answers one request a line from standard input by one line of JSON, until its input ends:

    {"ids": [[1, 2, 3]], "tokens": 4}   generates greedily by each implementation of the experts, in a KV cache:
                                        {"eager": {"prefill": 0.1, "decode": 0.2}, "grouped_mm": ...}, in seconds
    {"products": [[8, 128, 256, "w"]]}  [rows, inner] times [columns, inner] transposed, and nothing else; weights of
                                        the same name and sizes are one: {"seconds": 0.1}, median of some runs

Measured with torch 2.13 and transformers 5.17; Winnow itself needs no Python.
"""

import json
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, dtype, device, threads = sys.argv[1], getattr(torch, sys.argv[2]), sys.argv[3], int(sys.argv[4])
device = "cuda:" + device[3:] if device.startswith("gpu") else device
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, experts_implementation="eager").to(device).eval()


def generate(ids, tokens):
    start = time.perf_counter()
    out = model(ids, use_cache=True, logits_to_keep=1)
    best = out.logits[:, -1:].argmax(-1)
    best.tolist()
    first = time.perf_counter()
    for _ in range(tokens - 1):
        out = model(best, past_key_values=out.past_key_values, use_cache=True)
        best = out.logits[:, -1:].argmax(-1)
        best.tolist()
    return {"prefill": first - start, "decode": time.perf_counter() - first}


def speeds(ids, tokens):
    ids = torch.tensor(ids, device=device)
    seconds = {}
    for experts in ("eager", "grouped_mm"):
        model.set_experts_implementation(experts)
        seconds[experts] = generate(ids, tokens)
    return seconds


def products(rows):
    weights, work = {}, []
    for count, inner, columns, name in rows:
        key = (name, columns, inner)
        if key not in weights:
            weights[key] = torch.rand(columns, inner, device=device).to(dtype).t()
        x = torch.rand(count, inner, device=device).to(dtype)
        work.append((x, weights[key], torch.empty(count, columns, device=device, dtype=dtype)))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        for x, w, y in work:
            torch.mm(x, w, out=y)
        work[-1][2][0, 0].item()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds)}


with torch.inference_mode():
    for line in sys.stdin:
        request = json.loads(line)
        answer = products(request["products"]) if "products" in request else speeds(request["ids"], request["tokens"])
        print(json.dumps(answer), flush=True)
