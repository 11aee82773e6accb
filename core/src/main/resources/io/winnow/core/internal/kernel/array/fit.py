# Least squares for the last matrices of experts, and how far one model's predictions are from another's. Everything
# comes in float32 (6); sums over tokens, factorisations and solutions are float64 (7). h: what an expert's last matrix
# multiplies, times the expert's weight, [t, m] of the t tokens that take the expert; error [T, d] of all T tokens.
class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool

  # Sums of squares by column: [t, m] -> [m] in float64.
  def energies(self: __torch__.M, h: Tensor) -> Tensor:
    return torch.sum(torch.square(torch.to(h, 7)), [0])

  # x'y [m, n] in float64, of products in float32 over some rows at a time.
  def cross(self: __torch__.M, x: Tensor, y: Tensor, piece: int) -> Tensor:
    sums = torch.zeros([x.size(1), y.size(1)], dtype=7, device=x.device)
    start = 0
    while start < x.size(0):
      count = piece
      if start + count > x.size(0):
        count = x.size(0) - start
      part = torch.mm(torch.t(torch.narrow(x, 0, start, count)), torch.narrow(y, 0, start, count))
      sums = torch.add_(sums, part)
      start = start + count
    return sums

  # The inner products of h's channels, [m, m] in float64.
  def channels(self: __torch__.M, h: Tensor, piece: int) -> Tensor:
    return self.cross(h, h, piece)

  # The inner products of h's tokens, each channel divided by R: h R^-1 h', [t, t] in float64.
  def tokens(self: __torch__.M, h: Tensor, damping: Tensor) -> Tensor:
    x = torch.mul(h, torch.to(torch.rsqrt(damping), 6))
    return torch.to(torch.mm(x, torch.t(x)), 7)

  # The Cholesky factor of a matrix whose diagonal is added to.
  def factor(self: __torch__.M, matrix: Tensor, diagonal: Tensor) -> Tensor:
    a = torch.clone(matrix)
    b = torch.add_(torch.diagonal(a), diagonal)
    return torch.linalg_cholesky(a)

  # One expert's step: takes its old change [m, d] out of the error, fits anew, and puts the new change in.
  def primal_step(self: __torch__.M, error: Tensor, tokens: Tensor, h: Tensor, change: Tensor, factor: Tensor, piece: int) -> Tensor:
    e = torch.addmm(torch.index_select(error, 0, tokens), h, change)
    fitted = torch.to(torch.cholesky_solve(self.cross(h, e, piece), factor), 6)
    b = torch.index_copy_(error, 0, tokens, torch.addmm(e, h, fitted, beta=1, alpha=-1))
    return fitted

  def dual_step(self: __torch__.M, error: Tensor, tokens: Tensor, h: Tensor, change: Tensor, factor: Tensor, damping: Tensor) -> Tensor:
    e = torch.addmm(torch.index_select(error, 0, tokens), h, change)
    x = torch.to(torch.cholesky_solve(torch.to(e, 7), factor), 6)
    fitted = torch.div(torch.mm(torch.t(h), x), torch.unsqueeze(torch.to(damping, 6), 1))
    b = torch.index_copy_(error, 0, tokens, torch.addmm(e, h, fitted, beta=1, alpha=-1))
    return fitted

  # h [t, m] times the weights [t] of its tokens.
  def weighted(self: __torch__.M, h: Tensor, weights: Tensor) -> Tensor:
    return torch.mul(h, torch.unsqueeze(weights, 1))

  def select(self: __torch__.M, x: Tensor, dim: int, index: Tensor) -> Tensor:
    return torch.index_select(x, dim, index)

  # Adds h times a matrix [m, d], and a factor, to the rows of some tokens.
  def add_rows(self: __torch__.M, sums: Tensor, tokens: Tensor, h: Tensor, matrix: Tensor, factor: float) -> Tensor:
    return torch.index_add_(sums, 0, tokens, torch.mm(h, matrix), alpha=factor)

  # The sum of squares, in float64.
  def squares(self: __torch__.M, x: Tensor) -> float:
    return float(torch.sum(torch.square(torch.to(x, 7))))

  # A matrix's elements in a type of the checkpoint, its rows or its columns one behind the other.
  def stored(self: __torch__.M, x: Tensor, columns: bool, dtype: int) -> Tensor:
    y = x
    if columns:
      y = torch.t(x)
    return torch.clone(torch.contiguous(torch.to(y, torch.device("cpu"), dtype)))

  # Logits of two models [N, V] for the same tokens, and the tokens that follow -> [5, N] in float32: KL(p||q), whether
  # both have the same most likely token, the sum of min(p, q), and the negative log-likelihood of what follows by p
  # and by q.
  def fidelity(self: __torch__.M, full: Tensor, other: Tensor, following: Tensor) -> Tensor:
    t = torch.log_softmax(full, 1)
    q = torch.log_softmax(other, 1)
    p = torch.exp(t)
    kl = torch.sum(torch.mul(p, torch.sub(t, q)), [1])
    same = torch.to(torch.eq(torch.argmax(t, 1), torch.argmax(q, 1)), 6)
    common = torch.sum(torch.minimum(p, torch.exp(q)), [1])
    index = torch.unsqueeze(following, 1)
    of_full = torch.neg(torch.squeeze(torch.gather(t, 1, index), 1))
    of_other = torch.neg(torch.squeeze(torch.gather(q, 1, index), 1))
    return torch.stack([kl, same, common, of_full, of_other])
