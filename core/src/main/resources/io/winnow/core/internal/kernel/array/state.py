# What a layer keeps of the tokens it has seen: tensors [B, heads, capacity, elements] that grow with them.

# Two things of every new token, [B, heads, T, elements], put into the state behind those of `past` tokens: returns
# those of all tokens. Without a state, what is given.
def remember(first: Tensor, second: Tensor, state: List[Tensor], past: int) -> Tuple[Tensor, Tensor]:
  all_first = first
  all_second = second
  if len(state) > 0:
    t = first.size(2)
    torch.copy_(torch.narrow(state[0], 2, past, t), first)
    torch.copy_(torch.narrow(state[1], 2, past, t), second)
    all_first = torch.narrow(state[0], 2, 0, past + t)
    all_second = torch.narrow(state[1], 2, 0, past + t)
  return (all_first, all_second)

# Room for `capacity` positions, holding what the old one held.
def grow(state: Tensor, capacity: int) -> Tensor:
  grown = torch.new_zeros(state, [state.size(0), state.size(1), capacity, state.size(3)])
  torch.copy_(torch.narrow(grown, 2, 0, state.size(2)), state)
  return grown

# Of some sequences, the first `length` positions and room up to `capacity`.
def copy(state: Tensor, rows: Tensor, length: int, capacity: int) -> Tensor:
  copied = torch.new_zeros(state, [rows.size(0), state.size(1), capacity, state.size(3)])
  torch.copy_(torch.narrow(copied, 2, 0, length), torch.index_select(torch.narrow(state, 2, 0, length), 0, rows))
  return copied
