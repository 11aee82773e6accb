package io.winnow.core.decoder;

import io.winnow.core.kernel.DeviceTensor;
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
    DeviceTensor attended = attention.apply(pass, hidden);
    DeviceTensor output = moe.apply(pass, attended);
    attended.close();
    return output;
  }
}
