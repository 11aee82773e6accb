# Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434). P elements of a head are plain, R rotated, V elements of
# a value's head, L of a latent vector. Its state holds rotated keys [B, 1, capacity, R] and latent vectors
# [B, 1, capacity, L]. Lists are empty where there is no such thing.
class Latent:
  # From x to queries, or to the vectors that they are made of.
  query : Tensor
  query_bias : List[Tensor]
  query_norm : List[Tensor]
  query_up : List[Tensor]
  # From x to latent vectors and rotated keys, from latent vectors to keys and values.
  down : Tensor
  down_bias : List[Tensor]
  norm : Tensor
  up : Tensor
  heads : int
  plain : int
  rotated : int
  value_size : int
  interleaved : bool
  scale : float
  epsilon : float
  def __init__(self: __torch__.latent.Latent, query: Tensor, query_bias: List[Tensor], query_norm: List[Tensor], query_up: List[Tensor], down: Tensor, down_bias: List[Tensor], norm: Tensor, up: Tensor, heads: int, plain: int, rotated: int, value_size: int, interleaved: bool, scale: float, epsilon: float) -> NoneType:
    self.query = query
    self.query_bias = query_bias
    self.query_norm = query_norm
    self.query_up = query_up
    self.down = down
    self.down_bias = down_bias
    self.norm = norm
    self.up = up
    self.heads = heads
    self.plain = plain
    self.rotated = rotated
    self.value_size = value_size
    self.interleaved = interleaved
    self.scale = scale
    self.epsilon = epsilon
    return None

  def mix(self: __torch__.latent.Latent, x: Tensor, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    b = context.sequences
    t = context.tokens
    heads = self.heads
    plain = self.plain
    rotated = self.rotated
    width = self.value_size
    rank = self.up.size(0)
    dtype = self.query.dtype
    x = torch.to(x, dtype)
    q = __torch__.products.product(x, self.query)
    if len(self.query_bias) > 0:
      q = torch.add(q, self.query_bias[0])
    if len(self.query_up) > 0:
      q = __torch__.products.product(torch.to(__torch__.residual.normalize_last(q, self.query_norm[0], self.epsilon), dtype), self.query_up[0])
    q = torch.transpose(torch.view(q, [b, t, heads, plain + rotated]), 1, 2)
    down = __torch__.products.product(x, self.down)
    if len(self.down_bias) > 0:
      down = torch.add(down, self.down_bias[0])
    latent = torch.to(__torch__.residual.normalize_last(torch.narrow(down, 1, 0, rank), self.norm, self.epsilon), dtype)
    latent = torch.view(latent, [b, 1, t, rank])
    key = torch.reshape(torch.narrow(down, 1, rank, rotated), [b, 1, t, rotated])
    key = torch.to(__torch__.positions.rotate_part(key, context.cos, context.sin, rotated, self.interleaved), dtype)
    q_plain = torch.narrow(q, 3, 0, plain)
    q_rotated = torch.to(__torch__.positions.rotate_part(torch.narrow(q, 3, plain, rotated), context.cos, context.sin, rotated, self.interleaved), dtype)
    key, latent = __torch__.state.remember(key, latent, state, context.past)
    up = torch.view(self.up, [rank, heads, plain + width])
    if t == 1:
      # Queries go to the latent vectors, so that these need not become keys and values of all heads.
      to_latent = torch.permute(torch.narrow(up, 2, 0, plain), [1, 2, 0])
      from_latent = torch.transpose(torch.narrow(up, 2, plain, width), 0, 1)
      vectors = torch.select(latent, 1, 0)
      q_latent = torch.transpose(torch.bmm(torch.transpose(torch.select(q_plain, 2, 0), 0, 1), to_latent), 0, 1)
      scores = torch.bmm(q_latent, torch.transpose(vectors, 1, 2))
      scores = scores + torch.bmm(torch.select(q_rotated, 2, 0), torch.transpose(torch.select(key, 1, 0), 1, 2))
      scores = torch.mul(torch.to(scores, 6), self.scale)
      if len(context.mask) > 0:
        scores = torch.add(scores, torch.select(context.mask[0], 1, 0))
      y = torch.bmm(torch.to(torch.softmax(scores, -1), dtype), vectors)
      y = torch.transpose(torch.bmm(torch.transpose(y, 0, 1), from_latent), 0, 1)
    else:
      s = latent.size(2)
      both = torch.transpose(torch.view(__torch__.products.product(torch.reshape(latent, [-1, rank]), self.up), [b, s, heads, plain + width]), 1, 2)
      k = torch.cat([torch.narrow(both, 3, 0, plain), torch.expand(key, [b, heads, s, rotated])], -1)
      v = torch.narrow(both, 3, plain, width)
      queries = torch.cat([q_plain, q_rotated], -1)
      if len(context.mask) > 0:
        y = torch.scaled_dot_product_attention(queries, k, v, context.mask[0], 0.0, False, scale=self.scale)
      else:
        y = torch.scaled_dot_product_attention(queries, k, v, None, 0.0, True, scale=self.scale)
      y = torch.transpose(y, 1, 2)
    return torch.reshape(y, [b * t, -1])

  def mix_last(self: __torch__.latent.Latent, x: Tensor, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    return __torch__.products.tail(self.mix(x, context, state), context.tokens, count)
