# Attention of grouped queries. D elements of a head; its state holds keys and values.

# The queries, keys and values of x: one product where their weights are one matrix.
def project(x: Tensor, projections: List[Tensor]) -> Tensor:
  qkv = __torch__.products.product(x, projections[0])
  if len(projections) == 3:
    qkv = torch.cat([qkv, __torch__.products.product(x, projections[1]), __torch__.products.product(x, projections[2])], -1)
  return qkv

# Nothing but heads that are rotated whole, as Mixtral has it.
class Plain:
  # Of query, key and value [H, heads * D], or one matrix of all three.
  projections : List[Tensor]
  heads : int
  kv_heads : int
  scale : float
  def __init__(self: __torch__.attention.Plain, projections: List[Tensor], heads: int, kv_heads: int, scale: float) -> NoneType:
    self.projections = projections
    self.heads = heads
    self.kv_heads = kv_heads
    self.scale = scale
    return None

  def mix(self: __torch__.attention.Plain, x: Tensor, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    b = context.sequences
    t = context.tokens
    past = context.past
    heads = self.heads
    kv_heads = self.kv_heads
    groups = heads // kv_heads
    dtype = self.projections[0].dtype
    qkv = __torch__.attention.project(__torch__.products.narrowed(x, dtype), self.projections)
    if t == 1:
      qkv = torch.view(qkv, [b, heads + 2 * kv_heads, 1, -1])
      # Queries and keys are rotated together: [B, heads + key/value heads, T, D].
      qk = __torch__.positions.rotate(torch.narrow(qkv, 1, 0, heads + kv_heads), context.cos, context.sin)
      v = torch.narrow(qkv, 1, heads + kv_heads, kv_heads)
    else:
      qkv = torch.view(qkv, [b, t, heads + 2 * kv_heads, -1])
      qk = torch.transpose(__torch__.positions.rotate_many(torch.narrow(qkv, 2, 0, heads + kv_heads), context.rows), 1, 2)
      v = torch.transpose(torch.narrow(qkv, 2, heads + kv_heads, kv_heads), 1, 2)
    q = torch.narrow(qk, 1, 0, heads)
    k = torch.narrow(qk, 1, heads, kv_heads)
    all_k, all_v = __torch__.state.remember(k, v, state, past)
    # Beyond that many tokens blocks are no faster than PyTorch's kernel, which computes in the weights' type.
    if t > 1 and t <= 1024 and past == 0 and len(context.mask) == 0 and not qk.is_cuda:
      y = torch.to(__torch__.attention.attend_in_blocks(q, k, torch.to(v, 6), self.scale), dtype)
    else:
      if dtype != 6:
        q = torch.to(q, dtype)
        all_k = torch.to(all_k, dtype)
      if t == 1:
        # The query heads of a group become queries of one head: no copy of keys and values.
        q = torch.reshape(q, [b, kv_heads, groups, -1])
      elif groups > 1:
        all_k = torch.repeat_interleave(all_k, groups, 1)
        all_v = torch.repeat_interleave(all_v, groups, 1)
      if len(context.mask) > 0:
        y = torch.scaled_dot_product_attention(q, all_k, all_v, context.mask[0], 0.0, False, scale=self.scale)
      else:
        y = torch.scaled_dot_product_attention(q, all_k, all_v, None, 0.0, t > 1, scale=self.scale)
      if t > 1:
        y = torch.transpose(y, 1, 2)
    return torch.reshape(y, [b * t, -1])

  # Of a single token, the queries of the others are not computed.
  def mix_last(self: __torch__.attention.Plain, x: Tensor, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    b = context.sequences
    t = context.tokens
    heads = self.heads
    kv_heads = self.kv_heads
    if count > 1 or len(context.mask) > 0:
      y = __torch__.products.tail(self.mix(x, context, state), t, count)
    else:
      dtype = self.projections[0].dtype
      x = __torch__.products.narrowed(x, dtype)
      if len(self.projections) == 3:
        q = torch.mm(__torch__.products.tail(x, t, 1), self.projections[0])
        k = __torch__.products.product(x, self.projections[1])
        v = __torch__.products.product(x, self.projections[2])
      else:
        d = self.projections[0].size(1) // (heads + 2 * kv_heads)
        q = torch.mm(__torch__.products.tail(x, t, 1), torch.narrow(self.projections[0], 1, 0, heads * d))
        k, v = torch.chunk(__torch__.products.product(x, torch.narrow(self.projections[0], 1, heads * d, 2 * kv_heads * d)), 2, 1)
      cos = torch.narrow(context.cos, 2, t - 1, 1)
      sin = torch.narrow(context.sin, 2, t - 1, 1)
      q = torch.to(__torch__.positions.rotate(torch.view(q, [b, heads, 1, -1]), cos, sin), dtype)
      k = torch.to(__torch__.positions.rotate_many(torch.view(k, [b, t, kv_heads, -1]), context.rows), dtype)
      v = torch.view(v, [b, t, kv_heads, -1])
      k, v = __torch__.state.remember(torch.transpose(k, 1, 2), torch.transpose(v, 1, 2), state, context.past)
      y = torch.scaled_dot_product_attention(torch.reshape(q, [b, kv_heads, heads // kv_heads, -1]), k, v, None, 0.0, False, scale=self.scale)
      y = torch.reshape(y, [b, -1])
    return y

# Causal attention of a few queries at a time, in float32 and for the CPU: PyTorch's kernel computes scores of up to
# 512 keys whether or not the mask removes them, and is no faster in bfloat16. -> [B, T, heads, D].
def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
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

# Everything that grouped queries may have besides. Lists are empty where there is no such thing.
class Grouped:
  # Of query, key and value [H, heads * D], or one matrix of all three; one bias of all three.
  projections : List[Tensor]
  bias : List[Tensor]
  # Of queries and of keys, all heads together, before the rotation.
  projection_norms : List[Tensor]
  # Of each head of queries and keys, [heads + key/value heads, 1, D], before and behind the rotation.
  head_norm : List[Tensor]
  rotated_norm : List[Tensor]
  # A logit per query head that takes part in the softmax without a value.
  sinks : List[Tensor]
  # Of x, [H, heads or heads * V]: what the heads' outputs are multiplied with, behind a sigmoid or softplus.
  gate : List[Tensor]
  softplus : bool
  heads : int
  kv_heads : int
  # Elements of a value's head, V.
  value_size : int
  # How many elements of a head are rotated, and whether neighbours are.
  rotated : int
  interleaved : bool
  scale : float
  epsilon : float
  # The greatest absolute value of queries, keys and values; 0 for any.
  clip : float
  def __init__(self: __torch__.attention.Grouped, projections: List[Tensor], bias: List[Tensor], projection_norms: List[Tensor], head_norm: List[Tensor], rotated_norm: List[Tensor], sinks: List[Tensor], gate: List[Tensor], softplus: bool, heads: int, kv_heads: int, value_size: int, rotated: int, interleaved: bool, scale: float, epsilon: float, clip: float) -> NoneType:
    self.projections = projections
    self.bias = bias
    self.projection_norms = projection_norms
    self.head_norm = head_norm
    self.rotated_norm = rotated_norm
    self.sinks = sinks
    self.gate = gate
    self.softplus = softplus
    self.heads = heads
    self.kv_heads = kv_heads
    self.value_size = value_size
    self.rotated = rotated
    self.interleaved = interleaved
    self.scale = scale
    self.epsilon = epsilon
    self.clip = clip
    return None

  def mix(self: __torch__.attention.Grouped, x: Tensor, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    b = context.sequences
    t = context.tokens
    heads = self.heads
    kv_heads = self.kv_heads
    groups = heads // kv_heads
    dtype = self.projections[0].dtype
    narrow = __torch__.products.narrowed(x, dtype)
    qkv = __torch__.attention.project(narrow, self.projections)
    if len(self.bias) > 0:
      qkv = torch.add(qkv, self.bias[0])
    values = kv_heads * self.value_size
    d = (qkv.size(1) - values) // (heads + kv_heads)
    if len(self.projection_norms) > 0:
      queries = __torch__.residual.normalize_last(torch.narrow(qkv, 1, 0, heads * d), self.projection_norms[0], self.epsilon)
      keys = __torch__.residual.normalize_last(torch.narrow(qkv, 1, heads * d, kv_heads * d), self.projection_norms[1], self.epsilon)
      qkv = torch.cat([queries, keys, torch.to(torch.narrow(qkv, 1, (heads + kv_heads) * d, values), 6)], -1)
    if self.clip > 0.:
      qkv = torch.clamp(qkv, torch.neg(self.clip), self.clip)
    if self.value_size == d:
      qkv = torch.transpose(torch.view(qkv, [b, t, heads + 2 * kv_heads, d]), 1, 2)
      qk = torch.narrow(qkv, 1, 0, heads + kv_heads)
      v = torch.to(torch.narrow(qkv, 1, heads + kv_heads, kv_heads), dtype)
    else:
      qk = torch.transpose(torch.view(torch.narrow(qkv, 1, 0, (heads + kv_heads) * d), [b, t, heads + kv_heads, d]), 1, 2)
      v = torch.view(torch.narrow(qkv, 1, (heads + kv_heads) * d, values), [b, t, kv_heads, self.value_size])
      v = torch.to(torch.transpose(v, 1, 2), dtype)
    if len(self.head_norm) > 0:
      qk = __torch__.residual.normalize_last(qk, self.head_norm[0], self.epsilon)
    if self.rotated > 0:
      qk = __torch__.positions.rotate_part(qk, context.cos, context.sin, self.rotated, self.interleaved)
    if len(self.rotated_norm) > 0:
      qk = __torch__.residual.normalize_last(qk, self.rotated_norm[0], self.epsilon)
    q = torch.narrow(qk, 1, 0, heads)
    if len(context.growth) > 0:
      q = q * context.growth[0]
    q = torch.to(q, dtype)
    k = torch.to(torch.narrow(qk, 1, heads, kv_heads), dtype)
    k, v = __torch__.state.remember(k, v, state, context.past)
    if t == 1:
      q = torch.reshape(q, [b, kv_heads, groups, -1])
    elif groups > 1:
      k = torch.repeat_interleave(k, groups, 1)
      v = torch.repeat_interleave(v, groups, 1)
    if len(self.sinks) > 0:
      y = __torch__.attention.attend_with_sinks(q, k, v, context.mask, torch.view(self.sinks[0], [1, q.size(1), -1, 1]), self.scale)
    elif len(context.mask) > 0:
      y = torch.scaled_dot_product_attention(q, k, v, context.mask[0], 0.0, False, scale=self.scale)
    else:
      y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, t > 1, scale=self.scale)
    if t > 1:
      y = torch.transpose(y, 1, 2)
    if len(self.gate) > 0:
      y = __torch__.attention.gated(torch.reshape(y, [b * t, heads, -1]), __torch__.products.product(narrow, self.gate[0]), self.softplus)
    return torch.reshape(y, [b * t, -1])

  def mix_last(self: __torch__.attention.Grouped, x: Tensor, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    return __torch__.products.tail(self.mix(x, context, state), context.tokens, count)

# y [N, heads, V] times the sigmoid or softplus of logits [N, heads or heads * V].
def gated(y: Tensor, logits: Tensor, softplus: bool) -> Tensor:
  wide = torch.view(torch.to(logits, 6), [y.size(0), y.size(1), -1])
  if softplus:
    factors = torch.softplus(wide)
  else:
    factors = torch.sigmoid(wide)
  return torch.to(y * factors, y.dtype)

# Attention whose softmax has one more score per head, to no value. A part of the queries at a time, whose scores are
# in memory. mask: given where T > 1. sinks: [1, heads, 1, 1], or [1, key/value heads, groups, 1] where T = 1.
def attend_with_sinks(q: Tensor, k: Tensor, v: Tensor, mask: List[Tensor], sinks: Tensor, scale: float) -> Tensor:
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
