# How a block joins the residual: norms before and behind it, factor.

# Root mean square norm or layer norm, float32 in and out.
class Norm:
  # Factors [H].
  weight : Tensor
  # Of a layer norm: [H], which also subtracts the mean.
  bias : List[Tensor]
  # sqrt(H epsilon).
  least : Tensor
  def __init__(self: __torch__.residual.Norm, weight: Tensor, bias: List[Tensor], least: Tensor) -> NoneType:
    self.weight = weight
    self.bias = bias
    self.least = least
    return None

  # x / (sqrt(|x|^2 + H epsilon) / sqrt(H)) * weight in five operations, of which one makes a new [N, H];
  # torch.rms_norm takes ten.
  def apply(self: __torch__.residual.Norm, x: Tensor) -> Tensor:
    if len(self.bias) == 0:
      length = torch.hypot(torch.linalg_vector_norm(x, 2, [-1], True), self.least)
      normalized = torch.mul_(torch.div(x, torch.div(length, torch.sqrt(x.size(-1)))), self.weight)
    else:
      centered = x - torch.mean(x, [-1], True)
      deviation = torch.hypot(torch.linalg_vector_norm(centered, 2, [-1], True), self.least)
      normalized = torch.addcmul(self.bias[0], torch.div(centered, deviation), self.weight, value=torch.sqrt(x.size(-1)))
    return normalized

# Root mean square norm over the last dimension of any tensor, in float32.
def normalize_last(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
  wide = torch.to(x, 6)
  return wide * torch.rsqrt(torch.add(torch.mean(wide * wide, [-1], True), epsilon)) * weight

# One residual stream: hidden [N, H] in float32, to which a block's output, normalised where there is a norm behind,
# is added with a factor.
class Junction:
  # None, or one.
  before : List[__torch__.residual.Norm]
  behind : List[__torch__.residual.Norm]
  factor : float
  def __init__(self: __torch__.residual.Junction, before: List[__torch__.residual.Norm], behind: List[__torch__.residual.Norm], factor: float) -> NoneType:
    self.before = before
    self.behind = behind
    self.factor = factor
    return None

  # What the block gets: without a norm the residual itself, which nobody may change.
  def read(self: __torch__.residual.Junction, hidden: Tensor) -> Tensor:
    x = hidden
    if len(self.before) > 0:
      x = self.before[0].apply(hidden)
    return x

  # Adds y [N, in] times w [in, H], and none or one bias [H].
  def add_product(self: __torch__.residual.Junction, hidden: Tensor, y: Tensor, w: Tensor, bias: List[Tensor]) -> Tensor:
    if len(self.behind) > 0:
      z = torch.to(__torch__.products.product(y, w), 6)
      if len(bias) > 0:
        z = torch.add(z, bias[0])
      added = self.add(hidden, z)
    else:
      added = __torch__.products.add_product(hidden, y, w, self.factor)
      if len(bias) > 0:
        added = torch.add(added, bias[0], alpha=self.factor)
    return added

  # Adds y [N, H] in float32.
  def add(self: __torch__.residual.Junction, hidden: Tensor, y: Tensor) -> Tensor:
    z = y
    if len(self.behind) > 0:
      z = self.behind[0].apply(y)
    return torch.add(hidden, z, alpha=self.factor)

# norms: none, or the weight of one: [H], or factors and biases [2, 1, H] of a layer norm.
def norms(weights: List[Tensor], least: Tensor, centered: bool) -> List[__torch__.residual.Norm]:
  made = annotate(List[__torch__.residual.Norm], [])
  for i in range(len(weights)):
    w = weights[i]
    if centered:
      norm = __torch__.residual.Norm(torch.select(w, 0, 0), [torch.select(w, 0, 1)], least)
    else:
      norm = __torch__.residual.Norm(w, annotate(List[Tensor], []), least)
    made = torch.append(made, norm)
  return made
