package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/** One decoder layer: attention, then experts or a dense block. */
final class DecoderLayer extends DecoderBlock {
  private final Attention attention;
  private final FeedForward feedForward;

  DecoderLayer(DecoderRuntime runtime, Attention attention, FeedForward feedForward) {
    super(runtime);
    this.attention = addChildBlock("attention", attention);
    this.feedForward =
        addChildBlock(feedForward instanceof SparseMoe ? "moe" : "dense", feedForward);
  }

  /** Returns whether it consists of what {@code SingleTokenKernel} computes. */
  boolean isPlain() {
    return attention.isPlain() && feedForward.isPlain();
  }

  FeedForward feedForward() {
    return feedForward;
  }

  @Override
  @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    Residual output = step(pass, new Residual(hidden));
    return output == null ? null : pass.kernel().settle(pass.manager(), output);
  }

  /** Computes on the residual; null if the pass's observer ended it. */
  @Nullable Residual step(ForwardPass pass, Residual residual) {
    return feedForward.mix(
        pass,
        attention.applyAndRoute(pass, residual, feedForward.norm(pass), feedForward.gate(pass)));
  }

  /**
   * Computes a residual of the last {@code count} tokens of each sequence, while the cache gets the
   * keys and values of all; null if the pass's observer ended it.
   */
  @Nullable Residual stepOfLast(ForwardPass pass, Residual residual, int count) {
    NDManager manager = pass.manager();
    DeviceTensor hidden = pass.kernel().settle(manager, residual);
    DeviceTensor last = attention.applyToLast(pass, hidden, count);
    ForwardPass narrow = pass.ofLast(count);
    return feedForward.mix(
        narrow,
        pass.kernel().route(manager, last, feedForward.norm(narrow), feedForward.gate(narrow)));
  }
}
