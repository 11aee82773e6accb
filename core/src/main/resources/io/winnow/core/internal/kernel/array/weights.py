# Quantised weights to plain ones.

# FP8 (24 is e4m3) in blocks: bytes [rows * columns] and scales [rows / block_rows, columns / block_columns],
# both rounded up -> [rows, columns]. The products are made in float32; in parts, since fresh memory costs
# more time than the arithmetic.
def fp8(data: Tensor, scales: Tensor, rows: int, columns: int, block_rows: int, block_columns: int, device: str, dtype: int) -> Tensor:
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
def mxfp4(data: Tensor, scales: Tensor, elements: Tensor, powers: Tensor, rows: int, columns: int, device: str, dtype: int) -> Tensor:
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

# Sums of experts' weights.

# Writes sums of experts into buffers: [rows, experts] factors times the experts' weights. Piece by piece,
# so that every weight is read once, and the float32 copies of a piece stay in the processor's cache.
def merge(factors: Tensor, experts: List[Tensor], merged: List[Tensor], piece: int) -> Tensor:
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
