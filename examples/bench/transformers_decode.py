"""Decodes greedily with Hugging Face Transformers, to compare with `winnow bench decode`.

    python transformers_decode.py MODEL PROMPT_TOKENS TOKENS THREADS DTYPE [BATCH]

Prints tokens per second of each implementation of the experts (medians of 3 runs), as JSON. Measured with torch 2.13 and
transformers 5.17; Winnow's own tests need no Python.
"""

import json
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, prompt, tokens, threads, dtype = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
batch = int(sys.argv[6]) if len(sys.argv) > 6 else 1
torch.set_num_threads(threads)


def tokens_per_second(model, ids):
    with torch.inference_mode():
        out = model(ids, use_cache=True)
        start = time.perf_counter()
        for _ in range(tokens - 1):
            best = out.logits[:, -1:].argmax(-1)
            out = model(best, past_key_values=out.past_key_values, use_cache=True)
        return batch * (tokens - 1) / (time.perf_counter() - start)


speeds = {}
for experts in ("eager", "grouped_mm"):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), experts_implementation=experts
    ).eval()
    ids = torch.randint(0, model.config.vocab_size, (batch, prompt), generator=torch.Generator().manual_seed(5))
    tokens_per_second(model, ids)  # To warm up.
    speeds[experts] = round(statistics.median(tokens_per_second(model, ids) for _ in range(3)), 1)
print(json.dumps(speeds))
