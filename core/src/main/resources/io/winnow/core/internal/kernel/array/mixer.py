# The first block of a layer: a sequence mixer and how it joins the residual.
class Mixer(Interface):
  # x [N, H]: what the junction reads -> [N, in], which the block's output projection takes.
  # state: none, or this layer's, filled up to the past; the new tokens are added to it.
  def mix(self: __torch__.mixer.Mixer, x: Tensor, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    pass
  # The same of each sequence's last `count` tokens, while the state gets all -> [B * count, in].
  def mix_last(self: __torch__.mixer.Mixer, x: Tensor, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    pass

class Block:
  junction : __torch__.residual.Junction
  mixer : __torch__.mixer.Mixer
  # The output projection [in, H], and none or one bias [H].
  output : Tensor
  bias : List[Tensor]
  def __init__(self: __torch__.mixer.Block, junction: __torch__.residual.Junction, mixer: __torch__.mixer.Mixer, output: Tensor, bias: List[Tensor]) -> NoneType:
    self.junction = junction
    self.mixer = mixer
    self.output = output
    self.bias = bias
    return None

  # hidden [N, H] -> [N, H].
  def add(self: __torch__.mixer.Block, hidden: Tensor, context: __torch__.positions.Context, state: List[Tensor]) -> Tensor:
    y = self.mixer.mix(self.junction.read(hidden), context, state)
    return self.junction.add_product(hidden, y, self.output, self.bias)

  # The same of each sequence's last `count` tokens alone -> [B * count, H].
  def add_last(self: __torch__.mixer.Block, hidden: Tensor, context: __torch__.positions.Context, state: List[Tensor], count: int) -> Tensor:
    y = self.mixer.mix_last(self.junction.read(hidden), context, state, count)
    return self.junction.add_product(__torch__.products.tail(hidden, context.tokens, count), y, self.output, self.bias)
