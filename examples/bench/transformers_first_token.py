"""Loads a checkpoint by Hugging Face Transformers and prints a prompt with its first greedy token; `winnow bench load`
starts it by --python, and measures the whole process.

    python transformers_first_token.py MODEL DTYPE DEVICE THREADS PROMPT
"""

import sys

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

folder, dtype, device, threads, prompt = sys.argv[1:]
device = "cuda:" + device[3:] if device.startswith("gpu") else device
torch.set_num_threads(int(threads))
tokenizer = PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(device)
with torch.inference_mode():
    best = model(ids, logits_to_keep=1).logits[0, -1].argmax()
print(prompt + tokenizer.decode([best.item()]), flush=True)
