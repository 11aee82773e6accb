package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/** One decoder layer: a sequence mixer, then experts or a dense block. */
public final class DecoderLayer extends DecoderBlock {
  private final MixerBlock mixer;
  private final FeedForward feedForward;

  public DecoderLayer(DecoderRuntime runtime, MixerBlock mixer, FeedForward feedForward) {
    super(runtime);
    this.mixer = addChildBlock("attention", mixer);
    this.feedForward =
        addChildBlock(feedForward instanceof SparseMoe ? "moe" : "dense", feedForward);
  }

  /** Returns whether it consists of what {@code SingleTokenKernel} computes. */
  boolean isPlain() {
    return mixer.isPlain() && feedForward.isPlain();
  }

  public FeedForward feedForward() {
    return feedForward;
  }

  @Override
  @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    Residual output = step(pass, Residual.of(hidden));
    return output == null ? null : pass.kernel().settle(pass.manager(), output);
  }

  /** Computes on the residual; null if the pass's observer ended it. */
  public @Nullable Residual step(ForwardPass pass, Residual residual) {
    return feedForward.mix(
        pass,
        mixer.applyAndRoute(pass, residual, feedForward.junction(pass), feedForward.gate(pass)));
  }

  /**
   * Computes a residual of the last {@code count} tokens of each sequence, while the cache gets the
   * state of all; null if the pass's observer ended it.
   */
  @Nullable Residual stepOfLast(ForwardPass pass, Residual residual, int count) {
    NDManager manager = pass.manager();
    DeviceTensor hidden = pass.kernel().settle(manager, residual);
    DeviceTensor last = mixer.applyToLast(pass, hidden, count);
    ForwardPass narrow = pass.ofLast(count);
    return feedForward.mix(
        narrow,
        pass.kernel().route(manager, last, feedForward.junction(narrow), feedForward.gate(narrow)));
  }
}
