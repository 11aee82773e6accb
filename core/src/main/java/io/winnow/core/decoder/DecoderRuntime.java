package io.winnow.core.decoder;

import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.training.ParameterStore;
import io.winnow.core.ForwardObserver;
import io.winnow.core.RouterHooks;
import io.winnow.core.kernel.AttentionConfig;
import io.winnow.core.kernel.AttentionContext;
import io.winnow.core.kernel.FusedKernel;
import io.winnow.core.kernel.Kernel;
import io.winnow.core.kernel.KeyValueCache;
import io.winnow.core.kernel.ReferenceKernel;
import io.winnow.core.kernel.RotaryTable;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What all blocks of one decoder share: dimensions, kernels, rotary frequencies. */
final class DecoderRuntime {
  private final DecoderConfig config;
  private final AttentionConfig attention;
  private final DataType type;
  private final NDManager manager;
  private final FusedKernel fused;
  private final Kernel training;
  private final Kernel inference;
  private final RotaryTable rotary;
  private final RouterHooks hooks = new RouterHooks();

  DecoderRuntime(
      DecoderConfig config, DataType type, NDManager manager, FusedKernel fused, boolean useFused) {
    this.config = config;
    this.type = type;
    this.manager = manager;
    this.fused = fused;
    training = new ReferenceKernel(config.epsilon());
    inference = useFused ? fused : training;
    attention =
        new AttentionConfig(
            config.heads(),
            config.keyValueHeads(),
            config.headSize(),
            1 / Math.sqrt(config.headSize()),
            config.slidingWindow());
    float[] frequencies = new float[config.headSize() / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = (float) Math.pow(config.ropeTheta(), -2.0 * i / config.headSize());
    }
    rotary = new RotaryTable(manager, frequencies);
  }

  DecoderConfig config() {
    return config;
  }

  AttentionConfig attention() {
    return attention;
  }

  DataType type() {
    return type;
  }

  RouterHooks hooks() {
    return hooks;
  }

  /** Returns the model's manager, which owns the weights. */
  NDManager manager() {
    return manager;
  }

  FusedKernel fusedKernel() {
    return fused;
  }

  /** Returns whether inference runs in the fused kernel. */
  boolean isFused() {
    return inference == fused;
  }

  Kernel inferenceKernel() {
    return inference;
  }

  /**
   * Begins a forward pass of new tokens.
   *
   * @param parameters the weights to train with, or null for inference
   */
  ForwardPass newPass(
      NDManager scratch,
      @Nullable ParameterStore parameters,
      int tokens,
      long[] padding,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer) {
    Kernel kernel = parameters == null ? inference : training;
    AttentionContext context =
        kernel.prepare(
            scratch,
            attention,
            rotary,
            tokens,
            cache == null ? 0 : cache.length(),
            padding,
            cache == null ? 0 : cache.paddingStart());
    return new ForwardPass(
        scratch,
        kernel,
        parameters,
        context,
        cache,
        cache == null ? null : cache.idle(tokens),
        observer,
        null);
  }

  /** Begins a forward pass that can be differentiated by the matrices of merges. */
  ForwardPass newPass(
      NDManager scratch, Map<Integer, TrainedMerge> merges, int sequences, int tokens) {
    AttentionContext context =
        training.prepare(scratch, attention, rotary, tokens, 0, new long[sequences], 0);
    return new ForwardPass(scratch, training, null, context, null, null, null, merges);
  }
}
