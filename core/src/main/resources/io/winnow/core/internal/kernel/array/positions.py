# What sequence mixers know of the tokens of a pass. B sequences, T new tokens, S those of the past and the new ones,
# D elements that are rotated.
class Context(NamedTuple):
  sequences : int
  tokens : int
  past : int
  # [B or 1, 1, T, D]; sin is negative for the first of two elements that are rotated together. Of no use to layers
  # without rotation.
  cos : Tensor
  sin : Tensor
  # What rotate_many takes, for plain attention of several tokens; else none.
  rows : List[Tensor]
  # None, or the queries' factors by position, [B or 1, 1, T, 1].
  growth : List[Tensor]
  # None, or one additive [B or 1, 1, T, S].
  mask : List[Tensor]

# table: as `table` makes it. positions: none, or [B or 1, T]; without, they follow the past. heads: how many of
# them `rows` are for; 0 for no rows.
def context(table: Tensor, positions: List[Tensor], sequences: int, tokens: int, past: int, heads: int, growth: List[Tensor], mask: List[Tensor]) -> __torch__.positions.Context:
  if len(positions) > 0:
    cos, sin = torch.chunk(torch.unsqueeze(torch.embedding(table, positions[0]), 1), 2, -1)
  else:
    # Without a copy.
    cos, sin = torch.chunk(torch.view(torch.narrow(table, 0, past, tokens), [1, 1, tokens, -1]), 2, -1)
  rows = annotate(List[Tensor], [])
  if heads > 0:
    rows = __torch__.positions.rotary_rows(cos, sin, heads)
  return __torch__.positions.Context(sequences, tokens, past, cos, sin, rows, growth, mask)

# All positions' factors [positions, 2 D] in float32: cos, and sin, which is negative for the first of two elements
# that are rotated together: half of D apart, or neighbours.
def table(positions: Tensor, inverse_frequencies: Tensor, factor: float, interleaved: bool) -> Tensor:
  angles = torch.unsqueeze(torch.to(positions, 6), -1) * inverse_frequencies
  sin = torch.mul(torch.sin(angles), factor)
  cos = torch.mul(torch.cos(angles), factor)
  if interleaved:
    made = torch.cat([torch.flatten(torch.stack([cos, cos], -1), -2), torch.flatten(torch.stack([torch.neg(sin), sin], -1), -2)], -1)
  else:
    made = torch.cat([cos, cos, torch.neg(sin), sin], -1)
  return made

# Rolling by half a head exchanges its halves; the sign is in sin.
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
  rolled = torch.roll(x, [x.size(-1) // 2], [-1])
  return torch.addcmul(x * cos, rolled, sin)

# The same for the first `size` elements of a head, and for neighbours. x [B, heads, T, elements].
def rotate_part(x: Tensor, cos: Tensor, sin: Tensor, size: int, interleaved: bool) -> Tensor:
  part = x
  if size < x.size(-1):
    part = torch.narrow(x, -1, 0, size)
  if interleaved:
    pairs = torch.reshape(part, [part.size(0), part.size(1), part.size(2), -1, 2])
    swapped = torch.flatten(torch.flip(pairs, [-1]), -2)
    rotated = torch.addcmul(part * cos, swapped, sin)
  else:
    rotated = __torch__.positions.rotate(part, cos, sin)
  if size < x.size(-1):
    rotated = torch.cat([rotated, torch.to(torch.narrow(x, -1, size, x.size(-1) - size), 6)], -1)
  return rotated

# [B, T, heads, D] -> the same in float32. rows: as rotary_rows makes them, of at least as many heads. Long rows are
# computed faster than heads one by one: all elements take the one half a head behind them and that before them,
# of which one is another head's and has the factor 0.
def rotate_many(x: Tensor, rows: List[Tensor]) -> Tensor:
  b, t, heads, d = torch.size(x)
  wide = torch.flatten(torch.to(x, 6), 2)
  half = d // 2
  width = heads * d - half
  rotated = torch.mul(wide, torch.narrow(rows[0], 2, 0, heads * d))
  torch.addcmul_(torch.narrow(rotated, 2, 0, width), torch.narrow(wide, 2, half, width), torch.narrow(rows[1], 2, 0, width))
  torch.addcmul_(torch.narrow(rotated, 2, half, width), torch.narrow(wide, 2, 0, width), torch.narrow(rows[2], 2, half, width))
  return torch.view(rotated, [b, t, heads, d])

# What rotate_many takes for so many heads, each [B or 1, T, heads * D]: factors of the element itself, of the one
# behind it and of the one before it.
def rotary_rows(cos: Tensor, sin: Tensor, heads: int) -> List[Tensor]:
  first, second = torch.chunk(sin, 2, -1)
  none = torch.zeros_like(first)
  behind = __torch__.positions.for_heads(torch.cat([first, none], -1), heads)
  before = __torch__.positions.for_heads(torch.cat([none, second], -1), heads)
  return [__torch__.positions.for_heads(cos, heads), behind, before]

# Factors [B or 1, 1, T, D] -> [B or 1, T, heads * D].
def for_heads(factors: Tensor, heads: int) -> Tensor:
  return torch.flatten(torch.repeat(torch.transpose(factors, 1, 2), [1, 1, heads, 1]), 2)
