# The fused operations of a decoder, in TorchScript. TorchScriptModule packs this text into an archive
# that PyTorch loads; no Python takes part. Products are computed in the type of their weights; the residual,
# norms, rotary factors and the router (and their weights) in float32, which in bfloat16 halves the error and costs no time.
# 6 is float32.
# Shapes: B sequences, T new tokens, S cached and new tokens, H hidden size, D head dimension, N = B * T.
class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool

  # ---- weights ------------------------------------------------------------------------------------

  # Called in training mode, in which results are ordinary tensors (elsewhere they are inference
  # tensors, which autograd refuses); hence the numbers as tensors.
  def map_file(self: __torch__.M, path: str, elements: Tensor, dtype: Tensor) -> Tensor:
    return torch.from_file(path, False, int(elements), dtype=int(dtype))

  # A copy of bytes that start where their type may not: [bytes] -> [elements].
  def reinterpret(self: __torch__.M, data: Tensor, dtype: Tensor) -> Tensor:
    return torch.view_copy(torch.clone(data), dtype=int(dtype))

  def convert(self: __torch__.M, x: Tensor, device: str, dtype: int) -> Tensor:
    return torch.to(x, torch.device(device), dtype)

  # ---- attention ----------------------------------------------------------------------------------

  # ids [B, T] -> residual [B, T, H] in float32, as it stays.
  def embed(self: __torch__.M, table: Tensor, ids: Tensor) -> Tensor:
    return torch.to(torch.embedding(table, ids), 6)

  # positions [B, T] -> [cos, sin], each [B, 1, T, D] in float32; the first half of sin is negative.
  def rotary(self: __torch__.M, positions: Tensor, inverse_frequencies: Tensor) -> List[Tensor]:
    angles = torch.unsqueeze(torch.to(positions, 6), -1) * inverse_frequencies
    sin = torch.sin(angles)
    cos = torch.cos(angles)
    return [torch.unsqueeze(torch.cat([cos, cos], -1), 1), torch.unsqueeze(torch.cat([torch.neg(sin), sin], -1), 1)]

  # Rolling by half a head exchanges its halves; the sign is in sin.
  def rotate(self: __torch__.M, x: Tensor, rotary: List[Tensor]) -> Tensor:
    rolled = torch.roll(x, [x.size(-1) // 2], [-1])
    return torch.to(torch.addcmul(x * rotary[0], rolled, rotary[1]), x.dtype)

  # float32 in and out.
  def normalize(self: __torch__.M, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return torch.rms_norm(x, [x.size(-1)], weight, epsilon)

  # Normalised attention added to the residual: hidden [B, T, H] -> [B, T, H].
  # weights: norm, query, key, value, output. mask: none, or one additive [B or 1, 1, T, S].
  # cache: none, or keys and values [B, key/value heads, capacity, D], filled up to `past`.
  def attend(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], past: int, heads: int, kv_heads: int, scale: float, epsilon: float) -> Tensor:
    b = hidden.size(0)
    t = hidden.size(1)
    groups = heads // kv_heads
    x = torch.to(self.normalize(hidden, weights[0], epsilon), weights[1].dtype)
    # Queries and keys are rotated together: [B, heads + key/value heads, T, D].
    qk = torch.cat([torch.linear(x, weights[1]), torch.linear(x, weights[2])], -1)
    qk = torch.transpose(torch.view(qk, [b, t, heads + kv_heads, -1]), 1, 2)
    qk = self.rotate(qk, rotary)
    q = torch.narrow(qk, 1, 0, heads)
    k = torch.narrow(qk, 1, heads, kv_heads)
    v = torch.transpose(torch.view(torch.linear(x, weights[3]), [b, t, kv_heads, -1]), 1, 2)
    if len(cache) > 0:
      torch.copy_(torch.narrow(cache[0], 2, past, t), k)
      torch.copy_(torch.narrow(cache[1], 2, past, t), v)
      k = torch.narrow(cache[0], 2, 0, past + t)
      v = torch.narrow(cache[1], 2, 0, past + t)
    if t == 1:
      # The query heads of a group become rows of one product: no copy of keys and values.
      rows = torch.reshape(q, [b, kv_heads, groups, -1])
      scores = torch.matmul(rows, torch.transpose(k, 2, 3)) * scale
      if len(mask) > 0:
        scores = scores + mask[0]
      y = torch.matmul(torch.to(torch.softmax(scores, -1, 6), v.dtype), v)
      y = torch.reshape(y, [b, 1, -1])
    else:
      if groups > 1:
        k = torch.repeat_interleave(k, groups, 1)
        v = torch.repeat_interleave(v, groups, 1)
      if len(mask) > 0:
        y = torch.scaled_dot_product_attention(q, k, v, mask[0], 0.0, False, scale=scale)
      else:
        y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, True, scale=scale)
      y = torch.reshape(torch.transpose(y, 1, 2), [b, t, -1])
    return hidden + torch.to(torch.linear(y, weights[4]), 6)

  # A cache with room for `capacity` positions, holding what the old one held.
  def grow(self: __torch__.M, cache: Tensor, capacity: int) -> Tensor:
    grown = torch.new_zeros(cache, [cache.size(0), cache.size(1), capacity, cache.size(3)])
    torch.copy_(torch.narrow(grown, 2, 0, cache.size(2)), cache)
    return grown

  def empty_cache(self: __torch__.M, like: Tensor, b: int, kv_heads: int, capacity: int, d: int) -> Tensor:
    return torch.new_zeros(like, [b, kv_heads, capacity, d])

  # Of some sequences, the first `length` positions and room up to `capacity`.
  def copy_cache(self: __torch__.M, cache: Tensor, rows: Tensor, length: int, capacity: int) -> Tensor:
    copied = torch.new_zeros(cache, [rows.size(0), cache.size(1), capacity, cache.size(3)])
    torch.copy_(torch.narrow(copied, 2, 0, length), torch.index_select(torch.narrow(cache, 2, 0, length), 0, rows))
    return copied

  # ---- sparse MoE ---------------------------------------------------------------------------------

  # hidden [B, T, H] -> normalised input [N, H] in float32 and in the experts' type, router logits
  # [N, experts] in float32. The gate is float32.
  def route(self: __torch__.M, hidden: Tensor, norm: Tensor, epsilon: float, gate: Tensor, dtype: int) -> List[Tensor]:
    x = torch.reshape(self.normalize(hidden, norm, epsilon), [-1, hidden.size(2)])
    return [x, torch.to(x, dtype), torch.linear(x, gate)]

  # The same for a host's input: [N, H] -> [N, experts].
  def router_logits(self: __torch__.M, x: Tensor, gate: Tensor) -> Tensor:
    return torch.linear(x, gate)

  def feed_forward(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    y = torch.silu_(torch.linear(x, w1))
    return torch.linear(torch.mul_(y, torch.linear(x, w3)), w2)

  # One expert alone, always computed in float32: [N, H] -> [N, H].
  def expert_output(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    return self.feed_forward(x, torch.to(w1, 6), torch.to(w3, 6), torch.to(w2, 6))

  # The experts' weighted outputs added to the residual. The pairs of token and expert come sorted by
  # expert: expert experts[i] takes tokens[starts[i]:starts[i + 1]] with the weights at the same places.
  # A token occurs once per expert, so that every index_add_ has one writer per row and the sum has one order.
  def mix(self: __torch__.M, hidden: Tensor, x: Tensor, experts: List[int], starts: List[int], tokens: Tensor, weights: Tensor, w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    y = torch.zeros_like(x, dtype=6)
    for i in range(len(experts)):
      e = experts[i]
      count = starts[i + 1] - starts[i]
      rows = torch.narrow(tokens, 0, starts[i], count)
      z = self.feed_forward(torch.index_select(x, 0, rows), w1[e], w3[e], w2[e])
      z = torch.to(z, 6) * torch.unsqueeze(torch.narrow(weights, 0, starts[i], count), 1)
      y = torch.index_add_(y, 0, rows, z)
    return hidden + torch.view_as(y, hidden)

  # The same for a single token, which every expert in the list takes.
  def mix_one(self: __torch__.M, hidden: Tensor, x: Tensor, experts: List[int], weights: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    y = hidden
    for i in range(len(experts)):
      e = experts[i]
      y = torch.add(y, self.feed_forward(x, w1[e], w3[e], w2[e]), alpha=weights[i])
    return y

  # ---- head ---------------------------------------------------------------------------------------

  # Logits in float32 of the last `count` tokens: [B, T, H] -> [B, count, vocabulary].
  def head(self: __torch__.M, hidden: Tensor, norm: Tensor, epsilon: float, weight: Tensor, count: int) -> Tensor:
    tail = torch.narrow(hidden, 1, hidden.size(1) - count, count)
    x = torch.to(self.normalize(tail, norm, epsilon), weight.dtype)
    return torch.to(torch.linear(x, weight), 6)
