# The second block of a layer: its router, and the experts' weighted outputs. m elements between an expert's matrices.
# w1, w3, w2: gate, up and down of experts, transposed; w3 says by its dimensions what the others are.

# hidden [N, H] -> router logits [N, experts] in float32, and what the experts need: input [N, H] in float32, the same
# in the experts' type where that is another, hidden. The gate is float32.
def route(hidden: Tensor, junction: __torch__.residual.Junction, gate: Tensor, dtype: int) -> Tuple[Tensor, List[Tensor]]:
  x = junction.read(hidden)
  logits = torch.mm(x, torch.t(gate))
  if dtype == 6:
    state = [x, hidden]
  else:
    state = [x, torch.to(x, dtype), hidden]
  return (logits, state)

# What the last product of an expert multiplies: [N, H] -> [N, m].
def activate(x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
  if torch.dim(w3) == 2:
    y = torch.mul_(torch.silu_(__torch__.products.product(x, w1)), __torch__.products.product(x, w3))
  elif torch.dim(w3) == 3:
    y = __torch__.experts.activate_biased(x, w1, w3)
  else:
    y = __torch__.experts.activate_clamped(x, w1, w3)
  return y

# The same with biases, of dense and shared experts: w1 has columns of gate, then of up; w3 holds the biases, and
# behind them those of w2.
def activate_biased(x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
  z = torch.add(torch.to(__torch__.products.product(x, w1), 6), torch.narrow(torch.reshape(w3, [-1]), 0, 0, w1.size(1)))
  gate, up = torch.chunk(z, 2, 1)
  return torch.to(torch.silu(gate) * up, x.dtype)

# The same for experts of gpt-oss: columns of gate and up alternate in w1; w3 holds the biases, and behind them those
# of w2.
def activate_clamped(x: Tensor, w1: Tensor, w3: Tensor) -> Tensor:
  z = torch.add(torch.to(__torch__.products.product(x, w1), 6), torch.narrow(w3, 0, 0, w1.size(1)))
  z = torch.view(z, [z.size(0), -1, 2])
  gate = torch.clamp_max(torch.select(z, 2, 0), 7.)
  up = torch.add(torch.clamp(torch.select(z, 2, 1), -7., 7.), 1)
  return torch.to(gate * torch.sigmoid(torch.mul(gate, 1.702)) * up, x.dtype)

# The bias of an expert's last product, where there is one.
def down_bias(w1: Tensor, w3: Tensor) -> Tensor:
  return torch.narrow(torch.reshape(w3, [-1]), 0, w1.size(1), torch.numel(w3) - w1.size(1))

# One expert alone, always computed in float32 and of weights as they are stored: [N, H] -> [N, H].
def output(x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
  gate = torch.t(torch.to(w1, 6))
  z = __torch__.products.product(__torch__.experts.activate(x, gate, torch.t(torch.to(w3, 6))), torch.t(torch.to(w2, 6)))
  if torch.dim(w3) == 1:
    z = torch.add(z, __torch__.experts.down_bias(gate, w3))
  return z

# hidden [N, H] plus outputs of the n of N tokens of which `first` is the first -> [n, H]. The pairs of token and expert
# come sorted by expert: expert experts[i] takes tokens[starts[i]:starts[i + 1]]. Their outputs are kept, and each
# token's summed in one pass, in the order of the experts: of the i-th one the pairs[bags[i]:bags[i + 1]], with the
# weights at the same places. inputs: none, or factors of the experts' inputs, sorted by expert.
def mix(hidden: Tensor, x: Tensor, junction: __torch__.residual.Junction, first: int, experts: List[int], starts: List[int], tokens: Tensor, pairs: Tensor, bags: Tensor, weights: Tensor, inputs: List[Tensor], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
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
    y = __torch__.experts.activate(part, w1[e], w3[e])
    if x.dtype == 6:
      torch.addmm_(output, y, w2[e])
    else:
      torch.copy_(output, torch.mm(y, w2[e]))
    if torch.dim(w3[e]) != 2:
      torch.add_(output, __torch__.experts.down_bias(w1[e], w3[e]))
  sums, a, b, c = torch.embedding_bag(outputs, pairs, bags, False, 0, False, weights, True)
  residual = torch.narrow(hidden, 0, first, bags.size(0) - 1)
  if len(junction.behind) > 0:
    mixed = junction.add(residual, sums)
  else:
    # The weights have the junction's factor.
    mixed = torch.add_(sums, residual)
  return mixed

# The same for a single token, which every expert in the list takes; state as route returns it.
def mix_one(state: List[Tensor], junction: __torch__.residual.Junction, experts: List[int], weights: List[float], inputs: List[float], w1: List[Tensor], w3: List[Tensor], w2: List[Tensor]) -> Tensor:
  x = state[-2]
  y = state[-1]
  if len(junction.behind) > 0:
    y = torch.zeros_like(y)
  for i in range(len(experts)):
    e = experts[i]
    part = x
    if len(inputs) > 0:
      part = torch.mul(x, inputs[i])
    y = __torch__.products.add_product(y, __torch__.experts.activate(part, w1[e], w3[e]), w2[e], weights[i])
    if torch.dim(w3[e]) != 2:
      y = torch.add(y, __torch__.experts.down_bias(w1[e], w3[e]), alpha=weights[i])
  if len(junction.behind) > 0:
    y = junction.add(state[-1], y)
  return y
