# The fused operations of a decoder, in TorchScript. TorchScriptModule packs this text and those beside it into an
# archive that PyTorch loads; no Python takes part. This one holds the methods that Java calls; the others are found as
# __torch__.attention and so on. Products are computed in the type of their weights; the residual, norms, rotary factors
# and the router (and their weights) in float32, which in bfloat16 halves the error and costs no time. 6 is float32.
# Shapes: B sequences, T new tokens, S cached and new tokens, H hidden size, N = B * T.
# While decoding, an operation costs more by being dispatched than by its arithmetic: fewer are faster. What a layer is
# made of are objects, which Java has made once and passes on.
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

  def empty_like(self: __torch__.M, like: Tensor) -> Tensor:
    return torch.empty_like(like)

  # Whether one of some bytes, as far as a mask shows it, is this code.
  def contains(self: __torch__.M, data: Tensor, mask: int, code: int) -> bool:
    return bool(torch.any(torch.eq(torch.bitwise_and(data, mask), code)))

  def dequantize_fp8(self: __torch__.M, data: Tensor, scales: Tensor, rows: int, columns: int, block_rows: int, block_columns: int, device: str, dtype: int) -> Tensor:
    return __torch__.weights.fp8(data, scales, rows, columns, block_rows, block_columns, device, dtype)

  def dequantize_mxfp4(self: __torch__.M, data: Tensor, scales: Tensor, elements: Tensor, powers: Tensor, rows: int, columns: int, device: str, dtype: int) -> Tensor:
    return __torch__.weights.mxfp4(data, scales, elements, powers, rows, columns, device, dtype)

  def merge_experts(self: __torch__.M, factors: Tensor, experts: List[Tensor], merged: List[Tensor], piece: int) -> Tensor:
    return __torch__.weights.merge(factors, experts, merged, piece)

  def products(self: __torch__.M, inputs: List[Tensor], weights: List[Tensor], outputs: List[Tensor]) -> Tensor:
    return __torch__.products.products(inputs, weights, outputs)

  # ---- the parts of a layer -----------------------------------------------------------------------

  # before, behind: none, or a norm's weight: [H], or factors and biases [2, 1, H] of layer norms, which are centered.
  # least: sqrt(H epsilon).
  def junction(self: __torch__.M, before: List[Tensor], behind: List[Tensor], least: Tensor, centered: bool, factor: float) -> __torch__.residual.Junction:
    return __torch__.residual.Junction(__torch__.residual.norms(before, least, centered), __torch__.residual.norms(behind, least, centered), factor)

  # Fields are described at the classes. Weights are transposed.
  def plain_attention(self: __torch__.M, projections: List[Tensor], heads: int, kv_heads: int, scale: float) -> __torch__.mixer.Mixer:
    return __torch__.attention.Plain(projections, heads, kv_heads, scale)

  def grouped_attention(self: __torch__.M, projections: List[Tensor], bias: List[Tensor], projection_norms: List[Tensor], head_norm: List[Tensor], rotated_norm: List[Tensor], sinks: List[Tensor], gate: List[Tensor], softplus: bool, heads: int, kv_heads: int, value_size: int, rotated: int, interleaved: bool, scale: float, epsilon: float, clip: float) -> __torch__.mixer.Mixer:
    return __torch__.attention.Grouped(projections, bias, projection_norms, head_norm, rotated_norm, sinks, gate, softplus, heads, kv_heads, value_size, rotated, interleaved, scale, epsilon, clip)

  def latent_attention(self: __torch__.M, query: Tensor, query_bias: List[Tensor], query_norm: List[Tensor], query_up: List[Tensor], down: Tensor, down_bias: List[Tensor], norm: Tensor, up: Tensor, heads: int, plain: int, rotated: int, value_size: int, interleaved: bool, scale: float, epsilon: float) -> __torch__.mixer.Mixer:
    return __torch__.latent.Latent(query, query_bias, query_norm, query_up, down, down_bias, norm, up, heads, plain, rotated, value_size, interleaved, scale, epsilon)

  def block(self: __torch__.M, junction: __torch__.residual.Junction, mixer: __torch__.mixer.Mixer, output: Tensor, bias: List[Tensor]) -> __torch__.mixer.Block:
    return __torch__.mixer.Block(junction, mixer, output, bias)

  # ---- before the layers --------------------------------------------------------------------------

  def rotary_table(self: __torch__.M, positions: Tensor, inverse_frequencies: Tensor, factor: float, interleaved: bool) -> Tensor:
    return __torch__.positions.table(positions, inverse_frequencies, factor, interleaved)

  def context(self: __torch__.M, table: Tensor, positions: List[Tensor], sequences: int, tokens: int, past: int, heads: int, growth: List[Tensor], mask: List[Tensor]) -> __torch__.positions.Context:
    return __torch__.positions.context(table, positions, sequences, tokens, past, heads, growth, mask)

  # ids [B, T] -> residual [N, H] in float32, as it stays.
  def embed(self: __torch__.M, table: Tensor, ids: Tensor, factor: float) -> Tensor:
    rows = torch.to(torch.embedding(table, torch.reshape(ids, [-1])), 6)
    if factor != 1.:
      rows = torch.mul(rows, factor)
    return rows

  # ---- layers -------------------------------------------------------------------------------------

  # A sequence mixer added to the residual: hidden [N, H] -> [N, H].
  # state: none, or what the layer keeps, to which the new tokens are added.
  def attend(self: __torch__.M, hidden: Tensor, block: __torch__.mixer.Block, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    return block.add(hidden, context, state)

  # The same of each sequence's last `count` tokens alone -> [B * count, H].
  def attend_last(self: __torch__.M, hidden: Tensor, block: __torch__.mixer.Block, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    return block.add_last(hidden, context, state, count)

  # Router logits and what the experts need. dtype: of the experts.
  def route(self: __torch__.M, hidden: Tensor, junction: __torch__.residual.Junction, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    return __torch__.experts.route(hidden, junction, gate, dtype)

  def attend_and_route(self: __torch__.M, hidden: Tensor, block: __torch__.mixer.Block, context: __torch__.positions.Context, state: List[Tensor], junction: __torch__.residual.Junction, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    return __torch__.experts.route(block.add(hidden, context, state), junction, gate, dtype)

  # The router logits of a host's input: [N, H] -> [N, experts].
  def router_logits(self: __torch__.M, x: Tensor, gate: Tensor) -> Tensor:
    return torch.mm(x, torch.t(gate))

  def expert_output(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    return __torch__.experts.output(x, w1, w3, w2)

  # What its last product multiplies, in float32 too: [N, H] -> [N, m].
  def expert_intermediate(self: __torch__.M, x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
    return __torch__.experts.activate(x, torch.t(torch.to(w1, 6)), torch.t(torch.to(w3, 6)))

  def mix(self: __torch__.M, hidden: Tensor, x: Tensor, junction: __torch__.residual.Junction, first: int, experts: List[int], starts: List[int], tokens: Tensor, pairs: Tensor, bags: Tensor, weights: Tensor, inputs: List[Tensor], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    return __torch__.experts.mix(hidden, x, junction, first, experts, starts, tokens, pairs, bags, weights, inputs, w1, w3, w2)

  def mix_one(self: __torch__.M, mixed: List[Tensor], behind: __torch__.residual.Junction, experts: List[int], factors: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
    return __torch__.experts.mix_one(mixed, behind, experts, factors, inputs, w1, w3, w2)

  # The single token's experts of one layer, then the mixer and the router of the next.
  def mix_attend_and_route(self: __torch__.M, mixed: List[Tensor], behind: __torch__.residual.Junction, experts: List[int], factors: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], block: __torch__.mixer.Block, context: __torch__.positions.Context, state: List[Tensor], junction: __torch__.residual.Junction, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
    hidden = __torch__.experts.mix_one(mixed, behind, experts, factors, inputs, w1, w3, w2)
    return __torch__.experts.route(block.add(hidden, context, state), junction, gate, dtype)

  # A block's output [N, H], computed elsewhere, added to the residual.
  def add(self: __torch__.M, hidden: Tensor, junction: __torch__.residual.Junction, y: Tensor) -> Tensor:
    return junction.add(hidden, y)

  # ---- behind the layers --------------------------------------------------------------------------

  # What a block gets, or the head: [N, H] normalised.
  def read(self: __torch__.M, hidden: Tensor, junction: __torch__.residual.Junction) -> Tensor:
    return junction.read(hidden)

  # Logits in float32 of the last `count` of T tokens: [N, H] -> [B, count, vocabulary]. bias: none, or one.
  def head(self: __torch__.M, hidden: Tensor, junction: __torch__.residual.Junction, weight: Tensor, bias: List[Tensor], tokens: int, count: int, divisor: float) -> Tensor:
    tail = hidden
    if count < tokens:
      tail = __torch__.products.tail(hidden, tokens, count)
    x = __torch__.products.narrowed(junction.read(tail), weight.dtype)
    logits = torch.to(torch.mm(x, torch.t(weight)), 6)
    if len(bias) > 0:
      logits = torch.add(logits, bias[0])
    if divisor != 1.:
      logits = torch.div(logits, divisor)
    return torch.view(logits, [-1, count, weight.size(0)])

  # The single token's experts of the last layer, then the head.
  def mix_and_head(self: __torch__.M, mixed: List[Tensor], behind: __torch__.residual.Junction, experts: List[int], factors: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor], junction: __torch__.residual.Junction, weight: Tensor, bias: List[Tensor], divisor: float) -> Tensor:
    return self.head(__torch__.experts.mix_one(mixed, behind, experts, factors, inputs, w1, w3, w2), junction, weight, bias, 1, 1, divisor)

  # ---- states -------------------------------------------------------------------------------------

  # Of one layer: [B, heads, capacity, elements] like a tensor of the model's type.
  def empty_state(self: __torch__.M, like: Tensor, b: int, heads: int, capacity: int, d: int) -> Tensor:
    return torch.new_zeros(like, [b, heads, capacity, d])

  def grow(self: __torch__.M, state: Tensor, capacity: int) -> Tensor:
    return __torch__.state.grow(state, capacity)

  def copy_state(self: __torch__.M, state: Tensor, rows: Tensor, length: int, capacity: int) -> Tensor:
    return __torch__.state.copy(state, rows, length, capacity)
