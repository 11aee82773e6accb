package io.winnow.core.decoder;

import io.winnow.core.kernel.DeviceTensor;
import io.winnow.core.kernel.Residual;
import org.jspecify.annotations.Nullable;

/** One decoder layer: attention, then the sparse mixture of experts. */
final class DecoderLayer extends DecoderBlock {
  private final Attention attention;
  private final SparseMoe moe;

  DecoderLayer(DecoderRuntime runtime, Attention attention, SparseMoe moe) {
    super(runtime);
    this.attention = addChildBlock("attention", attention);
    this.moe = addChildBlock("moe", moe);
  }

  SparseMoe moe() {
    return moe;
  }

  @Override
  @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    Residual output = step(pass, new Residual(hidden));
    return output == null ? null : pass.kernel().settle(pass.manager(), output);
  }

  /** Computes on the residual; null if the pass's observer ended it. */
  @Nullable Residual step(ForwardPass pass, Residual residual) {
    return moe.mix(
        pass,
        attention.applyAndRoute(pass, residual, pass.weight(moe.norm()), pass.weight(moe.gate())));
  }
}
