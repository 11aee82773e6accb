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

  # A matrix's columns one behind the other, in float32: [rows, columns] -> [columns, rows].
  def columns(self: __torch__.M, x: Tensor) -> Tensor:
    return torch.contiguous(torch.t(torch.to(x, 6)))

  def join(self: __torch__.M, parts: List[Tensor]) -> Tensor:
    return torch.cat(parts)

  # Whether one of some bytes, as far as a mask shows it, is this code.
  def contains(self: __torch__.M, data: Tensor, mask: int, code: int) -> bool:
    return bool(torch.any(torch.eq(torch.bitwise_and(data, mask), code)))

  # FP8 (24 is e4m3) in blocks: bytes [rows * columns] and scales [rows / block_rows, columns / block_columns],
  # both rounded up -> [rows, columns]. The products are made in float32; in parts, since fresh memory costs
  # more time than the arithmetic.
  def dequantize_fp8(self: __torch__.M, data: Tensor, scales: Tensor, rows: int, columns: int, block_rows: int, block_columns: int, device: str, dtype: int) -> Tensor:
    y = torch.empty([rows, columns], dtype=dtype, device=torch.device(device))
    factors = torch.narrow(torch.repeat_interleave(scales, block_columns, 1), 1, 0, columns)
    for i in range(scales.size(0)):
      start = i * block_rows
      count = block_rows
      if start + count > rows:
        count = rows - start
      part = torch.to(torch.narrow(data, 0, start * columns, count * columns), torch.device(device), 0)
      wide = torch.view(torch.to(torch.view_copy(part, dtype=24), 6), [count, columns])
      torch.copy_(torch.narrow(y, 0, start, count), torch.mul_(wide, torch.narrow(factors, 0, i, 1)))
    return y

  # MXFP4: bytes [rows * columns / 2] of two elements, and a scale for every 32 elements -> [rows, columns].
  # elements [256, 2]: of each byte; powers [256, 1]: of each scale. 3 is int32. In parts, too.
  def dequantize_mxfp4(self: __torch__.M, data: Tensor, scales: Tensor, elements: Tensor, powers: Tensor, rows: int, columns: int, device: str, dtype: int) -> Tensor:
    y = torch.empty([rows, columns], dtype=dtype, device=torch.device(device))
    step = 1 + 1000000 // columns
    start = 0
    while start < rows:
      count = step
      if start + count > rows:
        count = rows - start
      part = torch.to(torch.narrow(data, 0, start * columns // 2, count * columns // 2), torch.device(device), 3)
      part_scales = torch.to(torch.narrow(scales, 0, start * columns // 32, count * columns // 32), torch.device(device), 3)
      wide = torch.mul_(torch.view(torch.embedding(elements, part), [-1, 32]), torch.embedding(powers, part_scales))
      torch.copy_(torch.narrow(y, 0, start, count), torch.view(wide, [count, columns]))
      start = start + count
    return y

  # ---- attention ----------------------------------------------------------------------------------

  # x [N, in] times a transposed weight [in, out]. Many rows in float32 are added to zeros: MKL, told to overwrite,
  # first multiplies its output by 0, which takes it longer than zeros do.
  def product(self: __torch__.M, x: Tensor, w: Tensor) -> Tensor:
    if w.dtype == 6 and x.size(0) > 1 and not x.is_cuda:
      return torch.addmm_(torch.zeros([x.size(0), w.size(1)]), x, w)
    else:
      return torch.mm(x, w)

  # hidden [N, H] in float32, plus y [N, in] times a transposed weight [in, H] and a factor.
  def add_product(self: __torch__.M, hidden: Tensor, y: Tensor, w: Tensor, factor: float) -> Tensor:
    if w.dtype == 6:
      if y.size(0) > 1:
        # PyTorch would split addmm into a product and a sum.
        return torch.addmm_(torch.clone(hidden), y, w, alpha=factor)
      else:
        return torch.addmm(hidden, y, w, alpha=factor)
    else:
      return torch.add(hidden, torch.mm(y, w), alpha=factor)

  # ids [B, T] -> residual [N, H] in float32, as it stays.
  def embed(self: __torch__.M, table: Tensor, ids: Tensor, factor: float) -> Tensor:
    rows = torch.to(torch.embedding(table, torch.reshape(ids, [-1])), 6)
    if factor != 1.:
      rows = torch.mul(rows, factor)
    return rows

  # All positions' factors [positions, 2 D] in float32: cos, and sin, which is negative for the first of two
  # elements that are rotated together: half of D apart, or neighbours.
  def rotary_table(self: __torch__.M, positions: Tensor, inverse_frequencies: Tensor, factor: float, interleaved: int) -> Tensor:
    angles = torch.unsqueeze(torch.to(positions, 6), -1) * inverse_frequencies
    sin = torch.mul(torch.sin(angles), factor)
    cos = torch.mul(torch.cos(angles), factor)
    if interleaved == 0:
      table = torch.cat([cos, cos, torch.neg(sin), sin], -1)
    else:
      table = torch.cat([torch.flatten(torch.stack([cos, cos], -1), -2), torch.flatten(torch.stack([torch.neg(sin), sin], -1), -2)], -1)
    return table

  # Positions [B or 1, T] -> [cos, sin], each [B or 1, 1, T, D]. In the list of them that attention gets follow the
  # queries' factors where a layer has such, and what rotary_rows makes where T > 1 and attention is plain.
  def rotary(self: __torch__.M, table: Tensor, positions: Tensor) -> List[Tensor]:
    return torch.chunk(torch.unsqueeze(torch.embedding(table, positions), 1), 2, -1)

  # The same for successive positions, without a copy.
  def rotary_range(self: __torch__.M, table: Tensor, first: int, count: int) -> List[Tensor]:
    return torch.chunk(torch.view(torch.narrow(table, 0, first, count), [1, 1, count, -1]), 2, -1)

  # Rolling by half a head exchanges its halves; the sign is in sin.
  def rotate(self: __torch__.M, x: Tensor, rotary: List[Tensor]) -> Tensor:
    rolled = torch.roll(x, [x.size(-1) // 2], [-1])
    return torch.addcmul(x * rotary[0], rolled, rotary[1])

  # The same for the first `size` elements of a head, and for neighbours.
  def rotate_part(self: __torch__.M, x: Tensor, rotary: List[Tensor], size: int, interleaved: int) -> Tensor:
    part = x
    if size < x.size(-1):
      part = torch.narrow(x, -1, 0, size)
    if interleaved == 0:
      rotated = self.rotate(part, rotary)
    else:
      pairs = torch.reshape(part, [part.size(0), part.size(1), part.size(2), -1, 2])
      swapped = torch.flatten(torch.flip(pairs, [-1]), -2)
      rotated = torch.addcmul(part * rotary[0], swapped, rotary[1])
    if size < x.size(-1):
      rotated = torch.cat([rotated, torch.to(torch.narrow(x, -1, size, x.size(-1) - size), 6)], -1)
    return rotated

  # RMS norm, float32 in and out: x / (sqrt(|x|^2 + H epsilon) / sqrt(H)) * weight in five operations, of which one
  # makes a new [N, H]; torch.rms_norm takes ten. constants: sqrt(H epsilon), and a second one for a layer norm: its
  # weight is [2, 1, H], factor and bias.
  def normalize(self: __torch__.M, x: Tensor, weight: Tensor, constants: List[Tensor]) -> Tensor:
    if len(constants) == 1:
      length = torch.hypot(torch.linalg_vector_norm(x, 2, [-1], True), constants[0])
      normalized = torch.mul_(torch.div(x, torch.div(length, torch.sqrt(x.size(-1)))), weight)
    else:
      centered = x - torch.mean(x, [-1], True)
      deviation = torch.hypot(torch.linalg_vector_norm(centered, 2, [-1], True), constants[0])
      normalized = torch.addcmul(torch.select(weight, 0, 1), torch.div(centered, deviation), torch.select(weight, 0, 0), value=torch.sqrt(x.size(-1)))
    return normalized

  # RMS norm over the last dimension of any tensor, in float32.
  def normalize_last(self: __torch__.M, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    wide = torch.to(x, 6)
    return wide * torch.rsqrt(torch.add(torch.mean(wide * wide, [-1], True), epsilon)) * weight

  # Two things of every new token, [B, heads, T, elements], put into the cache behind those of `past` tokens:
  # returns those of all tokens. Without a cache, what is given.
  def remember(self: __torch__.M, first: Tensor, second: Tensor, cache: List[Tensor], past: int) -> Tuple[Tensor, Tensor]:
    all_first = first
    all_second = second
    if len(cache) > 0:
      t = first.size(2)
      torch.copy_(torch.narrow(cache[0], 2, past, t), first)
      torch.copy_(torch.narrow(cache[1], 2, past, t), second)
      all_first = torch.narrow(cache[0], 2, 0, past + t)
      all_second = torch.narrow(cache[1], 2, 0, past + t)
    return (all_first, all_second)

  # Normalised attention added to the residual: hidden [N, H] -> [N, H].
  # weights: norm, then transposed query, key, value (or one of all three), output. mask: none, or one additive [B or 1, 1, T, S].
  # cache: none, or keys and values [B, key/value heads, capacity, D], filled up to the past.
  # sizes: sequences, new tokens, past, query heads, key/value heads. form: empty, or what else there is.
  # numbers: scale, factor of what is added to the residual, epsilon, clip, -clip.
  def attend(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor]) -> Tensor:
    if len(form) == 0:
      attended = self.attend_plain(hidden, weights, rotary, mask, cache, sizes, numbers[0], constants)
    elif form[0] == 0:
      attended = self.attend_grouped(hidden, weights, rotary, mask, cache, sizes, form, extras, numbers, constants)
    else:
      attended = self.attend_latent(hidden, weights, rotary, mask, cache, sizes, form, extras, numbers, constants)
    return attended

  def attend_plain(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], scale: float, constants: List[Tensor]) -> Tensor:
    b, t, past, heads, kv_heads = sizes
    groups = heads // kv_heads
    x = self.normalize(hidden, weights[0], constants)
    if weights[1].dtype != 6:
      x = torch.to(x, weights[1].dtype)
    qkv = self.product(x, weights[1])
    if len(weights) == 5:
      qkv = torch.cat([qkv, self.product(x, weights[2]), self.product(x, weights[3])], -1)
    if t == 1:
      qkv = torch.view(qkv, [b, heads + 2 * kv_heads, 1, -1])
      # Queries and keys are rotated together: [B, heads + key/value heads, T, D].
      qk = self.rotate(torch.narrow(qkv, 1, 0, heads + kv_heads), rotary)
      v = torch.narrow(qkv, 1, heads + kv_heads, kv_heads)
    else:
      qkv = torch.view(qkv, [b, t, heads + 2 * kv_heads, -1])
      qk = torch.transpose(self.rotate_many(torch.narrow(qkv, 2, 0, heads + kv_heads), rotary), 1, 2)
      v = torch.transpose(torch.narrow(qkv, 2, heads + kv_heads, kv_heads), 1, 2)
    q = torch.narrow(qk, 1, 0, heads)
    k = torch.narrow(qk, 1, heads, kv_heads)
    all_k, all_v = self.remember(k, v, cache, past)
    # Beyond that many tokens blocks are no faster than PyTorch's kernel, which computes in the weights' type.
    if t > 1 and t <= 1024 and past == 0 and len(mask) == 0 and not qk.is_cuda:
      y = torch.to(self.attend_in_blocks(q, k, torch.to(v, 6), scale), weights[1].dtype)
    else:
      if weights[1].dtype != 6:
        q = torch.to(q, weights[1].dtype)
        all_k = torch.to(all_k, weights[1].dtype)
      if t == 1:
        # The query heads of a group become queries of one head: no copy of keys and values.
        q = torch.reshape(q, [b, kv_heads, groups, -1])
      elif groups > 1:
        all_k = torch.repeat_interleave(all_k, groups, 1)
        all_v = torch.repeat_interleave(all_v, groups, 1)
      if len(mask) > 0:
        y = torch.scaled_dot_product_attention(q, all_k, all_v, mask[0], 0.0, False, scale=scale)
      else:
        y = torch.scaled_dot_product_attention(q, all_k, all_v, None, 0.0, t > 1, scale=scale)
      if t > 1:
        y = torch.transpose(y, 1, 2)
    return self.add_product(hidden, torch.reshape(y, [b * t, -1]), weights[-1], 1.0)

  # [B, T, heads, D] -> the same in float32. rows: as rotary_rows makes them, of at least as many heads. Long rows are
  # computed faster than heads one by one: all elements take the one half a head behind them and that before them,
  # of which one is another head's and has the factor 0.
  def rotate_many(self: __torch__.M, x: Tensor, rows: List[Tensor]) -> Tensor:
    b, t, heads, d = torch.size(x)
    wide = torch.flatten(torch.to(x, 6), 2)
    half = d // 2
    width = heads * d - half
    rotated = torch.mul(wide, torch.narrow(rows[-3], 2, 0, heads * d))
    torch.addcmul_(torch.narrow(rotated, 2, 0, width), torch.narrow(wide, 2, half, width), torch.narrow(rows[-2], 2, 0, width))
    torch.addcmul_(torch.narrow(rotated, 2, half, width), torch.narrow(wide, 2, 0, width), torch.narrow(rows[-1], 2, half, width))
    return torch.view(rotated, [b, t, heads, d])

  # [cos, sin], each [B or 1, 1, T, D] -> what rotate_many takes for so many heads, each [B or 1, T, heads * D]:
  # factors of the element itself, of the one behind it and of the one before it.
  def rotary_rows(self: __torch__.M, cos: Tensor, sin: Tensor, heads: int) -> List[Tensor]:
    first, second = torch.chunk(sin, 2, -1)
    none = torch.zeros_like(first)
    return [self.for_heads(cos, heads), self.for_heads(torch.cat([first, none], -1), heads), self.for_heads(torch.cat([none, second], -1), heads)]

  # Factors [B or 1, 1, T, D] -> [B or 1, T, heads * D].
  def for_heads(self: __torch__.M, factors: Tensor, heads: int) -> Tensor:
    return torch.flatten(torch.repeat(torch.transpose(factors, 1, 2), [1, 1, heads, 1]), 2)

  # Causal attention of a few queries at a time, in float32 and for the CPU: PyTorch's kernel computes scores
  # of up to 512 keys whether or not the mask removes them, and is no faster in bfloat16. -> [B, T, heads, D].
  def attend_in_blocks(self: __torch__.M, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    b, heads, t, d = torch.size(q)
    kv_heads = k.size(1)
    groups = heads // kv_heads
    block = 32
    mask = torch.cat([torch.zeros([block, t]), torch.triu(torch.full([block, block], -inf), 1)], 1)
    grouped = torch.view(q, [b, kv_heads, groups, t, d])
    y = torch.empty([b, t, kv_heads, groups, d])
    start = 0
    while start < t:
      count = block
      if start + count > t:
        count = t - start
      end = start + count
      visible = torch.narrow(torch.narrow(mask, 0, 0, count), 1, t - start, end)
      visible = torch.reshape(torch.expand(visible, [groups, count, end]), [groups * count, end])
      queries = torch.reshape(torch.narrow(grouped, 3, start, count), [b, kv_heads, groups * count, d])
      part = torch.scaled_dot_product_attention(queries, torch.narrow(k, 2, 0, end), torch.narrow(v, 2, 0, end), visible, 0.0, False, scale=scale)
      torch.copy_(torch.narrow(y, 1, start, count), torch.permute(torch.view(part, [b, kv_heads, groups, count, d]), [0, 3, 1, 2, 4]))
      start = end
    return torch.view(y, [b, t, heads, d])

  # What attend returns, of each sequence's last `count` of T tokens alone, while the cache gets all keys and
  # values -> [B * count, H]. Of a single one, the queries of the others are not computed.
  def attend_last(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor], count: int) -> Tensor:
    b, t, past, heads, kv_heads = sizes
    if count > 1 or len(form) > 0 or len(mask) > 0:
      attended = self.tail(self.attend(hidden, weights, rotary, mask, cache, sizes, form, extras, numbers, constants), t, count)
    else:
      dtype = weights[1].dtype
      x = torch.to(self.normalize(hidden, weights[0], constants), dtype)
      if len(weights) == 5:
        q = torch.mm(self.tail(x, t, 1), weights[1])
        k = self.product(x, weights[2])
        v = self.product(x, weights[3])
      else:
        d = weights[1].size(1) // (heads + 2 * kv_heads)
        q = torch.mm(self.tail(x, t, 1), torch.narrow(weights[1], 1, 0, heads * d))
        k, v = torch.chunk(self.product(x, torch.narrow(weights[1], 1, heads * d, 2 * kv_heads * d)), 2, 1)
      last = [torch.narrow(rotary[0], 2, t - 1, 1), torch.narrow(rotary[1], 2, t - 1, 1)]
      q = torch.to(self.rotate(torch.view(q, [b, heads, 1, -1]), last), dtype)
      k = torch.to(self.rotate_many(torch.view(k, [b, t, kv_heads, -1]), rotary), dtype)
      v = torch.view(v, [b, t, kv_heads, -1])
      k, v = self.remember(torch.transpose(k, 1, 2), torch.transpose(v, 1, 2), cache, past)
      y = torch.scaled_dot_product_attention(torch.reshape(q, [b, kv_heads, heads // kv_heads, -1]), k, v, None, 0.0, False, scale=numbers[0])
      attended = self.add_product(self.tail(hidden, t, 1), torch.reshape(y, [b, -1]), weights[-1], 1.0)
    return attended

  # Of each sequence the last `count` of `tokens` rows.
  def tail(self: __torch__.M, x: Tensor, tokens: int, count: int) -> Tensor:
    rows = torch.narrow(torch.view(x, [-1, tokens, x.size(1)]), 1, tokens - count, count)
    return torch.reshape(rows, [-1, x.size(1)])

  # Attention with everything that grouped queries may have besides. form: 0, elements that are rotated, whether
  # neighbours are, what is normalised (1: heads, 2: all heads together, 3: heads behind the rotation), and where
  # in extras are the norms, the bias of query, key and value, that of the output and the sinks (or -1); then
  # whether there is a clip, and whether queries get a factor by position, rotary[2].
  def attend_grouped(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor]) -> Tensor:
    b, t, past, heads, kv_heads = sizes
    groups = heads // kv_heads
    dtype = weights[1].dtype
    x = self.normalize(hidden, weights[0], constants)
    if dtype != 6:
      x = torch.to(x, dtype)
    qkv = self.product(x, weights[1])
    if len(weights) == 5:
      qkv = torch.cat([qkv, self.product(x, weights[2]), self.product(x, weights[3])], -1)
    if form[5] >= 0:
      qkv = torch.add(qkv, extras[form[5]])
    d = qkv.size(1) // (heads + 2 * kv_heads)
    if form[3] == 2:
      queries = self.normalize_last(torch.narrow(qkv, 1, 0, heads * d), extras[form[4]], numbers[2])
      keys = self.normalize_last(torch.narrow(qkv, 1, heads * d, kv_heads * d), extras[form[4] + 1], numbers[2])
      qkv = torch.cat([queries, keys, torch.to(torch.narrow(qkv, 1, (heads + kv_heads) * d, kv_heads * d), 6)], -1)
    if form[8] != 0:
      qkv = torch.clamp(qkv, numbers[4], numbers[3])
    qkv = torch.transpose(torch.view(qkv, [b, t, heads + 2 * kv_heads, d]), 1, 2)
    qk = torch.narrow(qkv, 1, 0, heads + kv_heads)
    v = torch.to(torch.narrow(qkv, 1, heads + kv_heads, kv_heads), dtype)
    if form[3] == 1:
      qk = self.normalize_last(qk, extras[form[4]], numbers[2])
    if form[1] > 0:
      qk = self.rotate_part(qk, rotary, form[1], form[2])
    if form[3] == 3:
      qk = self.normalize_last(qk, extras[form[4]], numbers[2])
    q = torch.narrow(qk, 1, 0, heads)
    if form[9] != 0:
      q = q * rotary[2]
    q = torch.to(q, dtype)
    k = torch.to(torch.narrow(qk, 1, heads, kv_heads), dtype)
    k, v = self.remember(k, v, cache, past)
    if t == 1:
      q = torch.reshape(q, [b, kv_heads, groups, -1])
    elif groups > 1:
      k = torch.repeat_interleave(k, groups, 1)
      v = torch.repeat_interleave(v, groups, 1)
    if form[7] >= 0:
      y = self.attend_with_sinks(q, k, v, mask, torch.view(extras[form[7]], [1, q.size(1), -1, 1]), numbers[0])
    elif len(mask) > 0:
      y = torch.scaled_dot_product_attention(q, k, v, mask[0], 0.0, False, scale=numbers[0])
    else:
      y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, t > 1, scale=numbers[0])
    if t > 1:
      y = torch.transpose(y, 1, 2)
    added = self.add_product(hidden, torch.reshape(y, [b * t, -1]), weights[-1], numbers[1])
    if form[6] >= 0:
      added = torch.add(added, extras[form[6]], alpha=numbers[1])
    return added

  # Attention whose softmax has one more score per head, to no value. A part of the queries at a time, whose
  # scores are in memory. mask: given where T > 1. sinks: [1, heads, 1, 1], or [1, key/value heads, groups, 1] where T = 1.
  def attend_with_sinks(self: __torch__.M, q: Tensor, k: Tensor, v: Tensor, mask: List[Tensor], sinks: Tensor, scale: float) -> Tensor:
    queries = q.size(2)
    y = torch.new_empty(q, [q.size(0), q.size(1), queries, v.size(3)])
    start = 0
    while start < queries:
      count = 256
      if start + count > queries:
        count = queries - start
      scores = torch.mul(torch.to(torch.matmul(torch.narrow(q, 2, start, count), torch.transpose(k, 2, 3)), 6), scale)
      if len(mask) > 0:
        part = mask[0]
        if part.size(2) > 1:
          part = torch.narrow(part, 2, start, count)
        scores = torch.add(scores, part)
      column = torch.expand(sinks, [scores.size(0), scores.size(1), scores.size(2), 1])
      shares = torch.narrow(torch.softmax(torch.cat([scores, column], -1), -1), 3, 0, k.size(2))
      torch.copy_(torch.narrow(y, 2, start, count), torch.matmul(torch.to(shares, v.dtype), v))
      start = start + count
    return y

  # Multi-head latent attention. weights: norm, query (or query down), latent, latent up, output, and query up if
  # there is one. form: 1, plain size P, rotated size R, value size V, rank L, whether neighbours are rotated,
  # and where in extras are norm and bias of the latent, norm and bias of query down and the bias of the output (or -1).
  # cache: rotated keys [B, 1, capacity, R] and latent vectors [B, 1, capacity, L].
  def attend_latent(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor]) -> Tensor:
    b, t, past, heads, kv_heads = sizes
    plain = form[1]
    rotated = form[2]
    width = form[3]
    rank = form[4]
    dtype = weights[1].dtype
    x = torch.to(self.normalize(hidden, weights[0], constants), dtype)
    q = self.product(x, weights[1])
    if form[9] >= 0:
      q = torch.add(q, extras[form[9]])
    if len(weights) == 6:
      q = self.product(torch.to(self.normalize_last(q, extras[form[8]], numbers[2]), dtype), weights[5])
    q = torch.transpose(torch.view(q, [b, t, heads, plain + rotated]), 1, 2)
    down = self.product(x, weights[2])
    if form[7] >= 0:
      down = torch.add(down, extras[form[7]])
    latent = torch.to(self.normalize_last(torch.narrow(down, 1, 0, rank), extras[form[6]], numbers[2]), dtype)
    latent = torch.view(latent, [b, 1, t, rank])
    key = torch.reshape(torch.narrow(down, 1, rank, rotated), [b, 1, t, rotated])
    key = torch.to(self.rotate_part(key, rotary, rotated, form[5]), dtype)
    q_plain = torch.narrow(q, 3, 0, plain)
    q_rotated = torch.to(self.rotate_part(torch.narrow(q, 3, plain, rotated), rotary, rotated, form[5]), dtype)
    key, latent = self.remember(key, latent, cache, past)
    up = torch.view(weights[3], [rank, heads, plain + width])
    if t == 1:
      # Queries go to the latent vectors, so that these need not become keys and values of all heads.
      to_latent = torch.permute(torch.narrow(up, 2, 0, plain), [1, 2, 0])
      from_latent = torch.transpose(torch.narrow(up, 2, plain, width), 0, 1)
      vectors = torch.select(latent, 1, 0)
      q_latent = torch.transpose(torch.bmm(torch.transpose(torch.select(q_plain, 2, 0), 0, 1), to_latent), 0, 1)
      scores = torch.bmm(q_latent, torch.transpose(vectors, 1, 2))
      scores = scores + torch.bmm(torch.select(q_rotated, 2, 0), torch.transpose(torch.select(key, 1, 0), 1, 2))
      scores = torch.mul(torch.to(scores, 6), numbers[0])
      if len(mask) > 0:
        scores = torch.add(scores, torch.select(mask[0], 1, 0))
      y = torch.bmm(torch.to(torch.softmax(scores, -1), dtype), vectors)
      y = torch.transpose(torch.bmm(torch.transpose(y, 0, 1), from_latent), 0, 1)
    else:
      s = latent.size(2)
      both = torch.transpose(torch.view(self.product(torch.reshape(latent, [-1, rank]), weights[3]), [b, s, heads, plain + width]), 1, 2)
      k = torch.cat([torch.narrow(both, 3, 0, plain), torch.expand(key, [b, heads, s, rotated])], -1)
      v = torch.narrow(both, 3, plain, width)
      queries = torch.cat([q_plain, q_rotated], -1)
      if len(mask) > 0:
        y = torch.scaled_dot_product_attention(queries, k, v, mask[0], 0.0, False, scale=numbers[0])
      else:
        y = torch.scaled_dot_product_attention(queries, k, v, None, 0.0, True, scale=numbers[0])
      y = torch.transpose(y, 1, 2)
    added = self.add_product(hidden, torch.reshape(y, [b * t, -1]), weights[4], numbers[1])
    if form[10] >= 0:
      added = torch.add(added, extras[form[10]], alpha=numbers[1])
    return added

  # A cache with room for `capacity` positions, holding what the old one held.
  def grow(self: __torch__.M, cache: Tensor, capacity: int) -> Tensor:
    grown = torch.new_zeros(cache, [cache.size(0), cache.size(1), capacity, cache.size(3)])
    torch.copy_(torch.narrow(grown, 2, 0, cache.size(2)), cache)
    return grown

  # Elements per head may differ between keys and values.
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
  def attend_and_route(self: __torch__.M, hidden: Tensor, weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor], norm: Tensor, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    attended = self.attend(hidden, weights, rotary, mask, cache, sizes, form, extras, numbers, constants)
    return self.route(attended, norm, gate, dtype, constants)

  # The same for a host's input: [N, H] -> [N, experts].
  def router_logits(self: __torch__.M, x: Tensor, gate: Tensor) -> Tensor:
    return torch.mm(x, torch.t(gate))

  # What the last product of an expert multiplies: [N, H] -> [N, m]. The weights are transposed.
  def activate(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    if torch.dim(w3) == 2:
      y = torch.mul_(torch.silu_(self.product(x, w1)), self.product(x, w3))
    elif torch.dim(w3) == 3:
      y = self.activate_biased(x, w1, w3)
    else:
      y = self.activate_clamped(x, w1, w3)
    return y

  # The same with biases, of dense and shared experts: w1 has columns of gate, then of up; w3 holds the biases, and
  # behind them those of w2.
  def activate_biased(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    z = torch.add(torch.to(self.product(x, w1), 6), torch.narrow(torch.reshape(w3, [-1]), 0, 0, w1.size(1)))
    gate, up = torch.chunk(z, 2, 1)
    return torch.to(torch.silu(gate) * up, x.dtype)

  # The same for experts of gpt-oss: columns of gate and up alternate in w1; w3 holds the biases, and behind them
  # those of w2.
  def activate_clamped(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    z = torch.add(torch.to(self.product(x, w1), 6), torch.narrow(w3, 0, 0, w1.size(1)))
    z = torch.view(z, [z.size(0), -1, 2])
    gate = torch.clamp_max(torch.select(z, 2, 0), 7.)
    up = torch.add(torch.clamp(torch.select(z, 2, 1), -7., 7.), 1)
    return torch.to(gate * torch.sigmoid(torch.mul(gate, 1.702)) * up, x.dtype)

  # The bias of an expert's last product, where there is one.
  def down_bias(self: __torch__.M, w1: Tensor, w3: Tensor) -> Tensor:
    return torch.narrow(torch.reshape(w3, [-1]), 0, w1.size(1), torch.numel(w3) - w1.size(1))

  # One expert alone, always computed in float32: [N, H] -> [N, H].
  def expert_output(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    gate = torch.t(torch.to(w1, 6))
    z = self.product(self.activate(x, gate, torch.t(torch.to(w3, 6))), torch.t(torch.to(w2, 6)))
    if torch.dim(w3) == 1:
      z = torch.add(z, self.down_bias(gate, w3))
    return z

  # What its last product multiplies, in float32 too: [N, H] -> [N, m].
  def expert_intermediate(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    return self.activate(x, torch.t(torch.to(w1, 6)), torch.t(torch.to(w3, 6)))

  # The experts' weighted outputs added to the residual of n of N tokens, of which `first` is the first -> [n, H].
  # The pairs of token and expert come sorted by expert, whose weights are transposed: expert experts[i] takes
  # tokens[starts[i]:starts[i + 1]]. Their outputs are kept, and each token's summed in one pass, in the order of the
  # experts: of the i-th one the pairs[bags[i]:bags[i + 1]], with the weights at the same places.
  # inputs: none, or factors of the experts' inputs, sorted by expert.
  def mix(self: __torch__.M, hidden: Tensor, x: Tensor, first: int, experts: List[int], starts: List[int], tokens: Tensor, pairs: Tensor, bags: Tensor, weights: Tensor, inputs: List[Tensor], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    outputs = torch.empty([starts[-1], hidden.size(1)], dtype=6, device=hidden.device)
    if x.dtype == 6:
      torch.zero_(outputs)
    for i in range(len(experts)):
      e = experts[i]
      count = starts[i + 1] - starts[i]
      part = torch.index_select(x, 0, torch.narrow(tokens, 0, starts[i], count))
      if len(inputs) > 0:
        part = torch.to(part * torch.unsqueeze(torch.narrow(inputs[0], 0, starts[i], count), 1), x.dtype)
      output = torch.narrow(outputs, 0, starts[i], count)
      y = self.activate(part, w1[e], w3[e])
      if x.dtype == 6:
        torch.addmm_(output, y, w2[e])
      else:
        torch.copy_(output, torch.mm(y, w2[e]))
      if torch.dim(w3[e]) != 2:
        torch.add_(output, self.down_bias(w1[e], w3[e]))
    sums, a, b, c = torch.embedding_bag(outputs, pairs, bags, False, 0, False, weights, True)
    return torch.add_(sums, torch.narrow(hidden, 0, first, bags.size(0) - 1))

  # The same for a single token, which every expert in the list takes; state as route returns it.
  def mix_one(self: __torch__.M, state: List[Tensor], experts: List[int], weights: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    x = state[-2]
    y = state[-1]
    for i in range(len(experts)):
      e = experts[i]
      part = x
      if len(inputs) > 0:
        part = torch.mul(x, inputs[i])
      y = self.add_product(y, self.activate(part, w1[e], w3[e]), w2[e], weights[i])
      if torch.dim(w3[e]) != 2:
        y = torch.add(y, self.down_bias(w1[e], w3[e]), alpha=weights[i])
    return y

  # The single token's experts of one layer, then the attention and the router of the next.
  def mix_attend_and_route(self: __torch__.M, state: List[Tensor], experts: List[int], factors: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], weights: List[Tensor], rotary: List[Tensor], mask: List[Tensor], cache: List[Tensor], sizes: List[int], form: List[int], extras: List[Tensor], numbers: List[float], constants: List[Tensor], norm: Tensor, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    mixed = self.mix_one(state, experts, factors, inputs, w1, w3, w2)
    return self.attend_and_route(mixed, weights, rotary, mask, cache, sizes, form, extras, numbers, constants, norm, gate, dtype)

  # ---- head ---------------------------------------------------------------------------------------

  # Logits in float32 of the last `count` of T tokens: [N, H] -> [B, count, vocabulary]. bias: none, or one.
  def head(self: __torch__.M, hidden: Tensor, norm: Tensor, weight: Tensor, bias: List[Tensor], tokens: int, count: int, divisor: float, constants: List[Tensor]) -> Tensor:
    tail = hidden
    if count < tokens:
      tail = self.tail(hidden, tokens, count)
    x = self.normalize(tail, norm, constants)
    if weight.dtype != 6:
      x = torch.to(x, weight.dtype)
    logits = torch.to(torch.mm(x, torch.t(weight)), 6)
    if len(bias) > 0:
      logits = torch.add(logits, bias[0])
    if divisor != 1.:
      logits = torch.div(logits, divisor)
    return torch.view(logits, [-1, count, weight.size(0)])

  # The single token's experts of the last layer, then the head.
  def mix_and_head(self: __torch__.M, state: List[Tensor], experts: List[int], factors: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], norm: Tensor, weight: Tensor, bias: List[Tensor], divisor: float, constants: List[Tensor]) -> Tensor:
    return self.head(self.mix_one(state, experts, factors, inputs, w1, w3, w2), norm, weight, bias, 1, 1, divisor, constants)

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

  # ---- benchmarks ---------------------------------------------------------------------------------

  # Products [rows, inner] x [inner, columns] and nothing else, as above -> an element of the last. They are written
  # to outputs, since the optimizer removes those whose result nobody reads.
  def products(self: __torch__.M, inputs: List[Tensor], weights: List[Tensor], outputs: List[Tensor]) -> Tensor:
    for i in range(len(inputs)):
      if outputs[i].dtype == 6 and outputs[i].size(0) > 1 and not outputs[i].is_cuda:
        torch.addmm_(torch.zero_(outputs[i]), inputs[i], weights[i])
      else:
        torch.mm(inputs[i], weights[i], out=outputs[i])
    return torch.to(torch.narrow(torch.reshape(outputs[-1], [-1]), 0, 0, 1), 6)
