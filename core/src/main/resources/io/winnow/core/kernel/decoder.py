# The fused operations of a decoder, in TorchScript. TorchScriptModule packs this text into an archive
# that PyTorch loads; no Python takes part. Products are computed in the type of their weights; the residual,
# norms, rotary factors and the router (and their weights) in float32, which in bfloat16 halves the error and costs no time.
# 6 is float32.
# Shapes: B sequences, T new tokens, S cached and new tokens, H hidden size, D head dimension, N = B * T.
# While decoding, an operation costs more by being dispatched than by its arithmetic: fewer are faster.
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

  # hidden [N, H] in float32, plus y [N, in] times a transposed weight [in, H] and a factor.
  def add_product(self: __torch__.M, hidden: Tensor, y: Tensor, w: Tensor, factor: float) -> Tensor:
    if w.dtype == 6:
      return torch.addmm(hidden, y, w, alpha=factor)
    else:
      return torch.add(hidden, torch.mm(y, w), alpha=factor)

  # ids [B, T] -> residual [N, H] in float32, as it stays.
  def embed(self: __torch__.M, table: Tensor, ids: Tensor) -> Tensor:
    return torch.to(torch.embedding(table, torch.view(ids, [-1])), 6)

  # All positions' factors [positions, 2 D] in float32: cos, and sin, whose first half is negative.
  def rotary_table(self: __torch__.M, positions: Tensor, inverse_frequencies: Tensor) -> Tensor:
    angles = torch.unsqueeze(torch.to(positions, 6), -1) * inverse_frequencies
    sin = torch.sin(angles)
    cos = torch.cos(angles)
    return torch.cat([cos, cos, torch.neg(sin), sin], -1)

  # Positions [B or 1, T] -> [cos, sin], each [B or 1, 1, T, D].
  def rotary(self: __torch__.M, table: Tensor, positions: Tensor) -> List[Tensor]:
    return torch.chunk(torch.unsqueeze(torch.embedding(table, positions), 1), 2, -1)

  # The same for successive positions, without a copy.
  def rotary_range(self: __torch__.M, table: Tensor, first: int, count: int) -> List[Tensor]:
    return torch.chunk(torch.view(torch.narrow(table, 0, first, count), [1, 1, count, -1]), 2, -1)

  # Rolling by half a head exchanges its halves; the sign is in sin.
  def rotate(self: __torch__.M, x: Tensor, rotary: List[Tensor]) -> Tensor:
    rolled = torch.roll(x, [x.size(-1) // 2], [-1])
    return torch.addcmul(x * rotary[0], rolled, rotary[1])

  # RMS norm, float32 in and out: sqrt(H) x / sqrt(|x|^2 + H epsilon) * weight in four operations;
  # torch.rms_norm takes ten. constants: 0, sqrt(H epsilon).
  def normalize(self: __torch__.M, x: Tensor, weight: Tensor, constants: List[Tensor]) -> Tensor:
    length = torch.hypot(torch.linalg_vector_norm(x, 2, [-1], True), constants[1])
    return torch.addcmul(constants[0], torch.div(x, length), weight, value=torch.sqrt(x.size(-1)))

  # Normalised attention added to the residual: hidden [N, H] -> [N, H].
  # weights: norm, then transposed query, key, value (or one of all three), output. mask: none, or one additive [B or 1, 1, T, S].
  # cache: none, or keys and values [B, key/value heads, capacity, D], filled up to the past.
  # sizes: sequences, new tokens, past, query heads, key/value heads.
  def attend(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], scale: float, constants: List[Tensor]) -> Tensor:
    b, t, past, heads, kv_heads = sizes
    groups = heads // kv_heads
    x = self.normalize(hidden, weights[0], constants)
    if weights[1].dtype != 6:
      x = torch.to(x, weights[1].dtype)
    qkv = torch.mm(x, weights[1])
    if len(weights) == 5:
      qkv = torch.cat([qkv, torch.mm(x, weights[2]), torch.mm(x, weights[3])], -1)
    if t == 1:
      qkv = torch.view(qkv, [b, heads + 2 * kv_heads, 1, -1])
    else:
      qkv = torch.transpose(torch.view(qkv, [b, t, heads + 2 * kv_heads, -1]), 1, 2)
    # Queries and keys are rotated together: [B, heads + key/value heads, T, D].
    qk = self.rotate(torch.narrow(qkv, 1, 0, heads + kv_heads), rotary)
    v = torch.narrow(qkv, 1, heads + kv_heads, kv_heads)
    if weights[1].dtype != 6:
      qk = torch.to(qk, weights[1].dtype)
    q = torch.narrow(qk, 1, 0, heads)
    k = torch.narrow(qk, 1, heads, kv_heads)
    if len(cache) > 0:
      torch.copy_(torch.narrow(cache[0], 2, past, t), k)
      torch.copy_(torch.narrow(cache[1], 2, past, t), v)
      k = torch.narrow(cache[0], 2, 0, past + t)
      v = torch.narrow(cache[1], 2, 0, past + t)
    if t == 1:
      # The query heads of a group become queries of one head: no copy of keys and values.
      q = torch.reshape(q, [b, kv_heads, groups, -1])
    elif groups > 1:
      k = torch.repeat_interleave(k, groups, 1)
      v = torch.repeat_interleave(v, groups, 1)
    if len(mask) > 0:
      y = torch.scaled_dot_product_attention(q, k, v, mask[0], 0.0, False, scale=scale)
    else:
      y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, t > 1, scale=scale)
    if t > 1:
      y = torch.transpose(y, 1, 2)
    return self.add_product(hidden, torch.reshape(y, [b * t, -1]), weights[-1], 1.0)

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

  # hidden [N, H] -> router logits [N, experts] in float32, and what the experts need: normalised input
  # [N, H] in float32, the same in the experts' type where that is another, hidden. The gate is float32.
  def route(self: __torch__.M, hidden: Tensor, norm: Tensor, gate: Tensor, dtype: int, constants: List[Tensor]) -> Tuple[Tensor, List[Tensor]]:
    x = self.normalize(hidden, norm, constants)
    logits = torch.mm(x, torch.t(gate))
    if dtype == 6:
      state = [x, hidden]
    else:
      state = [x, torch.to(x, dtype), hidden]
    return (logits, state)

  # Both in one call.
  def attend_and_route(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], scale: float, constants: List[Tensor], norm: Tensor, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    attended = self.attend(hidden, weights, rotary, mask, cache, sizes, scale, constants)
    return self.route(attended, norm, gate, dtype, constants)

  # The same for a host's input: [N, H] -> [N, experts].
  def router_logits(self: __torch__.M, x: Tensor, gate: Tensor) -> Tensor:
    return torch.mm(x, torch.t(gate))

  # What the last product of an expert multiplies: [N, H] -> [N, m]. The weights are transposed.
  def activate(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    return torch.mul_(torch.silu_(torch.mm(x, w1)), torch.mm(x, w3))

  # One expert alone, always computed in float32: [N, H] -> [N, H].
  def expert_output(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    y = self.activate(x, torch.t(torch.to(w1, 6)), torch.t(torch.to(w3, 6)))
    return torch.mm(y, torch.t(torch.to(w2, 6)))

  # The experts' weighted outputs added to the residual [N, H]. The pairs of token and expert come sorted by
  # expert, whose weights are transposed: expert experts[i] takes tokens[starts[i]:starts[i + 1]] with the weights at the same places.
  # A token occurs once per expert, so that every index_add_ has one writer per row and the sum has one order.
  def mix(self: __torch__.M, hidden: Tensor, x: Tensor, experts: List[int], starts: List[int], tokens: Tensor, weights: Tensor, w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    y = torch.zeros_like(x, dtype=6)
    for i in range(len(experts)):
      e = experts[i]
      count = starts[i + 1] - starts[i]
      rows = torch.narrow(tokens, 0, starts[i], count)
      z = torch.mm(self.activate(torch.index_select(x, 0, rows), w1[e], w3[e]), w2[e])
      z = torch.to(z, 6) * torch.unsqueeze(torch.narrow(weights, 0, starts[i], count), 1)
      y = torch.index_add_(y, 0, rows, z)
    return torch.add_(y, hidden)

  # The same for a single token, which every expert in the list takes; state as route returns it.
  def mix_one(self: __torch__.M, state: List[Tensor], experts: List[int], weights: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    x = state[-2]
    y = state[-1]
    for i in range(len(experts)):
      e = experts[i]
      y = self.add_product(y, self.activate(x, w1[e], w3[e]), w2[e], weights[i])
    return y

  # The single token's experts of one layer, then the attention and the router of the next.
  def mix_attend_and_route(self: __torch__.M, state: List[Tensor], experts: List[int], factors: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], scale: float, constants: List[Tensor], norm: Tensor, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    mixed = self.mix_one(state, experts, factors, w1, w3, w2)
    return self.attend_and_route(mixed, weights, rotary, mask, cache, sizes, scale, constants, norm, gate, dtype)

  # ---- head ---------------------------------------------------------------------------------------

  # Logits in float32 of the last `count` of T tokens: [N, H] -> [B, count, vocabulary].
  def head(self: __torch__.M, hidden: Tensor, norm: Tensor, weight: Tensor, tokens: int, count: int, constants: List[Tensor]) -> Tensor:
    tail = hidden
    if count < tokens:
      tail = torch.narrow(torch.view(hidden, [-1, tokens, hidden.size(1)]), 1, tokens - count, count)
      tail = torch.reshape(tail, [-1, hidden.size(1)])
    x = self.normalize(tail, norm, constants)
    if weight.dtype != 6:
      x = torch.to(x, weight.dtype)
    logits = torch.mm(x, torch.t(weight))
    return torch.to(torch.view(logits, [-1, count, weight.size(0)]), 6)

  # The single token's experts of the last layer, then the head.
  def mix_and_head(self: __torch__.M, state: List[Tensor], experts: List[int], factors: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], norm: Tensor, weight: Tensor, constants: List[Tensor]) -> Tensor:
    return self.head(self.mix_one(state, experts, factors, w1, w3, w2), norm, weight, 1, 1, constants)

  # ---- merging ------------------------------------------------------------------------------------

  def empty_like(self: __torch__.M, like: Tensor) -> Tensor:
    return torch.empty_like(like)

  # Writes sums of experts into buffers: [rows, experts] factors times the experts' weights. Piece by piece,
  # so that every weight is read once, and the float32 copies of a piece stay in the processor's cache.
  def merge_experts(self: __torch__.M, factors: Tensor, experts: List[Tensor], merged: List[Tensor], piece: int) -> Tensor:
    sources = annotate(List[Tensor], [])
    for i in range(len(experts)):
      sources = torch.append(sources, torch.view(experts[i], [1, -1]))
    targets = annotate(List[Tensor], [])
    for i in range(len(merged)):
      targets = torch.append(targets, torch.view(merged[i], [-1]))
    size = torch.numel(experts[0])
    start = 0
    while start < size:
      count = piece
      if start + piece > size:
        count = size - start
      parts = annotate(List[Tensor], [])
      for i in range(len(sources)):
        parts = torch.append(parts, torch.narrow(sources[i], 1, start, count))
      sums = torch.to(torch.mm(factors, torch.to(torch.cat(parts), 6)), experts[0].dtype)
      for i in range(len(targets)):
        torch.copy_(torch.narrow(targets[i], 0, start, count), torch.select(sums, 0, i))
      start = start + count
    return factors
