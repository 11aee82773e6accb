# Products with weights [in, out], which are transposed views of what the checkpoint holds. N rows.

# x [N, in] -> [N, out]. Many rows in float32 are added to zeros: MKL, told to overwrite, first multiplies its output
# by 0, which takes it longer than zeros do.
def product(x: Tensor, w: Tensor) -> Tensor:
  if w.dtype == 6 and x.size(0) > 1 and not x.is_cuda:
    return torch.addmm_(torch.zeros([x.size(0), w.size(1)]), x, w)
  else:
    return torch.mm(x, w)

# hidden [N, H] in float32, plus y [N, in] times w and a factor.
def add_product(hidden: Tensor, y: Tensor, w: Tensor, factor: float) -> Tensor:
  if w.dtype == 6:
    if y.size(0) > 1:
      # PyTorch would split addmm into a product and a sum.
      return torch.addmm_(torch.clone(hidden), y, w, alpha=factor)
    else:
      return torch.addmm(hidden, y, w, alpha=factor)
  else:
    return torch.add(hidden, torch.mm(y, w), alpha=factor)

# x in a type, which it may have already.
def narrowed(x: Tensor, dtype: int) -> Tensor:
  y = x
  if dtype != 6:
    y = torch.to(x, dtype)
  return y

# Of each sequence the last `count` of `tokens` rows.
def tail(x: Tensor, tokens: int, count: int) -> Tensor:
  rows = torch.narrow(torch.view(x, [-1, tokens, x.size(1)]), 1, tokens - count, count)
  return torch.reshape(rows, [-1, x.size(1)])

# Products [rows, inner] x [inner, columns] and nothing else, as above -> an element of the last. They are written to
# outputs, since the optimizer removes those whose result nobody reads. For benchmarks.
def products(inputs: List[Tensor], weights: List[Tensor], outputs: List[Tensor]) -> Tensor:
  for i in range(len(inputs)):
    if outputs[i].dtype == 6 and outputs[i].size(0) > 1 and not outputs[i].is_cuda:
      torch.addmm_(torch.zero_(outputs[i]), inputs[i], weights[i])
    else:
      torch.mm(inputs[i], weights[i], out=outputs[i])
  return torch.to(torch.narrow(torch.reshape(outputs[-1], [-1]), 0, 0, 1), 6)
